import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from textok.objectives.lpips import ALEXNET, BACKBONES, LPIPS, VGG16, expected_shapes, has_published_heads

VGG_PLAN = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512)


def vgg16_features():
    layers, fan_in = [], 3
    for width in VGG_PLAN:
        if width == "M":
            layers.append(nn.MaxPool2d(2, 2))
            continue
        layers += [nn.Conv2d(fan_in, width, 3, padding=1), nn.ReLU()]
        fan_in = width
    return nn.Sequential(*layers), (3, 8, 15, 22, 29)


def alexnet_features():
    layers = (
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    )
    return nn.Sequential(*layers), (1, 4, 7, 9, 11)


NETWORKS = {"vgg16": vgg16_features, "alexnet": alexnet_features}


def random_weights(net):
    """Tensors of a weights file with random values, and the network they are of."""
    features, ends = NETWORKS[net]()
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    tensors = {f"features.{name}": tensor for name, tensor in features.state_dict().items()}
    shapes = expected_shapes(BACKBONES[net])
    heads = {name: torch.rand(1, *shape, 1, 1) for name, shape in shapes.items() if name.startswith("lin")}
    tensors |= {f"{name}.model.1.weight": head for name, head in heads.items()}
    return tensors, features, ends


@torch.no_grad()
def straightforward_lpips(images, targets, tensors, features, ends):
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    x, y = [(each - shift[:, None, None]) / scale[:, None, None] for each in (images, targets)]
    total = 0
    for index, layer in enumerate(features):
        x, y = layer(x), layer(y)
        if index in ends:
            difference = x / x.norm(dim=1, keepdim=True) - y / y.norm(dim=1, keepdim=True)
            head = tensors[f"lin{ends.index(index)}.model.1.weight"]
            total = total + (difference**2 * head).sum(dim=1).mean(dim=(1, 2))
    return total


@pytest.mark.parametrize("net", ["vgg16", "alexnet"])
def test_equals_a_straightforward_computation(net, tmp_path, pictures):
    tensors, features, ends = random_weights(net)
    save_file(tensors, tmp_path / "weights.safetensors")
    loss = LPIPS(tmp_path / "weights.safetensors", net=net)
    loss.chunk = 3
    pictures = pictures[:, :, :40, :40]
    images = (pictures + 0.2 * torch.randn_like(pictures)).requires_grad_()
    values = loss.distances(images, pictures)
    expected = straightforward_lpips(images, pictures, tensors, features, ends)
    torch.testing.assert_close(values, expected, atol=1e-5, rtol=1e-4)
    values.sum().backward()
    assert images.grad.abs().amax(dim=(1, 2, 3)).min() > 0
    assert loss.name == f"perceptual_{net}_other_heads"


def test_distances_stay_fp32_under_autocast(tmp_path, pictures):
    tensors, *_ = random_weights("alexnet")
    save_file(tensors, tmp_path / "weights.safetensors")
    loss = LPIPS(tmp_path / "weights.safetensors", net="alexnet")
    expected = loss.distances(pictures.roll(1, 3), pictures)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss.distances(pictures.roll(1, 3), pictures)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0, rtol=1e-6)


def test_published_heads_are_recognised():
    heads = {f"lin{n}": torch.full((64,), total / 64) for n, total in enumerate(VGG16.published_head_sums)}
    assert has_published_heads(heads, backbone=VGG16)
    assert not has_published_heads(heads, backbone=ALEXNET)


@pytest.fixture(scope="module")
def alexnet_tensors():
    return {name: torch.zeros(shape) for name, shape in expected_shapes(ALEXNET).items()}


def test_missing_and_misshaped_tensors_are_named(tmp_path, alexnet_tensors):
    path = tmp_path / "weights.safetensors"
    save_file({k: v for k, v in alexnet_tensors.items() if k != "features.3.bias"}, path)
    with pytest.raises(ValueError, match=r"features\.3\.bias"):
        LPIPS(path, net="alexnet")
    save_file(alexnet_tensors | {"lin2": torch.zeros(7)}, path)
    with pytest.raises(ValueError, match=r"tensor lin2:"):
        LPIPS(path, net="alexnet")
    save_file(alexnet_tensors | {"features.0.weight": torch.zeros(64, 3, 3, 3)}, path)
    with pytest.raises(ValueError, match=r"features.0.weight:"):
        LPIPS(path, net="alexnet")


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such"):
        LPIPS(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("not tensors")
    with pytest.raises(ValueError, match="safetensors"):
        LPIPS(tmp_path / "text.safetensors")
    with pytest.raises(ValueError, match="net:"):
        LPIPS(tmp_path / "none.safetensors", net="squeeze")
