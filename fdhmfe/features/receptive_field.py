"""Where on the image a token looks: the middle of what it sees is not that of its cell."""

from typing import NamedTuple

from torch import Tensor, nn

from fdhmfe.features.backbone import StageBackbone, watch


class StageView(NamedTuple):
    """Facts about a stage of a backbone that do not depend on an image."""

    channels: int  # C_l
    shift: float  # from the middle of a token's cell to the middle of what it sees; in cells


def stage_views(backbone: StageBackbone, size: int) -> list[StageView]:
    """Channels and shift of each stage, for images (size, size).

    A negative shift is up and left. Output i of a padded convolution of stride 2 is centred on
    input 2 i, the corner of its cell; a convolution that cuts the image into patches has no shift.
    Averaging to the grid does not change the shift.
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
    """For each map side: the pixel at the centre of the first position, and the step in pixels.

    Also returns the stage maps of one blank image. Each layer moves the first position by
    ((k - 1) / 2 - padding) steps of its input, where k is the kernel size after dilation. Source:
    receptive field arithmetic (distill.pub/2019/computing-receptive-fields).
    """
    places: dict[int, tuple[float, float]] = {size: (0.5, 1)}

    def record(layer: nn.Module, inputs: tuple, output: Tensor) -> None:
        before, after = inputs[0].shape[-1], output.shape[-1]
        if after < before and before in places and after not in places:
            start, step = places[before]
            names = ("kernel_size", "stride", "padding", "dilation")
            kernel, stride, padding, dilation = (side_of(getattr(layer, n, 1)) for n in names)
            reach = dilation * (kernel - 1)
            same = (after - 1) * stride + 1 + reach - before  # timm may pad inside forward
            moved = reach / 2 - max(padding, same // 2)
            places[after] = start + moved * step, step * stride

    kinds = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
    layers = [module for module in backbone.modules() if isinstance(module, kinds)]
    return places, watch(backbone.extractor, layers, record, size)


def side_of(size: int | tuple[int, int] | str) -> int:
    """A layer's kernel size, stride or padding along the width; 0 for the padding "valid"."""
    if isinstance(size, str):
        return 0
    return size[-1] if isinstance(size, tuple) else size
