"""ADM files: round trips, files as others write them, and files that are not what they should be."""

import io
import zipfile

import numpy as np
import pytest
import torch

from textok.evaluation.adm import UNKNOWN_COUNT, UnfitFileError, read_adm, write_samples, write_statistics
from textok.evaluation.metrics.sets import FeatureStatistics, frechet_distance


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
    found = read_adm(tmp_path / "new" / "samples.npz")
    assert torch.equal(found.pictures, images()) and found.statistics is None
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["samples.npz"]


def test_statistics_come_back_with_their_count(tmp_path):
    write_statistics(tmp_path / "ours.npz", statistics())
    found = read_adm(tmp_path / "ours.npz")
    back = found.statistics
    assert found.pictures is None and back.count == 30
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
    found = read_adm(tmp_path / "virtual.npz")
    assert torch.equal(found.pictures, images()) and found.statistics.count == UNKNOWN_COUNT
    shifted = FeatureStatistics.from_moments(known.mean + 1, known.covariance, 30)
    assert frechet_distance(found.statistics, shifted) == pytest.approx(4, rel=1e-6)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": np.zeros(3)}, "got arrays pictures, expected arr_0"),
        ({"arr_0": np.zeros((2, 4, 4, 3), np.float32)}, r"arr_0: got float32 \(2, 4, 4, 3\), expected uint8"),
        ({"arr_0": np.zeros((2, 3, 4, 4), np.uint8)}, r"arr_0: got uint8 \(2, 3, 4, 4\)"),
        ({"mu": np.zeros(3), "sigma": np.eye(4)}, r"sigma: got float64 \(4, 4\), expected .* \(3, 3\)"),
        ({"mu": np.zeros((3, 1)), "sigma": np.eye(3)}, r"mu: got float64 \(3, 1\)"),
        ({"arr_0": np.zeros((0, 4, 4, 3), np.uint8)}, r"arr_0: got uint8 \(0, 4, 4, 3\)"),
        ({"arr_0": np.array([b""], "S0")}, "arr_0: got .*expected uint8"),
        ({"mu": np.zeros(3)}, "got arrays mu, expected arr_0"),
        ({"mu": np.zeros(0), "sigma": np.zeros((0, 0))}, r"mu: got float64 \(0,\)"),
        ({"mu": np.float64(1), "sigma": np.eye(1)}, r"mu: got float64 \(\)"),
        ({"mu": np.zeros(3, int), "sigma": np.eye(3)}, r"mu: got int64 \(3,\)"),
        ({"mu": np.full(3, np.nan), "sigma": np.eye(3)}, "mu: .*expected finite"),
        ({"mu": np.full(3, np.inf, np.float16), "sigma": np.eye(3)}, "mu: .*expected finite"),
        ({"mu": np.full(3, 1e200), "sigma": np.eye(3)}, "mu: .*expected finite"),
        ({"mu": np.zeros(3), "sigma": np.full((3, 3), np.nan)}, "sigma: .*expected finite"),
        ({"mu": np.zeros(3), "sigma": np.arange(9.0).reshape(3, 3)}, "sigma: is not symmetric"),
        ({"mu": np.zeros(3), "sigma": -np.eye(3)}, "sigma: has a negative variance"),
        ({"mu": np.zeros(3), "sigma": np.eye(3), "count": np.int64(0)}, "count: got 0"),
        ({"mu": np.zeros(3), "sigma": np.eye(3), "count": np.uint64(2**64 - 1)}, "count: got 1844674"),
        (
            {"arr_0": np.zeros((2, 4, 4, 3), np.uint8), "mu": np.zeros(3), "sigma": np.eye(4)},
            r"sigma: got float64 \(4, 4\)",
        ),
        (
            {"mu": np.zeros(3), "sigma": np.eye(3), "count": np.ones(1, np.int64)},
            "count: .*expected one integer",
        ),
    ],
)
def test_other_arrays_are_refused_by_name_and_shape(tmp_path, arrays, message):
    np.savez(tmp_path / "odd.npz", **arrays)
    with pytest.raises(ValueError, match=rf"odd\.npz.*{message}"):
        read_adm(tmp_path / "odd.npz")


def test_large_arrays_are_refused_before_they_are_read(tmp_path, monkeypatch):
    np.savez(tmp_path / "big.npz", arr_0=np.zeros((2, 8, 8, 3), np.uint8))
    monkeypatch.setattr(np.lib.format, "read_array", lambda *_, **__: pytest.fail("the array was read"))
    with pytest.raises(ValueError, match=r"arr_0:"):
        read_adm(tmp_path / "big.npz", max_bytes=383)


def npy(array: np.ndarray, **header: object) -> bytes:
    """An array as a file, with other words in its header."""
    file = io.BytesIO()
    known = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(file, known | header)
    return file.getvalue() + array.tobytes()


def write_npz(path, *, compression=zipfile.ZIP_STORED, **files: bytes) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(f"{name}.npy", content)


PIXELS = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)


@pytest.mark.parametrize("shape", [(10**15, 8, 8, 3), (2**40, 2**40, 2**40, 3), (50_000, 256, 256, 3)])
def test_headers_that_promise_more_than_there_is_are_refused_before_room_is_made(
    tmp_path, monkeypatch, shape
):
    write_npz(tmp_path / "huge.npz", arr_0=npy(PIXELS, shape=shape))
    monkeypatch.setattr(np.lib.format, "read_array", lambda *_, **__: pytest.fail("the array was read"))
    with pytest.raises(UnfitFileError, match=r"huge\.npz, arr_0:"):
        read_adm(tmp_path / "huge.npz")


def test_an_archive_that_promises_more_than_it_can_hold_is_refused(tmp_path, monkeypatch):
    """Both the header and the archive's list of files say 1 GiB; the file has some hundred bytes."""
    shape = (2**30 // 3 // 64, 8, 8, 3)
    content = npy(PIXELS, shape=shape)
    write_npz(tmp_path / "lies.npz", arr_0=content)
    raw = (tmp_path / "lies.npz").read_bytes()
    size = (len(content) - PIXELS.size + int(np.prod(shape))).to_bytes(4, "little")
    (tmp_path / "lies.npz").write_bytes(raw.replace(len(content).to_bytes(4, "little") * 2, size * 2))
    monkeypatch.setattr(np.lib.format, "read_array", lambda *_, **__: pytest.fail("the array was read"))
    with pytest.raises(UnfitFileError, match=r"lies\.npz"):
        read_adm(tmp_path / "lies.npz")


@pytest.mark.parametrize("shape", [(-2, 8, 8, -3), (2, -8, -8, 3)])
def test_negative_sides_are_refused(tmp_path, shape):
    write_npz(tmp_path / "negative.npz", arr_0=npy(PIXELS, shape=shape))
    with pytest.raises(UnfitFileError, match=r"negative\.npz, arr_0:"):
        read_adm(tmp_path / "negative.npz")


def test_cut_arrays_and_objects_are_refused(tmp_path):
    write_npz(tmp_path / "cut.npz", arr_0=npy(PIXELS)[:-10])
    with pytest.raises(UnfitFileError, match=r"cut\.npz, arr_0:"):
        read_adm(tmp_path / "cut.npz")
    for name in ("arr_0", "mu"):
        arrays = {"mu": np.zeros(1), "sigma": np.eye(1)} if name == "mu" else {}
        np.savez(tmp_path / "objects.npz", **arrays | {name: np.array([{"a": 1}], object)}, allow_pickle=True)
        with pytest.raises(UnfitFileError, match=rf"objects\.npz, {name}:"):
            read_adm(tmp_path / "objects.npz")


@pytest.mark.parametrize("kind", [">f8", ">f4", "<f2", np.longdouble])
def test_statistics_of_any_floating_point_type_are_read(tmp_path, kind):
    covariance = np.asfortranarray(np.diag([1.0, 2.0, 3.0]).astype(kind))
    np.savez(tmp_path / "kind.npz", mu=np.arange(3).astype(kind), sigma=covariance)
    found = read_adm(tmp_path / "kind.npz").statistics
    assert found.mean.tolist() == [0, 1, 2] and torch.allclose(
        found.covariance.trace(), torch.tensor(6.0).double()
    )


def mutated(content: bytes, generator: np.random.Generator) -> bytes:
    """A few bytes changed, cut off, left out or put in."""
    changed, place = bytearray(content), int(generator.integers(len(content)))
    some = generator.integers(0, 256, int(generator.integers(1, 9)), dtype=np.uint8).tobytes()
    match int(generator.integers(4)):
        case 0:
            changed[place : place + len(some)] = some
        case 1:
            del changed[place:]
        case 2:
            del changed[place : place + len(some)]
        case 3:
            changed[place:place] = some
    return bytes(changed)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("where", ["archive", "headers"])
@pytest.mark.slow
def test_mutated_files_are_read_or_refused_by_name(tmp_path, where, compression):
    path, refused = tmp_path / "mutated.npz", []
    files = {"arr_0": npy(PIXELS), "mu": npy(np.zeros(3)), "sigma": npy(np.eye(3))}
    write_npz(path, compression=compression, **files)
    whole = path.read_bytes()
    for seed in range(400):
        generator = np.random.default_rng(seed)
        if where == "archive":
            path.write_bytes(mutated(whole, generator))
        else:  # with a right checksum, so that the array's header itself is read
            changed = {name: mutated(f[:128], generator) + f[128:] for name, f in files.items()}
            write_npz(path, compression=compression, **changed)
        try:
            found = read_adm(path)
            assert found.pictures is not None or found.statistics is not None
        except UnfitFileError as error:
            refused.append(str(error))
    assert len(refused) > 200
    assert all(str(path) in told and ("expected" in told or "again" in told) for told in refused)


def test_no_file_and_no_archive(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.npz:"):
        read_adm(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as archive:
        archive.writestr("arr_0.npy", "not an array")
    for name in ("text.npz", "zip.npz"):
        with pytest.raises(ValueError, match=rf"{name}:"):
            read_adm(tmp_path / name)
