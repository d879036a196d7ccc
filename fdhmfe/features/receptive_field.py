"""Where on the image a stage's tokens look: not quite where their cells lie."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fdhmfe.features.backbone import StageBackbone


class StageView(NamedTuple):
    """What is known of a backbone's stage before it has seen an image."""

    channels: int  # C_l
    shift: float  # how far what tokens see lies off the middle of their cells; in cells


def stage_views(backbone: StageBackbone, size: int) -> list[StageView]:
    """Channels and shift of each stage, for images (size, size).

    A negative shift is up and left. A padded convolution of stride 2 centres its output i on input
    2 i, the corner of the cell it stands for; one that cuts the image into patches is centred.
    Averaging to the grid moves nothing.
    """
    places, maps = places_seen(backbone, size)
    found = []
    for _, channels, side, _ in (x.shape for x in maps):
        start, step = places.get(side, (size / side / 2, size / side))  # unknown: centred
        off = start + step * (side - 1) / 2 - size / 2  # pixels, of the middle of the map
        found.append(StageView(channels, off * min(side, backbone.grid) / size))
    return found


def places_seen(
    backbone: StageBackbone, size: int
) -> tuple[dict[int, tuple[float, float]], list[Tensor]]:
    """Where maps of each side look: the pixel their first position centres on, and the step.

    Also the stage maps of one blank image. Layer by layer, a map begins ((k - 1) / 2 - padding)
    steps of the one before it later, k being the kernel as dilation spreads it. Source: receptive
    field arithmetic (distill.pub/2019/computing-receptive-fields).
    """
    places: dict[int, tuple[float, float]] = {size: (0.5, 1)}

    def record(layer: nn.Module, inputs: tuple, output: Tensor) -> None:
        before, after = inputs[0].shape[-1], output.shape[-1]
        if after < before and before in places and after not in places:
            start, step = places[before]
            names = ("kernel_size", "stride", "padding", "dilation")
            kernel, stride, padding, dilation = (side_of(getattr(layer, n, 1)) for n in names)
            reach = dilation * (kernel - 1)
            same = (after - 1) * stride + 1 + reach - before  # timm's pads by itself, as it needs
            moved = reach / 2 - max(padding, same // 2)
            places[after] = start + moved * step, step * stride

    kinds = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
    layers = [module for module in backbone.modules() if isinstance(module, kinds)]
    handles = [layer.register_forward_hook(record) for layer in layers]
    with torch.inference_mode():
        maps = backbone.extractor(torch.zeros(1, 3, size, size))
    for handle in handles:
        handle.remove()
    return places, maps


def side_of(size: int | tuple[int, int] | str) -> int:
    """A layer's size or padding along the width; of what it calls "valid", 0."""
    if isinstance(size, str):
        return 0
    return size[-1] if isinstance(size, tuple) else size
