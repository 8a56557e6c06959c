"""The reconstruction protocol: caption conditions, budgets as prefixes, ranks."""

import math
from dataclasses import replace

import pytest
import torch
import torch.multiprocessing as mp
from hypothesis import given
from hypothesis import strategies as st

from textok.data.samples import Batch
from textok.evaluation.captioned import CaptionedPictures, wrong_captions
from textok.evaluation.evaluator import Evaluator
from textok.models.bottleneck import FSQConfig
from textok.objectives.quality import psnr_per_image
from textok.pixels import to_uint8, to_unit
from tiny import tiny_model


@given(st.lists(st.sampled_from(["a cat", "a dog", "a hen", ""]), min_size=2, max_size=12))
def test_a_wrong_caption_is_another_pictures_and_never_reads_the_same(captions):
    if len(set(captions) - {""}) < 2:
        with pytest.raises(ValueError, match="all the same"):
            wrong_captions(captions)
        return
    wrong = wrong_captions(captions)
    assert len(wrong) == len(captions) and set(wrong) <= set(captions) - {""}, "no caption is never lent"
    assert all(other != own for other, own in zip(wrong, captions, strict=True))


def test_wrong_captions_of_different_captions_are_a_rearrangement():
    captions = [f"caption {i}" for i in range(7)]
    assert sorted(wrong_captions(captions)) == captions


def test_rows_hold_what_the_model_says_at_each_budget_and_caption(model, pictures, text, network):
    scores = Evaluator(model=model, text=text, network=network, batch_size=5).score(pictures, budgets=(2, 8))
    assert [(row["captions"], row["budget"]) for row in scores.rows] == [
        (caption, k) for caption in ("right", "none", "wrong") for k in (2, 8)
    ]
    condition = text(wrong_captions(pictures.captions))
    with torch.no_grad():
        latents = model.encode(to_unit(pictures.images), condition, num_tokens=2).latents
        output = to_uint8(model.decode(latents, condition))
    expected = psnr_per_image(pictures.images, output)
    row = next(row for row in scores.rows if (row["captions"], row["budget"]) == ("wrong", 2))
    assert row["psnr"] == pytest.approx(expected.mean().item(), abs=1e-3)
    assert row["count"] == 18 and row["split"] == "toy"
    assert all(math.isfinite(row[f"fd_tiny{suffix}"]) for suffix in ("", "_unpaired", "_floor"))
    found = [r for r in scores.per_image if (r["captions"], r["budget"]) == ("wrong", 2)]
    assert [r["key"] for r in found] == list(pictures.keys)
    torch.testing.assert_close(
        torch.tensor([r["psnr"] for r in found], dtype=torch.float64), expected, rtol=0, atol=1e-2
    )


def test_conditions_and_budgets_differ_and_batch_size_does_not_matter(model, pictures, text, network):
    def rows(batch_size):
        scores = Evaluator(model=model, text=text, network=network, batch_size=batch_size).score(
            pictures, budgets=(1, 8)
        )
        return [row["psnr"] for row in scores.rows]

    assert len({round(value, 6) for value in rows(7)}) == 6
    assert rows(7) == pytest.approx(rows(18), abs=1e-3)


def test_no_caption_calls_no_text_encoder_and_the_mode_is_kept(model, pictures, network):
    def no_text(captions):
        raise AssertionError("the text encoder was called")

    model.train()
    scores = Evaluator(model=model, text=no_text, network=network).score(
        pictures, budgets=(8,), captions=("none",)
    )
    assert len(scores.rows) == 1 and model.training


def test_rectangular_pictures(model, text, network):
    images = torch.randint(
        0, 256, (2, 3, 16, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    pictures = CaptionedPictures(split="wide", images=images, captions=("a", "b"), keys=("a", "b"))
    evaluator = Evaluator(model=model, text=text, network=network)
    outputs = evaluator.reconstruct(pictures, budgets=(1, 3), captions=("right",))
    assert {cell: tuple(v.shape) for cell, v in outputs.items()} == {
        ("right", 1): (2, 3, 16, 40),
        ("right", 3): (2, 3, 16, 40),
    }


def test_autocast_comes_close_to_float32(model, pictures, text, network):
    exact, cast = (
        Evaluator(model=model, text=text, network=network, autocast=dtype).reconstruct(
            pictures, budgets=(8,), captions=("right",)
        )["right", 8]
        for dtype in (None, torch.bfloat16)
    )
    assert not torch.equal(cast, exact)
    assert (cast.float() - exact.float()).abs().mean() < 3


@pytest.mark.parametrize("budgets", [(), (0, 2), (2, 9)])
def test_impossible_budgets_are_refused(model, pictures, text, network, budgets):
    with pytest.raises(ValueError, match="budgets:"):
        Evaluator(model=model, text=text, network=network).score(pictures, budgets=budgets)


def test_collect_and_spread():
    def batches():
        for start in range(0, 100, 4):
            assert start < 12, "read on after the limit"
            keys = [str(i) for i in range(start, start + 4)]
            yield Batch(images=torch.full((4, 3, 2, 2), start, dtype=torch.uint8), captions=keys, keys=keys)

    found = CaptionedPictures.collect("val", batches(), limit=10)
    assert len(found) == 10 and found.keys[-1] == "9" and found.images[-1, 0, 0, 0] == 8
    assert found.spread(3).keys == ("1", "5", "8")
    assert found.spread(50).keys == found.keys
    with pytest.raises(ValueError, match="no picture"):
        CaptionedPictures.collect("val", [])


def _scores_on_rank(rank, world, store, model, pictures, text, semantics, results):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    scores = Evaluator(
        model=model, text=text, network=semantics.network, semantics=semantics, batch_size=4
    ).score(pictures, budgets=(2, 8), rank=rank, world_size=world)
    results[rank] = scores
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_give_every_rank_the_scores_of_one(model, pictures, text, semantics, tmp_path):
    alone = Evaluator(
        model=model, text=text, network=semantics.network, semantics=semantics, batch_size=4
    ).score(pictures, budgets=(2, 8))
    with mp.Manager() as manager:
        results = manager.dict()
        arguments = (2, tmp_path / "store", model, pictures, text, semantics, results)
        mp.spawn(_scores_on_rank, args=arguments, nprocs=2)
        both = dict(results)
    assert both[0] == both[1]
    assert [row["key"] for row in both[0].per_image] == [row["key"] for row in alone.per_image]
    for merged, single in zip(both[0].rows, alone.rows, strict=True):
        assert merged.keys() == single.keys()
        for name, value in single.items():
            assert merged[name] == (
                value if isinstance(value, str) else pytest.approx(value, rel=2e-3, abs=1e-3)
            ), name


def test_variants_are_further_caption_conditions(model, pictures, network, text):
    pictures = replace(pictures, variants={"short": tuple(c[:3] for c in pictures.captions)})
    rows = (
        Evaluator(model=model, text=text, network=network)
        .score(pictures, budgets=(8,), captions=("right", "short"))
        .rows
    )
    assert [row["captions"] for row in rows] == ["right", "short"]
    assert rows[0]["psnr"] != rows[1]["psnr"]
    assert pictures.take([3, 1]).captions_under("short") == ("d p", "b p")
    with pytest.raises(ValueError, match="right, none, wrong, short"):
        pictures.captions_under("long")


def test_a_single_picture_of_a_set_keeps_its_wrong_caption(pictures):
    (wrong,) = pictures.spread(1).captions_under("wrong")
    place = pictures.keys.index(pictures.spread(1).keys[0])
    assert wrong == pictures.captions_under("wrong")[place] != pictures.captions[place]


def test_semantics_add_their_columns_and_change_no_other(model, pictures, text, semantics):
    network = semantics.network
    plain = Evaluator(model=model, text=text, network=network).score(pictures, budgets=(2, 8))
    full = Evaluator(model=model, text=text, network=network, semantics=semantics).score(
        pictures, budgets=(2, 8)
    )
    for before, after in zip(plain.rows, full.rows, strict=True):
        assert before.items() <= after.items()
        added = after.keys() - before.keys()
        assert {"retrieval_two_tower_r1", "retrieval_class_posterior_r1_original"} <= added
        assert 0 < after["posterior_agreement_tiny_classifier"] < 1
        judged = [row for row in full.per_image if all(row[n] == after[n] for n in ("captions", "budget"))]
        for name in ("retrieval_two_tower_r1", "top1_agreement_tiny_classifier", "alignment_class_posterior"):
            values = [row[name] for row in judged]
            assert len(values) == 18 and after[name] == pytest.approx(sum(values) / 18)


def test_the_picture_is_compared_with_its_own_caption_whatever_the_model_reads(
    model, pictures, text, semantics
):
    rows = (
        Evaluator(model=model, text=text, network=semantics.network, semantics=semantics)
        .score(pictures, budgets=(8,))
        .rows
    )
    assert len({row["retrieval_two_tower_r1_original"] for row in rows}) == 1
    assert len({row["alignment_two_tower"] for row in rows}) == 3


def test_another_network_for_the_distances_changes_no_meaning(model, pictures, text, network, semantics):
    def rows(distances):
        scores = Evaluator(model=model, text=text, network=distances, semantics=semantics).score(
            pictures, budgets=(2,)
        )
        return [row["alignment_two_tower"] for row in scores.rows]

    assert rows(network) == pytest.approx(rows(semantics.network), abs=1e-6)


def test_latents_are_described_once_a_condition(model, pictures, text, network):
    scores = Evaluator(model=model, text=text, network=network).score(pictures, budgets=(2, 8))
    rows = scores.rows
    latents = [{name: v for name, v in row.items() if name.startswith(("latent_", "kl_"))} for row in rows]
    assert latents[0] == latents[1] != latents[2]  # right at both budgets, none
    with torch.no_grad():
        found = model.encode(to_unit(pictures.images), text(pictures.captions)).latents.flatten(0, 1)
    assert latents[0]["latent_std_max"] == pytest.approx(float(found.std(0).max()), rel=1e-2)
    assert [(row["split"], row["captions"]) for row in scores.latents] == [
        ("toy", "right"),
        ("toy", "none"),
        ("toy", "wrong"),
    ]
    assert scores.latents[0]["mean"] == pytest.approx(found.mean(0).tolist(), abs=1e-4)
    assert scores.latents[0]["std"] == pytest.approx(found.std(0).tolist(), rel=1e-2)
    assert not any("code" in name or "bits" in name for name in rows[0])


def test_codes_are_described_at_each_budget(pictures, text, network):
    model = tiny_model(FSQConfig(levels=(4, 4)), num_latents=8, text_dim=12)
    rows = (
        Evaluator(model=model, text=text, network=network)
        .score(pictures, budgets=(2, 8), captions=("right",))
        .rows
    )
    assert [row["bits_per_image"] for row in rows] == [2 * 4, 8 * 4]
    codes = model.encode(to_unit(pictures.images), text(pictures.captions)).codes
    for row in rows:
        used = len(codes[:, : row["budget"]].unique())
        assert row["code_usage"] == pytest.approx(used / 16)
