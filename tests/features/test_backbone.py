"""Stage maps of real networks, and what is said about weights that do not fit."""

import re
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torchvision.models.feature_extraction import create_feature_extractor

from fdhmfe.data.views import Preprocessing
from fdhmfe.features.backbone import (
    StageBackbone,
    deepest_nodes,
    frozen,
    pretrained,
    stage_extractor,
)
from fdhmfe.features.embedded import EmbeddedNet

SMALL = "shufflenet_v2_x0_5"  # 5 MB of weights
TIMM = "test_efficientnet"  # 1.4 MB
SIZES = dict(stages=3, grid=7, size=64)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torchvision.models.get_model(SMALL, weights=None).eval()


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / f"{SMALL}.safetensors"
    save_file(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", SMALL])
def test_deepest_nodes_give_maps_of_decreasing_size(name, images):
    network = torchvision.models.get_model(name, weights=None).eval()
    nodes = deepest_nodes(network, 64)
    maps = create_feature_extractor(network, nodes)(images)
    sides = [maps[node].shape[-1] for node in nodes]
    assert sides == sorted(set(sides), reverse=True)
    assert len(sides) >= 4
    assert all(
        maps[node].shape[-2:] == (side, side) for node, side in zip(nodes, sides, strict=True)
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", ["layer1", "layer2", "layer3", "layer4"]),
        ("resnet50", ["layer1", "layer2", "layer3", "layer4"]),
        ("mobilenet_v2", ["features.7.conv.0", "features.14.conv.0", "features"]),
    ],
)
def test_deepest_nodes_are_the_widest_of_their_size(name, expected):
    network = torchvision.models.get_model(name, weights=None)
    assert deepest_nodes(network, 64)[-len(expected) :] == expected


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_a_frozen_backbone_gives_the_same_maps_without_batch_norms(name, images):
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None).train()
    network(torch.randn(8, 3, 64, 64))  # running statistics other than 0 and 1
    backbone = StageBackbone(
        stage_extractor(network.eval(), 3, 64), grid=7, preprocessing=Preprocessing(64)
    )
    before = backbone(images)
    folded = frozen(backbone)
    for one, other in zip(before, folded(images), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())


def test_deepest_nodes_leave_no_hooks(network):
    deepest_nodes(network, 64)
    assert not any(module._forward_hooks for module in network.modules())


def test_pretrained_loads_the_file_and_gives_maps(network, weights, images):
    backbone = pretrained(SMALL, weights, **SIZES)
    maps = backbone(images)
    # 64 px: strides 8, 16, 32 give 8, 4, 2 per side; 8 is pooled to the grid, 7
    assert [x.shape for x in maps] == [(2, 48, 7, 7), (2, 96, 4, 4), (2, 1024, 2, 2)]
    logits = network.fc(maps[-1].mean((2, 3)))  # what follows the last stage in this network
    torch.testing.assert_close(logits, network(images))
    assert not backbone.training


def test_maps_by_hand():
    plane = torch.arange(16.0).reshape(1, 1, 4, 4)
    backbone = StageBackbone(lambda x: [x, x[..., :2, :2]], 2, Preprocessing(4))
    pooled, whole = backbone(torch.cat([plane, -plane], dim=1))
    # the mean of each 2x2 block; a map that fits the grid stays as it is
    assert pooled[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert whole[0, 0].tolist() == [[0, 1], [4, 5]]
    assert all(torch.equal(x[:, 1], -x[:, 0]) for x in (pooled, whole))


def test_embedded_net_has_four_stages(images):
    network = EmbeddedNet(outputs=5)
    assert network(images).shape == (2, 5)
    backbone = StageBackbone(stage_extractor(network, 4, 64), 8, Preprocessing(64)).eval()
    shapes = [x.shape for x in backbone(images)]
    assert shapes == [(2, 16, 8, 8), (2, 32, 8, 8), (2, 64, 8, 8), (2, 128, 4, 4)]
    assert sum(p.numel() for p in network.parameters()) < 500_000


def test_more_stages_than_there_are():
    with pytest.raises(ValueError, match=r"has 4 square stage maps, 5 were asked for"):
        stage_extractor(EmbeddedNet(3), 5, 64)


@pytest.mark.parametrize(
    ("wrong", "nearest"), [("resnet_50", "resnet50"), ("mobilenetv2", "mobilenet_v2")]
)
def test_unknown_backbone_names_the_nearest(wrong, nearest):
    with pytest.raises(ValueError, match=f"'{wrong}' is not known; did you mean '{nearest}'"):
        pretrained(wrong, None, **SIZES)


def test_weights_of_another_network_name_the_file(weights):
    with pytest.raises(ValueError, match=rf"{SMALL}\.safetensors does not fit resnet18: Missing"):
        pretrained("resnet18", weights, **SIZES)


@pytest.mark.parametrize("name", [SMALL, f"timm/{TIMM}"])
@pytest.mark.parametrize("file", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("content", [b"", b"hello", b"<html>not found</html>", b"\0" * 100])
def test_file_that_holds_no_weights_is_named(tmp_path, name, file, content):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=f"{file} cannot be read"):
        pretrained(name, tmp_path / file, **SIZES)


@pytest.mark.parametrize("name", [SMALL, f"timm/{TIMM}"])
def test_truncated_weights_are_named(tmp_path, weights, name):
    (tmp_path / "half.safetensors").write_bytes(weights.read_bytes()[:10_000])
    with pytest.raises(ValueError, match=r"half\.safetensors cannot be read"):
        pretrained(name, tmp_path / "half.safetensors", **SIZES)


@pytest.mark.parametrize("name", [SMALL, f"timm/{TIMM}"])
def test_absent_weights_are_named(tmp_path, name):
    with pytest.raises(ValueError, match=r"absent\.pth is not a file"):
        pretrained(name, tmp_path / "absent.pth", **SIZES)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_timm_network_with_a_weight_file(tmp_path, images, suffix):
    torch.manual_seed(0)
    whole = timm.create_model(TIMM, pretrained=False).eval()
    path = tmp_path / f"w{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(whole.state_dict(), path)
    backbone = pretrained(f"timm/{TIMM}", path, **SIZES)
    maps = backbone(images)
    assert [x.shape[2:] for x in maps] == [(7, 7), (4, 4), (2, 2)]
    direct = whole.forward_intermediates(images, intermediates_only=True)[-1]
    torch.testing.assert_close(maps[-1], direct)
    assert not backbone.training


def test_timm_weights_of_another_network_name_the_file(weights):
    expected = f"{re.escape(str(weights))}: .*Missing key"
    with pytest.raises(ValueError, match=expected):
        pretrained(f"timm/{TIMM}", weights, **SIZES)


def test_unknown_timm_network_names_the_nearest():
    with pytest.raises(ValueError, match=r"'timm/resnet_50'.*did you mean 'timm/resnet50'"):
        pretrained("timm/resnet_50", None, **SIZES)


def test_more_timm_stages_than_there_are(tmp_path):
    torch.save(timm.create_model(TIMM, pretrained=False).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=f"timm/{TIMM} has 5 stage maps, 9 were asked for"):
        pretrained(f"timm/{TIMM}", tmp_path / "w.pth", stages=9, grid=7, size=64)
