"""A backbone in two gives the maps of the whole, and only its tail trains."""

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.testing import assert_close

from fdhmfe.data.views import Preprocessing
from fdhmfe.features.backbone import (
    StageBackbone,
    pretrained,
    stage_extractor,
    timm_preprocessing,
)
from fdhmfe.features.embedded import EmbeddedNet
from fdhmfe.features.receptive_field import stage_views
from fdhmfe.features.split import split


def torchvision_backbone(name: str, size: int = 64, **given) -> StageBackbone:
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None, **given).train()
    network(torch.randn(8, 3, size, size))  # running statistics other than 0 and 1
    extractor = stage_extractor(network.eval(), 3, size)
    return StageBackbone(extractor, 7, Preprocessing(size)).eval()


def timm_backbone(name: str, size: int = 64) -> StageBackbone:
    torch.manual_seed(0)
    network = timm.create_model(name, features_only=True, out_indices=(-3, -2, -1)).eval()
    return StageBackbone(network, 7, timm_preprocessing(network, size)).eval()


def pictures(size: int = 64) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "cut", "before"),
    [
        ("mobilenet_v2", (96, 4, 4), (160, 2, 2)),  # features.13 and features.16, narrow both
        ("resnet18", (256, 4, 4), (512, 2, 2)),
        ("shufflenet_v2_x0_5", (96, 4, 4), (192, 2, 2)),
        ("convnext_tiny", (384, 4, 4), (768, 2, 2)),  # its blocks turn maps round
        ("vgg11_bn", (256, 8, 8), (512, 4, 4)),  # nothing trains at its last resolution
    ],
)
@torch.no_grad()
def test_front_and_tail_are_the_whole(name, cut, before):
    backbone = torchvision_backbone(name)
    front, tail, block = split(backbone)
    whole, halves = backbone(pictures()), front(pictures())
    *maps, last = tail(halves)
    assert (halves[-1].shape[1:], last.shape[1:]) == (cut, before)
    for found, expected in zip(maps, whole, strict=True):
        assert_close(found, expected, rtol=1e-3, atol=1e-4)  # the front's batch norms are folded
    assert_close(tail.graph(halves[-1])[-2], block(last), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["test_efficientnet", "tf_efficientnet_lite0", "convnext_atto"])
@torch.no_grad()
def test_timm_networks_are_split_too(name):
    backbone = timm_backbone(name)
    front, tail, _ = split(backbone)
    for found, expected in zip(tail(front(pictures())), backbone(pictures()), strict=False):
        assert_close(found, expected, rtol=0, atol=0)


@torch.no_grad()
def test_a_network_whose_channels_come_last_has_its_channels_first_and_is_split(tmp_path):
    name, size = "swin_tiny_patch4_window7_224", 224
    torch.manual_seed(0)
    save_file(timm.create_model(name).state_dict(), tmp_path / "swin.safetensors")
    sizes = dict(stages=3, grid=7, size=size)
    backbone = pretrained(f"timm/{name}", tmp_path / "swin.safetensors", **sizes)
    whole = backbone(pictures(size))
    assert [x.shape[1:] for x in whole] == [(192, 7, 7), (384, 7, 7), (768, 7, 7)]
    assert [stage.channels for stage in stage_views(backbone, size)] == [192, 384, 768]
    front, tail, _ = split(backbone)
    for found, expected in zip(tail(front(pictures(size))), whole, strict=False):
        assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_timm_weights_bring_their_own_normalisation():
    lite, resnet = timm_backbone("tf_efficientnet_lite0"), timm_backbone("resnet18")
    assert lite.preprocessing == Preprocessing(64, (0.5,) * 3, (0.5,) * 3, "bicubic")
    assert resnet.preprocessing.mean == Preprocessing(64).mean


def test_a_tail_returns_its_own_maps_where_the_shallow_ones_are_not_read():
    front, tail, _ = split(torchvision_backbone("mobilenet_v2"))
    halves = front(pictures())
    *maps, _ = tail(halves[-1:])
    assert tail.stages == len(maps) == 2
    assert_close(maps, tail(halves)[1:3], rtol=0, atol=0)


def test_the_tail_trains_and_leaves_the_backbone_as_it_was():
    torch.manual_seed(0)
    backbone = StageBackbone(
        stage_extractor(EmbeddedNet(3).eval(), 3, 64), 8, Preprocessing(64)
    ).eval()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    front, tail, _ = split(backbone)
    tail.train()
    optimiser = torch.optim.SGD(tail.parameters(), lr=0.1)
    with torch.no_grad():
        halves = front(pictures())
    first = tail(halves)[-2]
    first.square().sum().backward()
    optimiser.step()
    assert not torch.equal(tail(halves)[-2], first)
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    norms = [m for m in tail.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and all(int(norm.num_batches_tracked) == 2 for norm in norms)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in front.modules())


def test_a_backbone_of_one_resolution_has_no_tail():
    network = timm.create_model(
        "test_vit", features_only=True, out_indices=(-3, -2, -1), img_size=64
    )
    backbone = StageBackbone(network, 7, Preprocessing(64)).eval()
    with pytest.raises(ValueError, match=r"no tail to train: .*set trainable to \"none\" or"):
        split(backbone)


def test_a_backbone_that_cannot_be_traced_has_no_tail():
    class Choosing(nn.Module):
        def forward(self, images: Tensor) -> list[Tensor]:
            return [images] if images.sum() > 0 else [-images]

    backbone = StageBackbone(Choosing(), 7, Preprocessing(8))
    with pytest.raises(ValueError, match="it cannot be traced"):
        split(backbone)
