"""Where on the image a stage's tokens look: not quite where their cells lie."""

import torch
from torch import Tensor, nn

from fdhmfe.backbone import StageBackbone


def token_shifts(backbone: StageBackbone, size: int) -> list[float]:
    """How far what a stage's tokens see lies off the middle of their cells: a number per stage.

    In cells; negative: up and left, for images (size, size). A padded convolution of stride 2
    centres its output i on input 2 i, the corner of the cell it stands for; one that cuts the image
    into patches is centred. Averaging to the grid moves nothing.
    """
    places, sides = places_seen(backbone, size)
    shifts = []
    for side in sides:
        start, step = places.get(side, (size / side / 2, size / side))  # unknown: centred
        off = start + step * (side - 1) / 2 - size / 2  # pixels, of the middle of the map
        shifts.append(off * min(side, backbone.grid) / size)
    return shifts


def places_seen(
    backbone: StageBackbone, size: int
) -> tuple[dict[int, tuple[float, float]], list[int]]:
    """Where maps of each side look: the pixel their first position centres on, and the step.

    Also the sides of the stages. Layer by layer, a map begins ((k - 1) / 2 - padding) steps of the
    one before it later, k being the kernel as dilation spreads it. Source: receptive field
    arithmetic (distill.pub/2019/computing-receptive-fields).
    """
    places = {size: (0.5, 1)}

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
    return places, [x.shape[-1] for x in maps]


def side_of(size: int | tuple[int, int] | str) -> int:
    """A layer's size or padding along the width; of what it calls "valid", 0."""
    if isinstance(size, str):
        return 0
    return size[-1] if isinstance(size, tuple) else size
