"""Feature networks: tiny random stand-ins through the code that loads the published ones, and honest names."""

import hashlib
import importlib.util
import json
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from textok.evaluation import networks
from textok.evaluation.networks import EffNetLite2, FeatureNetwork, load_network, metric_name

SETTINGS = {
    "do_resize": True,
    "size": {"shortest_edge": 32},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 28, "width": 28},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.48, 0.46, 0.41],
    "image_std": [0.27, 0.26, 0.28],
}


def images(count=3, height=40, width=52):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(
        0, 256, (count, 3, height // 4, width // 4), generator=generator, dtype=torch.uint8
    )
    return coarse.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)


def by_pillow(pictures):
    """The pictures resized to a shorter side of 32 px and cropped to 28, scaled and normalised, as SETTINGS say."""
    mean, std = (torch.tensor(SETTINGS[f"image_{name}"]).reshape(3, 1, 1) for name in ("mean", "std"))
    prepared = []
    for picture in pictures:
        height, width = (side * 32 // min(picture.shape[1:]) for side in picture.shape[1:])
        image = Image.fromarray(picture.permute(1, 2, 0).numpy()).resize((width, height), Image.BICUBIC)
        top, left = (height - 28) // 2, (width - 28) // 2
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[:, top : top + 28, left : left + 28]
        prepared.append((pixels / 255 - mean) / std)
    return torch.stack(prepared)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of tiny random models, as `save_pretrained` of transformers writes them."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    tiny = {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    models = {
        "dinov2": Dinov2Model(Dinov2Config(**tiny)),
        "clip": CLIPVisionModelWithProjection(
            CLIPVisionConfig(**tiny, intermediate_size=32, projection_dim=10)
        ),
    }
    root = tmp_path_factory.mktemp("models")
    for name, model in models.items():
        model.save_pretrained(root / name)
        (root / name / "preprocessor_config.json").write_text(json.dumps(SETTINGS))
    return root


@pytest.mark.parametrize(("name", "dim"), [("dinov2", 24), ("clip", 10)])
def test_a_vision_transformer_sees_what_transformers_gives(folders, name, dim):
    from transformers import AutoModel, CLIPVisionModelWithProjection

    network = load_network(name, weights=folders / name).train()
    assert isinstance(network, FeatureNetwork) and network.dim == dim and network.name == name
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    kind = AutoModel if name == "dinov2" else CLIPVisionModelWithProjection
    reference = kind.from_pretrained(folders / name).eval()
    with torch.no_grad():
        found = reference(pixel_values=by_pillow(images()))
    expected = found.pooler_output if name == "dinov2" else found.image_embeds
    torch.testing.assert_close(network(images()).pooled, expected, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(network(images()).pooled, expected, rtol=1e-4, atol=1e-5)


def test_a_whole_clip_gives_its_image_half(tmp_path):
    from transformers import CLIPConfig, CLIPModel

    tiny = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = tiny | {"image_size": 28, "patch_size": 14, "projection_dim": 8}
    text = tiny | {"vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(0)
    whole = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=8)).eval()
    whole.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(SETTINGS))
    network = load_network("clip", weights=tmp_path)
    with torch.no_grad():
        expected = whole.get_image_features(pixel_values=by_pillow(images())).pooler_output
    torch.testing.assert_close(network(images()).pooled, expected, rtol=1e-4, atol=1e-5)


def test_all_paired_metrics_run_with_a_network_without_stages(folders, evaluate_pairs):
    network = load_network("clip", weights=folders / "clip")
    clean = images(20)
    row = evaluate_pairs(clean, clean.flip(3), network=network)
    assert {"fd_clip", "fd_clip_floor"} < set(row) and "perceptual_clip" not in row


@pytest.mark.parametrize("broken", ["{", '{"size": {"longest_edge": 5}}', '{"image_mean": null}'])
def test_other_preprocessing_is_refused(tmp_path, broken):
    (tmp_path / "preprocessor_config.json").write_text(broken)
    with pytest.raises(ValueError, match=r"preprocessor_config\.json:"):
        load_network("clip", weights=tmp_path)


def test_folders_that_do_not_fit_are_refused_by_file(folders, tmp_path):
    with pytest.raises(ValueError, match="model_type:"):
        load_network("dinov2", weights=folders / "clip")
    with pytest.raises(FileNotFoundError, match=r"preprocessor_config\.json:"):
        load_network("clip", weights=tmp_path)
    for file in (folders / "dinov2").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(ValueError, match=r"lack.*tensors"):
        load_network("dinov2", weights=tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="does not load"):
        load_network("dinov2", weights=tmp_path)
    with pytest.raises(FileNotFoundError, match="feature network"):
        load_network("dinov2", weights=tmp_path / "none")


def test_the_default_and_unknown_names():
    assert isinstance(load_network(), EffNetLite2)
    with pytest.raises(ValueError, match="it comes with its own"):
        load_network("effnet_lite2", weights="other.pth")
    with pytest.raises(ValueError, match="inception_2015"):
        load_network("inception")


class StandIn(nn.Module):
    """In torch-fidelity's place: its arguments, its way of loading, its outputs, fewer channels."""

    def __init__(self, name, features_list, feature_extractor_weights_path=None):
        super().__init__()
        self.features_list = features_list
        self.fc = nn.Linear(3, 16)
        self.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=False))
        self.requires_grad_(False).eval()

    def forward(self, x):
        assert x.dtype == torch.uint8 and self.features_list == ["2048", "logits_unbiased"]
        pooled = self.fc(x.float().mean(dim=(2, 3)))
        return pooled, pooled[:, :8]


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    module = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = StandIn
    monkeypatch.setitem(sys.modules, "torch_fidelity", types.ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(networks.Inception2015, "dim", 16)
    torch.manual_seed(0)
    path = tmp_path / "weights.pth"
    torch.save(nn.Sequential(OrderedDict(fc=nn.Linear(3, 16))).state_dict(), path)
    return path


def test_inception_is_fid_with_the_published_file_only(stand_in, monkeypatch, evaluate_pairs):
    other = load_network("inception_2015", weights=stand_in)
    features = other(images())
    assert isinstance(other, FeatureNetwork) and features.pooled.shape == (3, 16)
    assert features.logits.shape == (3, 8) and not features.stages
    names = [metric_name(kind, other) for kind in ("fd", "kd", "is")]
    assert names == ["fd_inception_2015", "kd_inception_2015", "is_inception_2015"]
    monkeypatch.setattr(networks, "INCEPTION_SHA256", hashlib.sha256(stand_in.read_bytes()).hexdigest())
    known = load_network("inception_2015", weights=stand_in)
    names = [metric_name(kind, known) for kind in ("fd", "kd", "is")]
    assert names == ["fid", "kid", "is"]
    row = evaluate_pairs(images(20), images(20).flip(3), network=known)
    assert {"fid", "fid_unpaired", "fid_floor"} < set(row) and not {name for name in row if "fd" in name}


def test_inception_is_taken_from_where_torch_fidelity_keeps_it(stand_in, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    kept = tmp_path / "hub" / "checkpoints" / networks.INCEPTION_FILE
    kept.parent.mkdir(parents=True)
    kept.write_bytes(stand_in.read_bytes())
    assert load_network("inception_2015").weights == str(kept)
    kept.unlink()

    def no_connection(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_connection)
    with pytest.raises(FileNotFoundError, match="no route to host"):
        load_network("inception_2015")


class Payload:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was run",))


def test_files_that_are_not_the_weights_are_refused_and_nothing_is_unpickled(stand_in, tmp_path):
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    torch.save({"fc.weight": Payload()}, tmp_path / "pickle.pth")
    (tmp_path / "text.pth").write_text("hello")
    for name in ("other.pth", "pickle.pth", "text.pth"):
        with pytest.raises(ValueError, match=f"{name}:"):
            load_network("inception_2015", weights=tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"none\.pth:"):
        load_network("inception_2015", weights=tmp_path / "none.pth")


def test_without_the_extra_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ValueError, match=r"open-textok\[fid\]"):
        load_network("inception_2015", weights="weights.pth")


@pytest.mark.skipif(importlib.util.find_spec("torch_fidelity") is None, reason="needs the extra fid")
def test_torch_fidelitys_own_network_with_random_weights(tmp_path, monkeypatch):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Original

    monkeypatch.setattr(Original, "load_state_dict", lambda *_, **__: None)
    monkeypatch.setattr(torch, "load", lambda *_, **__: {})
    torch.manual_seed(0)
    original = Original("inception-v3-compat", ["2048", "logits_unbiased"], "none")
    monkeypatch.undo()
    torch.save(original.state_dict(), tmp_path / "random.pth")
    found = load_network("inception_2015", weights=tmp_path / "random.pth")(images())
    pooled, logits = original(images())
    torch.testing.assert_close(found.pooled, pooled)
    torch.testing.assert_close(found.logits, logits)
