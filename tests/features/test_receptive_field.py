"""Where tokens look: by hand, and by the gradient of what they see."""

import pytest
import timm
import torch
import torchvision

from fdhmfe.data.views import Preprocessing
from fdhmfe.features.backbone import StageBackbone, stage_extractor
from fdhmfe.features.receptive_field import stage_views


@pytest.mark.parametrize(
    ("name", "halvings"), [("resnet18", (3, 4, 5)), ("mobilenet_v2", (3, 4, 5)), ("vgg11", None)]
)
def test_tokens_of_padded_convolutions_look_up_and_left(name, halvings):
    network = torchvision.models.get_model(name, weights=None)
    backbone = StageBackbone(
        stage_extractor(network, 3, 64), grid=2, preprocessing=Preprocessing(64)
    )
    # Stride s puts token i on pixel s i, the cell's middle is at s i + (s - 1) / 2; pooling to
    # cells of 32 pixels moves both alike. VGG halves by pooling disjoint blocks: centred.
    expected = [-((2**n - 1) / 2) / 32 for n in halvings] if halvings else [0, 0, 0]
    assert [stage.shift for stage in stage_views(backbone, 64)] == pytest.approx(expected)


@pytest.mark.parametrize(
    "layers",
    [
        [torch.nn.Conv2d(3, 1, 3, 2, 1), torch.nn.Conv2d(1, 1, 5, 2, 2)],
        [torch.nn.Conv2d(3, 1, 4, 4), torch.nn.Conv2d(1, 1, 2, 2)],  # patches
        [torch.nn.Conv2d(3, 1, 3), torch.nn.Conv2d(1, 1, 3, 2, dilation=2)],  # nothing padded
        [torch.nn.Conv2d(3, 1, 7, 2, 3), torch.nn.AvgPool2d(3, 2, 1), torch.nn.AvgPool2d(2)],
        [timm.layers.Conv2dSame(3, 1, 3, 2), timm.layers.Conv2dSame(1, 1, 5, 2)],
    ],
    ids=["padded", "patches", "valid", "pooled", "same"],
)
def test_shifts_are_where_the_gradient_of_a_token_lies(layers):
    for layer in (layer for layer in layers if isinstance(layer, torch.nn.Conv2d)):
        torch.nn.init.constant_(layer.weight, 1.0)  # so that it sees all of its field evenly
    network = torch.nn.Sequential(*layers)
    backbone = StageBackbone(
        lambda images: [network(images)], grid=99, preprocessing=Preprocessing(64)
    )
    backbone.network = network
    images = torch.zeros(1, 3, 64, 64, requires_grad=True)
    tokens = backbone(images)[0].flatten(1)  # of one channel
    side = round(tokens.shape[1] ** 0.5)
    places = torch.arange(2, side - 2)  # a token in the middle of each of these columns
    seen = [
        torch.autograd.grad(tokens[0, side * (side // 2) + i].sum(), images, retain_graph=True)[0]
        for i in places
    ]
    weights = torch.stack([gradient.sum((0, 1, 2)) for gradient in seen])  # (columns, pixels)
    centres = weights @ (torch.arange(64) + 0.5) / weights.sum(1)
    off = centres * side / 64 - (places + 0.5)
    assert off.mean().item() == pytest.approx(stage_views(backbone, 64)[0].shift, abs=1e-5)
