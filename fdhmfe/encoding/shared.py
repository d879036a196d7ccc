"""A shared model: a folder in the Hub's format, which opens without data set, weights or network.

    config.json         settings, preprocessing, class names, scores, what it was made with
    model.safetensors   all weights, once: backbone, hashing network, coder
    README.md           the model card

Nothing in it is code. The name of such a model can be a path, a model of the Hub (OWNER/NAME), or
one that comes with the kit.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
from safetensors.torch import load_file, save
from torch import Tensor

from fdhmfe.config.settings import PARTS, Config, load
from fdhmfe.data.views import Preprocessing
from fdhmfe.encoding.card import card
from fdhmfe.support.files import atomic, file_hash, json_bytes, readable

MAKER, FORMAT = "fdhmfe", 1
ABOUT, WEIGHTS, CARD = FILES = ("config.json", "model.safetensors", "README.md")
SHIPPED: Mapping[str, Path] = {"toy": Path(__file__).with_name("toy")}


class Stored(NamedTuple):
    """What the folder of a shared model holds, checked."""

    about: dict[str, Any]  # config.json
    config: Config
    preprocessing: Preprocessing
    state: dict[str, Tensor]


def write(folder: Path, about: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write a model to a folder; `about` is what `card.facts` returns, `state` all weights.

    Raises ValueError if the folder holds such files already, or if the model cannot be shared.
    """
    for name in FILES:
        if (folder / name).exists():
            raise ValueError(f"{folder / name} is there already: name a new folder")
    refuse_own_code(about["settings"], "this run cannot be shared")
    refuse_broken(state, "this run cannot be shared")
    weights = save({name: value.cpu().contiguous() for name, value in state.items()})
    digest = hashlib.sha256(weights).hexdigest()
    whole = {**about, "made_by": MAKER, "format": FORMAT, "sha256": digest}
    contents = json_bytes(whole), weights, card(whole).encode()
    with ExitStack() as files:  # renamed in reverse order, at the end: config.json is the last
        for name, content in zip(FILES, contents, strict=True):
            files.enter_context(atomic(folder / name)).write_bytes(content)


def read(folder: Path) -> Stored:
    """Read and check the folder of a shared model.

    Raises ValueError naming the file that is missing, damaged, not ours or of another format.
    """
    path, about = folder / ABOUT, read_about(folder)
    with sound(path):
        settings, expected = dict(about["settings"]), about["sha256"]
        size, mean, std, resampling = (about["preprocessing"][n] for n in Preprocessing._fields)
    refuse_own_code(settings, f"{path} is not used")  # before `load` imports it
    with sound(path):
        config = load(**settings)
    path = folder / WEIGHTS
    with sound(path):
        if file_hash(path) != expected:
            raise ValueError(f"its SHA-256 is not that in {ABOUT}")
        state = load_file(path)
    refuse_broken(state, f"{path} is of no use")
    return Stored(about, config, Preprocessing(size, tuple(mean), tuple(std), resampling), state)


def read_about(folder: Path) -> dict[str, Any]:
    """The config.json of a shared model; ValueError as in `read`."""
    path = folder / ABOUT
    with sound(path):
        about = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(about, dict) or about.get("made_by") != MAKER:
        raise ValueError(f"{path} is not of a model that `fdhmfe share` wrote")
    if about.get("format") != FORMAT:
        raise ValueError(
            f"{path} is of format {about.get('format')}, and this fdhmfe reads format {FORMAT}: "
            "install the version that wrote it, or a newer one"
        )
    return about


def sound(path: Path) -> AbstractContextManager[None]:
    """Within the block, whatever is wrong with `path` becomes a ValueError that names it."""
    return readable(path, "get the model again", or_else=", or of another version of fdhmfe")


def is_shared(folder: Path) -> bool:
    """Whether a folder claims to hold a shared model."""
    with suppress(ValueError, OSError):
        return "made_by" in json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    return False


def refuse_own_code(settings: Mapping[str, Any], so: str) -> None:
    """ValueError if a part of the method is "module:Name": opening the model would run that."""
    for part in PARTS:
        if ":" in str(value := settings.get(part)):
            raise ValueError(f"{part}={value!r} is code that is not in the kit: {so}")


def refuse_broken(state: Mapping[str, Tensor], so: str) -> None:
    """ValueError, naming the first tensor, if weights are NaN or infinite."""
    for name, value in state.items():
        if not value.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinite values: {so}")


def find(name: str | Path, revision: str | None) -> Path:
    """The folder of a model: a name in `SHIPPED`, a path, or fetched from the Hub (OWNER/NAME).

    What was fetched is kept. With HF_HUB_OFFLINE=1 only that is used; HF_ENDPOINT names another
    Hub. Raises ValueError for a name that can be none of these, ConnectionError if the Hub does not
    give it.
    """
    if isinstance(name, str) and name in SHIPPED:
        return SHIPPED[name]
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder.absolute()
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", str(name)):
        known = ", ".join(SHIPPED)
        raise ValueError(f"{name} is no folder, no OWNER/NAME of the Hub, and none of: {known}")
    try:
        fetched = huggingface_hub.snapshot_download(
            str(name), revision=revision, allow_patterns=list(FILES), library_name=MAKER
        )
    except Exception as error:  # its HTTP library has errors of its own
        reason = " ".join(str(error).split())[:300]
        raise ConnectionError(
            f"{name} is no folder here, and the Hub does not give such a model ({reason})"
        ) from error
    return Path(fetched)
