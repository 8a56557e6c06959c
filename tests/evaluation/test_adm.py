"""ADM files: round trips, files as others write them, and files that are not what they should be."""

import zipfile

import numpy as np
import pytest
import torch

from textok.evaluation.adm import UNTOLD_COUNT, read_reference, write_samples, write_statistics
from textok.evaluation.metrics.frechet import FeatureStatistics, frechet_distance


def images(count=3, height=4, width=5):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)


def statistics(dim=4):
    return FeatureStatistics.of(torch.randn(30, dim, generator=torch.Generator().manual_seed(1)))


def test_samples_are_nhwc_for_others_and_come_back(tmp_path):
    write_samples(tmp_path / "new" / "samples.npz", images())
    with np.load(tmp_path / "new" / "samples.npz", allow_pickle=False) as found:
        assert found.files == ["arr_0"] and found["arr_0"].dtype == np.uint8
        np.testing.assert_array_equal(found["arr_0"], images().permute(0, 2, 3, 1).numpy())
    assert torch.equal(read_reference(tmp_path / "new" / "samples.npz"), images())
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["samples.npz"]


def test_statistics_come_back_with_their_count(tmp_path):
    write_statistics(tmp_path / "ours.npz", statistics())
    back = read_reference(tmp_path / "ours.npz")
    assert back.count == 30
    assert frechet_distance(back, statistics()) == pytest.approx(0, abs=1e-9)
    with np.load(tmp_path / "ours.npz", allow_pickle=False) as found:
        np.testing.assert_allclose(found["mu"], statistics().mean.numpy())
        np.testing.assert_allclose(found["sigma"], statistics().covariance.numpy())


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_published_reference_has_pictures_and_statistics_and_no_count(tmp_path, save):
    known = statistics()
    save(
        tmp_path / "virtual.npz",
        arr_0=images().permute(0, 2, 3, 1).numpy(),
        mu=known.mean.float().numpy(),
        sigma=known.covariance.numpy(),
        mu_s=np.zeros(7),
        sigma_s=np.zeros((7, 7)),
    )
    found = read_reference(tmp_path / "virtual.npz")
    assert found.count == UNTOLD_COUNT
    shifted = FeatureStatistics.from_moments(known.mean + 1, known.covariance, 30)
    assert frechet_distance(found, shifted) == pytest.approx(4, rel=1e-6)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": np.zeros(3)}, "got arrays pictures; expected arr_0"),
        ({"arr_0": np.zeros((2, 4, 4, 3), np.float32)}, r"arr_0: got float32 \(2, 4, 4, 3\); expected uint8"),
        ({"arr_0": np.zeros((2, 3, 4, 4), np.uint8)}, r"arr_0: got uint8 \(2, 3, 4, 4\)"),
        ({"mu": np.zeros(3), "sigma": np.eye(4)}, r"sigma: got float64 \(4, 4\); expected .* \(3, 3\)"),
        ({"mu": np.zeros((3, 1)), "sigma": np.eye(3)}, r"mu: got float64 \(3, 1\)"),
        ({"mu": np.full(3, np.nan), "sigma": np.eye(3)}, "mu: .*expected finite"),
        ({"mu": np.zeros(3), "sigma": np.eye(3), "count": np.int64(0)}, "count: got 0"),
        (
            {"mu": np.zeros(3), "sigma": np.eye(3), "count": np.ones(1, np.int64)},
            "count: .*expected one integer",
        ),
    ],
)
def test_other_arrays_are_refused_by_name_and_shape(tmp_path, arrays, message):
    np.savez(tmp_path / "odd.npz", **arrays)
    with pytest.raises(ValueError, match=rf"odd\.npz.*{message}"):
        read_reference(tmp_path / "odd.npz")


def test_large_arrays_are_refused_before_they_are_read(tmp_path, monkeypatch):
    np.savez(tmp_path / "big.npz", arr_0=np.zeros((2, 8, 8, 3), np.uint8))
    monkeypatch.setattr(np.lib.format, "read_array", lambda *_, **__: pytest.fail("the array was read"))
    with pytest.raises(ValueError, match=r"arr_0: got uint8 \(2, 8, 8, 3\), 384 bytes; expected at most 383"):
        read_reference(tmp_path / "big.npz", max_bytes=383)


def test_headers_that_promise_more_than_there_is_and_objects_are_refused(tmp_path):
    np.save(tmp_path / "arr_0.npy", np.zeros((2, 8, 8, 3), np.uint8))
    content = (tmp_path / "arr_0.npy").read_bytes()
    with zipfile.ZipFile(tmp_path / "cut.npz", "w") as archive:
        archive.writestr("arr_0.npy", content[:-10])
    np.savez(tmp_path / "objects.npz", arr_0=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    for name in ("cut.npz", "objects.npz"):
        with pytest.raises(ValueError, match=rf"{name}, arr_0: .*cut short, damaged or holds Python objects"):
            read_reference(tmp_path / name)


def test_no_file_and_no_archive(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.npz: no such file"):
        read_reference(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as archive:
        archive.writestr("arr_0.npy", "not an array")
    for name in ("text.npz", "zip.npz"):
        with pytest.raises(ValueError, match=rf"{name}: not a readable \.npz file"):
            read_reference(tmp_path / name)
