"""Backbones: an image becomes stage maps, from shallow to deep.

Any torchvision network by its name, any timm network as timm/NAME, or the small embedded one, which
the kit trains itself, without internet access or a GPU.
"""

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from difflib import get_close_matches
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torchvision.models import get_model, get_model_weights
from torchvision.models.feature_extraction import create_feature_extractor

from fdhmfe.data.views import Preprocessing
from fdhmfe.features.state_dict import fitted, read_state_dict, torchvision_names
from fdhmfe.support.places import suggest


class StageBackbone(nn.Module):
    """Images (B, 3, H, W) -> the deepest L stage maps (B, C_l, H_l, W_l), shallow to deep.

    Maps wider than `grid` are average-pooled to grid x grid, so that shallow stages do not have far
    more tokens than deep ones. `preprocessing`: how the images must be made.
    """

    def __init__(
        self,
        extractor: Callable[[Tensor], list[Tensor]],
        grid: int,
        preprocessing: Preprocessing,
    ) -> None:
        super().__init__()
        self.extractor = extractor
        self.grid = grid
        self.preprocessing = preprocessing

    def forward(self, images: Tensor) -> list[Tensor]:
        return to_grid(self.extractor(images), self.grid)


def to_grid(maps: Iterable[Tensor], grid: int) -> list[Tensor]:
    """Maps (B, C_l, H_l, W_l), those wider than `grid` average-pooled to grid x grid."""
    return [F.adaptive_avg_pool2d(x, grid) if x.shape[-1] > grid else x for x in maps]


def pretrained(
    name: str, weights: Path | None, *, stages: int, grid: int, size: int
) -> StageBackbone:
    """A pretrained backbone that returns its `stages` deepest stage maps, in evaluation mode.

    `weights` is a .safetensors or .pth file; None downloads the published ones. Raises ValueError
    for an unknown name or a file that does not fit, ConnectionError when a download fails.
    """
    if name.startswith("timm/"):
        extractor = timm_extractor(name.removeprefix("timm/"), weights, stages)
        preprocessing = timm_preprocessing(extractor, size)
        extractor = channels_first(extractor)
    else:
        network = torchvision_network(name)
        extractor = stage_extractor(network, stages, size)
        state = read_state_dict(weights) if weights else download(name)
        load_weights(state, network, extractor, f"weights {weights or 'that came'}", name)
        preprocessing = Preprocessing(size)
    return ready(extractor, grid, preprocessing)


def ready(extractor: nn.Module, grid: int, preprocessing: Preprocessing) -> StageBackbone:
    """A backbone in evaluation mode, its tensors laid out as they are fastest on a CPU."""
    backbone = StageBackbone(extractor, grid, preprocessing).eval()
    return backbone.to(memory_format=torch.channels_last)


def frozen(backbone: StageBackbone) -> StageBackbone:
    """Fold batch norms into the convolutions before them: the same maps, about 1.7 times as fast.

    timm networks stay as they are, because not all of them can be traced.
    """
    if isinstance(backbone.extractor, Values):
        backbone.extractor = Values(fuse(backbone.extractor.extractor, inplace=True))
    return backbone.eval().to(memory_format=torch.channels_last)


def torchvision_network(name: str) -> nn.Module:
    """A torchvision classification network with random weights; ValueError if it is not known."""
    names = torchvision_names()
    if name not in names:
        raise ValueError(f"backbone={name!r} is not known{suggest(name, names)}, or timm/NAME")
    return get_model(name, weights=None)


def load_weights(
    state: Mapping[str, Tensor], network: nn.Module, extractor: nn.Module, source: str, name: str
) -> None:
    """Copy what its stage extractor needs into a network (see `fitted`); its head may be absent."""
    needed = [key.removeprefix("extractor.") for key in extractor.state_dict()]
    network.load_state_dict(fitted(state, network, needed, source, name))


def download(name: str) -> dict[str, Tensor]:
    """Published torchvision weights, checked against the hash in their file name.

    torch keeps the file. Raises ConnectionError if it is not there and cannot be fetched whole.
    """
    url = get_model_weights(name).DEFAULT.url
    kept = Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
    try:
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            hashed = torch.hub.HASH_REGEX.search(kept.name)
            torch.hub.download_url_to_file(url, str(kept), hashed and hashed[1])
    except (OSError, HTTPException, RuntimeError, ValueError) as error:  # the last: odd headers
        raise ConnectionError(
            f"cannot download the weights of {name} ({error}); give a file with weights=..., "
            "or use profile quick, which needs no download"
        ) from error
    return read_state_dict(kept)


def stage_extractor(network: nn.Module, stages: int, size: int) -> nn.Module:
    """Cut a network so that it returns its deepest `stages` maps, shallow to deep."""
    last = deepest_nodes(network, size)[-stages:]
    if len(last) < stages:
        raise ValueError(
            f"this backbone has {len(last)} square stage maps, {stages} were asked for; "
            "set stages lower or choose a convolutional network"
        )
    nodes = {node: str(level) for level, node in enumerate(last)}
    return Values(create_feature_extractor(network, nodes))


class Values(nn.Module):
    """A feature extractor that returns a list, shallow to deep, instead of a dictionary."""

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, images: Tensor) -> list[Tensor]:
        return list(self.extractor(images).values())


class ChannelsFirst(nn.Module):
    """A feature extractor of timm whose maps are (B, H, W, C), such as Swin's: as (B, C, H, W)."""

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, images: Tensor) -> list[Tensor]:
        return [x.permute(0, 3, 1, 2) for x in self.extractor(images)]


def channels_first(extractor: nn.Module) -> nn.Module:
    """A feature extractor of timm, its maps as (B, C, H, W)."""
    last = getattr(extractor, "output_fmt", "NCHW") == "NHWC"
    return ChannelsFirst(extractor) if last else extractor


def watch(
    network: Callable[[Tensor], Any], modules: Iterable[nn.Module], hook: Callable, size: int
) -> Any:
    """Run a network on a blank image and return its output; `hook` is called for each module."""
    handles = [module.register_forward_hook(hook) for module in modules]
    with torch.inference_mode():
        output = network(torch.zeros(1, 3, size, size))
    for handle in handles:
        handle.remove()
    return output


def deepest_nodes(network: nn.Module, size: int) -> list[str]:
    """For each map size, the module whose output has most channels (the last, if several have).

    In networks of inverted bottlenecks (MobileNet) these are the expanded maps, which separate
    fine-grained classes better than the narrow maps between blocks; in a ResNet, the stages.
    """
    found: dict[int, tuple[int, str]] = {}  # side -> channels, node

    def record(module: nn.Module, _inputs: tuple, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            _, channels, height, width = output.shape
            if height == width > 1 and channels >= found.get(height, (0, ""))[0]:
                found[height] = channels, names[module]

    names = {module: name for name, module in network.named_modules() if name}
    watch(network.eval(), names, record, size)
    return [found[side][1] for side in sorted(found, reverse=True)]


def timm_preprocessing(network: nn.Module, size: int) -> Preprocessing:
    """Mean, std and resampling that the weights of a timm network were trained with."""
    known = timm.data.resolve_model_data_config(network)
    resampling = known["interpolation"]
    if resampling == "random":  # in training; timm evaluates with bilinear
        resampling = "bilinear"
    return Preprocessing(size, tuple(known["mean"]), tuple(known["std"]), resampling)


def timm_extractor(name: str, weights: Path | None, stages: int) -> nn.Module:
    """The last `stages` feature maps of a timm network (weights from the hub when None)."""
    try:
        overlay = {"state_dict": timm_state(name, weights)} if weights else None
        extractor = timm_stages(name, stages, pretrained=True, pretrained_cfg_overlay=overlay)
        extractor.pretrained_cfg.pop("state_dict", None)  # type: ignore[operator, union-attr]
        return extractor
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        nearest = get_close_matches(name, timm.list_models(), n=1)
        hint = f"; did you mean 'timm/{nearest[0]}'?" if [name] != nearest != [] else ""
        raise ValueError(
            f"backbone 'timm/{name}', {weights or 'download'}: {reason}{hint}"
        ) from error


def timm_stages(name: str, stages: int, **given: Any) -> nn.Module:
    """timm's extractor of a network's last `stages` maps, made as `given`; ValueError if fewer."""
    create = partial(timm.create_model, name, features_only=True)
    depth = len(create().feature_info)  # type: ignore[arg-type]
    if depth < stages:
        raise ValueError(f"timm/{name} has {depth} stage maps, {stages} were asked for")
    return create(out_indices=tuple(range(depth - stages, depth)), **given)


def timm_state(name: str, weights: Path) -> dict[str, Tensor]:
    """All tensors of a timm network, from a file. (timm itself does not notice missing ones.)"""
    network = timm.create_model(name)
    headless = deepcopy(network)
    headless.reset_classifier(0)  # type: ignore[operator]
    needed, state = headless.state_dict().keys(), read_state_dict(weights)
    return fitted(state, network, needed, f"weights {weights}", f"timm/{name}")
