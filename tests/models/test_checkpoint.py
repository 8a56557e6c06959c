"""Models on disk: what is written comes back, and what does not fit is named."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from safetensors.torch import load_file, save_file
from torch import Tensor

from textok.models import checkpoint
from textok.models.bottleneck import AEConfig, BottleneckConfig, FSQConfig, KLConfig, VQConfig
from textok.models.card import SAMPLES_FILE
from textok.models.checkpoint import (
    CARD_FILE,
    COMPANIONS,
    CONFIG_FILE,
    FORMAT,
    WEIGHTS_FILE,
    shipped_folder,
)
from textok.models.config_json import decode_config, encode_config
from textok.models.generators import load_generator
from textok.models.tokenizer import TexTok, TexTokConfig

BOTTLENECKS = [
    AEConfig(latent_dim=3),
    KLConfig(latent_dim=4, weight=1e-3),
    FSQConfig(levels=(8, 5, 5)),
    VQConfig(codebook_size=32, latent_dim=4, revive_below=0.01),
]
MakeModel = Callable[..., TexTok]


@pytest.fixture
def saved(make_model: MakeModel, tmp_path: Path) -> Path:
    """A folder with a saved model named tiny."""
    make_model().save_pretrained(tmp_path / "tiny", name="tiny")
    return tmp_path / "tiny"


def edit_config(folder: Path, change: Callable[[dict], object]) -> None:
    data = json.loads((folder / CONFIG_FILE).read_text())
    change(data)
    (folder / CONFIG_FILE).write_text(json.dumps(data))


# --- there and back -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bottleneck", BOTTLENECKS, ids=lambda config: config.kind)
def test_fp32_comes_back_exactly(
    make_model: MakeModel, images: Tensor, tmp_path: Path, bottleneck: BottleneckConfig
) -> None:
    model = make_model(bottleneck)
    model.latent_mean.copy_(torch.randn(model.config.latent_dim))
    model_id = model.save_pretrained(tmp_path, name="tiny", made_by={"recipe": "toy", "steps": 3})
    loaded = TexTok.from_pretrained(tmp_path)
    assert loaded.config == model.config
    assert loaded.made_by == {"recipe": "toy", "steps": 3}
    assert loaded.model_id == model_id
    assert not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)
    assert torch.equal(loaded.encode(images).latents, model.encode(images).latents)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bits_come_back_close_and_in_fp32(
    make_model: MakeModel, tmp_path: Path, dtype: torch.dtype
) -> None:
    model = make_model()
    model.latent_mean.fill_(1 / 3)
    model_id = model.save_pretrained(tmp_path, name="tiny", dtype=dtype)
    stored, loaded = load_file(tmp_path / WEIGHTS_FILE), TexTok.from_pretrained(tmp_path)
    assert stored["encoder.queries"].dtype == dtype
    assert stored["latent_mean"].dtype == torch.float32
    assert torch.equal(loaded.latent_mean, model.latent_mean)
    for key, value in model.state_dict().items():
        assert loaded.state_dict()[key].dtype == torch.float32
        assert torch.allclose(loaded.state_dict()[key], value, rtol=2 * torch.finfo(dtype).eps, atol=1e-6)
    assert loaded.model_id == model_id


def test_saving_again_keeps_name_and_maker(saved: Path, tmp_path: Path, make_model: MakeModel) -> None:
    make_model().save_pretrained(saved, name="tiny", made_by={"recipe": "toy"})
    loaded = TexTok.from_pretrained(saved)
    assert loaded.save_pretrained(tmp_path / "copy") == loaded.model_id
    copy = TexTok.from_pretrained(str(tmp_path / "copy"))
    assert copy.model_id == loaded.model_id
    assert copy.made_by == {"recipe": "toy"}


@pytest.mark.parametrize("bottleneck", BOTTLENECKS, ids=lambda config: config.kind)
@pytest.mark.parametrize("changes", [{}, {"placement": "encoder", "text_bias": None, "mlp_ratio": 2.0}])
def test_configurations_round_trip_through_json(
    make_config: Callable[..., TexTokConfig], bottleneck: BottleneckConfig, changes: dict[str, object]
) -> None:
    config = make_config(bottleneck, **changes)
    data = json.loads(json.dumps(encode_config(config)))
    assert data["bottleneck"]["kind"] == bottleneck.kind
    found = decode_config(TexTokConfig, data, where="here")
    assert found == config
    assert type(found.bottleneck) is type(bottleneck)


def test_a_setting_the_file_lacks_takes_its_default() -> None:
    """Files of older versions stay readable when a setting is added."""
    assert decode_config(TexTokConfig, {}, where="here") == TexTokConfig()


# --- the id ---------------------------------------------------------------------------------------------


def test_the_id_is_the_same_at_16_bits_and_after_loading(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model()
    full = model.save_pretrained(tmp_path / "full", name="tiny")
    half = model.save_pretrained(tmp_path / "half", name="tiny", dtype=torch.float16)
    assert full == half
    assert full.startswith("tiny-") and len(full) == len("tiny-") + 8
    loaded = TexTok.from_pretrained(tmp_path / "half")
    assert loaded.model_id == full
    assert loaded.to(torch.bfloat16).model_id == full  # cast for inference, still the same model


def test_the_id_tells_weights_configurations_and_names_apart(make_model: MakeModel, tmp_path: Path) -> None:
    models = [make_model(), make_model(seed=1), make_model(image_size=64), make_model(text_encoder="other")]
    ids = [model.save_pretrained(tmp_path, name="tiny") for model in models]
    shifted = make_model()
    shifted.latent_mean.fill_(0.1)
    ids += [shifted.save_pretrained(tmp_path, name="tiny"), make_model().save_pretrained(tmp_path, name="b")]
    assert len(set(ids)) == len(ids)
    assert make_model().save_pretrained(tmp_path, name="tiny") == ids[0]


def test_training_a_loaded_model_gives_it_another_id(saved: Path) -> None:
    model = TexTok.from_pretrained(saved)
    before = model.model_id
    model.train()
    assert model.model_id == before
    model.encoder.queries.data.add_(1.0)
    assert model.eval().model_id != before


# --- what does not fit ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda data: data["model"].update(patch_sise=8),
            r"config.json: unknown setting 'patch_sise' .*nearest: patch_size",
        ),
        (lambda data: data["model"]["bottleneck"].update(kind="rvq"), "kind 'rvq', expected one of ae, fsq"),
        (
            lambda data: data["model"]["bottleneck"].update(levels=[8, 5]),
            "unknown setting 'levels' of KLConfig",
        ),
        (lambda data: data["model"].update(dim=36), "config.json: model.dim: got 36"),
        (lambda data: data["model"].update(dim="wide"), "config.json: dim: got 'wide'"),
        (
            lambda data: data.update(format=FORMAT + 1, library="open-textok 9.9"),
            r"format 2, written by open-textok 9.9; this version reads up to 1: upgrade",
        ),
        (lambda data: data.pop("model"), "'model'"),
        (lambda data: data.pop("format"), "no model configuration of open-textok"),
        (
            lambda data: data["model"].update(num_latents=7),
            r"model.safetensors: .*\(6, 32\).*\(7, 32\)",
        ),
        (lambda data: data["model"].update(encoder_depth=3), r"encoder.transformer.blocks.2.* is missing"),
        (lambda data: data["model"].update(encoder_depth=1), r"encoder.transformer.blocks.1.* is unknown"),
    ],
)
def test_other_configurations_are_named(saved: Path, change: Callable[[dict], object], message: str) -> None:
    edit_config(saved, change)
    with pytest.raises(ValueError, match=message):
        TexTok.from_pretrained(saved)


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", '{"format": "one"}'])
def test_a_config_that_is_none_is_named(saved: Path, content: str) -> None:
    (saved / CONFIG_FILE).write_text(content)
    with pytest.raises(ValueError, match=r"config.json:"):
        TexTok.from_pretrained(saved)


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.5, 0.999])
def test_cut_off_weights_are_named(saved: Path, share: float) -> None:
    whole = (saved / WEIGHTS_FILE).read_bytes()
    (saved / WEIGHTS_FILE).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"model.safetensors:"):
        TexTok.from_pretrained(saved)


@pytest.mark.parametrize("file", [CONFIG_FILE, WEIGHTS_FILE])
def test_missing_files_are_named(saved: Path, file: str) -> None:
    (saved / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"{file} is missing"):
        TexTok.from_pretrained(saved)


def test_a_tensor_of_another_shape_is_named(saved: Path) -> None:
    weights = load_file(saved / WEIGHTS_FILE)
    save_file({**weights, "latent_std": torch.ones(5)}, saved / WEIGHTS_FILE)
    with pytest.raises(ValueError, match=r"latent_std.*\(5,\)"):
        TexTok.from_pretrained(saved)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("icons-182", "icons-182: no such folder, and no shipped model .* did you mean icons-128"),
        ("zebra", r"zebra: no such folder, and no shipped model \(those are: icons-128\)$"),
        ("./nothing/here", "no such folder, and no shipped model"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(FileNotFoundError, match=message):
        TexTok.from_pretrained(name)


def test_shipped_folders() -> None:
    assert list(shipped_folder("demo-pictures").glob("*.tar"))
    with pytest.raises(FileNotFoundError, match="zebra"):
        shipped_folder("zebra")


# --- a save that fails ----------------------------------------------------------------------------------


def fill_the_disk(weights: dict[str, Tensor], path: Path) -> None:
    path.write_bytes(b"half of it")
    raise OSError("No space left on device")


def test_a_failed_save_leaves_the_old_model(
    saved: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", fill_the_disk)
        with pytest.raises(OSError, match="No space left"):
            make_model(seed=1).save_pretrained(saved, name="other")
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    with pytest.raises(TypeError, match="not JSON serializable"):
        make_model(seed=1).save_pretrained(saved, made_by={"when": object()})
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


# --- the hub --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [LocalEntryNotFoundError("no network"), OfflineModeIsEnabled("offline")])
def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(FileNotFoundError, match=r"model someone/model:"):
        TexTok.from_pretrained("someone/model")


def test_loading_from_the_hub(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(repo: str, *, allow_patterns: list[str], ignore_patterns: list[str], **hub: object) -> str:
        asked.append((repo, hub, allow_patterns))
        return str(saved)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    hub = {"revision": "v2", "token": "hf_x", "cache_dir": "elsewhere"}
    model = TexTok.from_pretrained("someone/model", **hub)
    assert model.model_id == TexTok.from_pretrained(saved).model_id
    files = [CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, SAMPLES_FILE, *COMPANIONS]
    assert asked == [("someone/model", hub, files)]


@pytest.fixture
def created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool, bool]]:
    """Repositories asked for on a hub that puts what is uploaded into a folder."""
    calls: list[tuple[str, bool, bool]] = []

    class Api:
        def __init__(self, *, token: str | None) -> None:
            assert token in (None, "hf_x")

        def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
            calls.append((repo_id, private, exist_ok))

        def upload_folder(
            self, *, repo_id: str, folder_path: str, commit_message: str, revision: str | None
        ) -> str:
            Path(folder_path).rename(tmp_path / "uploaded")
            Path(folder_path).mkdir()
            return f"https://hub/{repo_id}/commit/{revision or 1}"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    return calls


def test_pushing_to_the_hub(make_model: MakeModel, tmp_path: Path, created: list) -> None:
    model = make_model()
    address = model.push_to_hub(
        "someone/icons", private=True, dtype=torch.float16, token="hf_x", revision="v2"
    )
    assert address == "https://hub/someone/icons/commit/v2"
    assert created == [("someone/icons", True, True)]
    uploaded = TexTok.from_pretrained(tmp_path / "uploaded")
    assert uploaded.model_id.startswith("icons-")
    assert load_file(tmp_path / "uploaded" / WEIGHTS_FILE)["encoder.queries"].dtype == torch.float16


def test_a_plain_card_goes_with_weights_that_have_none(
    make_model: MakeModel, saved: Path, tmp_path: Path, created: list
) -> None:
    make_model().save_pretrained(saved, name="tiny", made_by={"licence": "MIT", "steps": 3})
    TexTok.from_pretrained(saved).push_to_hub("someone/icons")
    card = (tmp_path / "uploaded" / CARD_FILE).read_text()
    _, header, text = card.split("---\n", 2)
    assert text.startswith("\n# icons\n")
    assert yaml.safe_load(header) == {
        "library_name": "open-textok",
        "tags": ["image-tokenization", "text-conditioned"],
        "pipeline_tag": "image-to-image",
        "license": "mit",
        "metrics": ["psnr"],
    }
    model = TexTok.from_pretrained(tmp_path / "uploaded")
    assert f"`{model.model_id}`" in card and '"steps": 3' in card and '"kind": "kl"' in card
    (example,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    loaded: dict = {}
    exec(example.replace("someone/icons", str(tmp_path / "uploaded")), loaded)
    assert loaded["model"].model_id == model.model_id


def test_the_card_beside_the_weights_goes_with_them_until_they_change(
    saved: Path, tmp_path: Path, created: list
) -> None:
    (saved / CARD_FILE).write_text("---\nlicense: mit\n---\n# Whät it is good for\n", encoding="utf-8")
    model = TexTok.from_pretrained(saved)
    model.push_to_hub("someone/icons")
    card = (tmp_path / "uploaded" / CARD_FILE).read_text(encoding="utf-8")
    assert card == "---\nlicense: mit\n---\n# Whät it is good for\n"
    (tmp_path / "uploaded").rename(tmp_path / "first")
    model.train().push_to_hub("someone/icons")
    assert "written by a program" in (tmp_path / "uploaded" / CARD_FILE).read_text()


def test_the_shipped_card_gets_a_header_and_its_picture(tmp_path: Path, created: list) -> None:
    load_generator("icons-128").push_to_hub("someone/icons")
    card = (tmp_path / "uploaded" / CARD_FILE).read_text(encoding="utf-8")
    header = ModelCard(card).data  # as the hub reads it
    assert (header.library_name, header.pipeline_tag, header.license) == (
        "open-textok",
        "text-to-image",
        "apache-2.0",
    )
    assert header.widget[0]["output"] == {"url": SAMPLES_FILE}
    assert (tmp_path / "uploaded" / SAMPLES_FILE).is_file() and "# icons-128-generator" in card
