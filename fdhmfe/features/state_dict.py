"""Weight files that others made: read them safely, and find what fits a network.

Training programs wrap the tensors of a network in dictionaries, put prefixes before their names,
and store more beside them. Only what the stage maps need must be there.
"""

import re
from argparse import Namespace
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from heapq import nsmallest
from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models

from fdhmfe.support.sniff import HEAD, described

# What networks store beside weights: counters of torch and thop, and what older Swins could compute
ASIDE = ("num_batches_tracked", "total_ops", "total_params", "attn_mask", "relative_position_index")
NEAREST = 5  # set by hand: how many networks of about the same size are tried, for a hint


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .pth or .pt file by name; code in it is never run.

    Tensors in nested dictionaries are named by their path, such as model.fc.bias. Raises ValueError
    naming a file that is missing, damaged, or holds no tensors.
    """
    if not path.is_file():
        raise ValueError(f"weights {path} is not a file")
    with open(path, "rb") as file:
        head = file.read(HEAD)
    try:
        safetensors = head[8:9] == b"{"  # eight bytes of length, then JSON
        content = load_file(path) if safetensors else unpickled(path)
        state = {name: value for name, value in flattened(content) if name}
    except Exception as error:  # unpickling a broken file may raise anything
        raise ValueError(f"weights {path} cannot be read: {reason(head, error)}") from error
    if not state:
        raise ValueError(f"weights {path} hold no tensors by name: save a network's state_dict()")
    return state


def unpickled(path: Path) -> object:
    """What torch.save stored, if it is tensors in plain containers; timm's options may be there."""
    with torch.serialization.safe_globals([Namespace]):
        return torch.load(path, map_location="cpu", weights_only=True)


def reason(head: bytes, error: Exception) -> str:
    """Why a file that begins with `head` cannot be read, and what to do."""
    if known := described(head):
        return f"it is {known}; get the file again"
    if code := re.search(r"GLOBAL (\S+)|(TorchScript)", str(error)):
        return (
            f"it holds code ({code[1] or code[2]}), which is not run; save the network's "
            "state_dict() alone"
        )
    return f"it is cut off or damaged ({type(error).__name__}); get the file again"


def flattened(content: object, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in nested dictionaries, with its path: {"a": {"b": x}} gives ("a.b", x)."""
    if isinstance(content, Tensor):
        yield name, content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from flattened(value, f"{name}.{key}" if name else str(key))


def modern(name: str) -> str:
    """A tensor's name as torchvision has it now; its published DenseNets have older names."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", name)


def fitted(
    state: Mapping[str, Tensor], network: nn.Module, needed: Collection[str], source: str, name: str
) -> dict[str, Tensor]:
    """The state of `network` with the tensors of a file in their places, in the network's types.

    `needed`: names of those that must be there; a head may be missing or of another size. `source`
    and `name` of the network are for the error: ValueError if a needed tensor is missing, if there
    are further ones between them, as in a deeper network, or if values are not finite.
    """
    own = network.state_dict()
    given = without_prefix(state, own)
    needed = [key for key in needed if key in own and not key.endswith(ASIDE)]
    missing, further = differences(given, own, needed)
    if missing or further:
        count = f"{len(needed) - len(missing)} of the {len(needed)} tensors it needs fit"
        odd = f"{missing[0]} does not" if missing else f"but it has no {further[0]}"
        raise ValueError(f"{source} do not fit {name}: {count}, {odd}; {hint(state)}")
    found = {k: v.to(own[k].dtype) for k, v in given.items() if k in own and fits(v, own[k])}
    broken = [key for key in needed if not sound(key, found[key])]
    if broken:
        raise ValueError(
            f"{source} are broken: {len(broken)} tensors hold NaN, infinite or impossible values, "
            f"first {broken[0]}; get the file again"
        )
    own.update(found)  # not a new dictionary: torch notes versions of modules in its own
    return own


def differences(
    given: Mapping[str, Tensor], own: Mapping[str, Tensor], needed: Collection[str]
) -> tuple[list[str], list[str]]:
    """Which needed tensors of a network do not fit, and which further ones are between them."""
    missing = [key for key in needed if key not in given or not fits(given[key], own[key])]
    parts = {key.split(".")[0] for key in needed}
    between = [key for key in given if key.split(".")[0] in parts and not key.endswith(ASIDE)]
    return missing, [key for key in between if key not in own]


def without_prefix(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors after the prefix that leaves most names as in `own`, without that prefix.

    A prefix is anything up to a dot: wrappers (state_dict.), parallel or compiled networks
    (module., _orig_mod.), larger networks (backbone.). If several do, that of averaged weights.
    """
    state = {modern(name): value for name, value in state.items()}
    counts: Counter[str] = Counter()
    for name, value in state.items():
        for start in (0, *(dot.end() for dot in re.finditer(r"\.", name))):
            rest = name[start:]
            counts[name[:start]] += rest in own and fits(value, own[rest])

    def merit(prefix: str) -> tuple[int, bool]:
        averaged = re.search(r"(?<![a-z])ema(?![a-z])", prefix)
        return counts[prefix], bool(averaged)

    best = max(counts, key=merit)
    return {k.removeprefix(best): v for k, v in state.items() if k.startswith(best)}


def fits(value: Tensor, own: Tensor) -> bool:
    """True for the same shape and kind of number; half precision fits single precision."""
    plain = value.layout == own.layout and not value.is_meta  # dense, and with numbers
    same_kind = value.is_floating_point() == own.is_floating_point()
    return plain and same_kind and value.shape == own.shape


def sound(name: str, value: Tensor) -> bool:
    """True if all values are finite, and variances of batch norms not negative."""
    negative = name.endswith("running_var") and bool((value < 0).any())
    return bool(value.isfinite().all()) and not negative


def hint(state: Mapping[str, Tensor]) -> str:
    """Which torchvision network the tensors fit, among those of about their size, in words."""
    weights = {name: get_model_weights(name).DEFAULT for name in torchvision_names()}
    sizes = {name: each.meta["num_params"] for name, each in weights.items()}
    count = sum(value.numel() for name, value in state.items() if ".running_" not in name)
    for name in nsmallest(NEAREST, sizes, key=lambda name: abs(sizes[name] - count)):
        with suppress(NotImplementedError), torch.device("meta"):  # some cannot be built there
            own = get_model(name, weights=None).state_dict()
            body = [key for key in list(own)[:-2] if not key.endswith(ASIDE)]  # the head is last
            if not any(differences(without_prefix(state, own), own, body)):
                return f"they fit backbone={name!r}"
    return "choose the backbone that they belong to"


def torchvision_names() -> list[str]:
    """The classification networks of torchvision."""
    return list_models(module=torchvision.models)
