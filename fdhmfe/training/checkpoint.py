"""Checkpoints: the state of a training after its last whole epoch, checked when it is read.

Model, optimiser and history are stored; schedule, order of the images and random numbers follow
from (seed, epoch). The checkpoint before the newest is kept, in case the newest is damaged.
"""

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fdhmfe.support.files import atomic

History = list[dict[str, float]]


def save_checkpoint(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, history: History
) -> None:
    """Write one safetensors file with its content hash; the file it replaces is kept beside it."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": v for k, v in state.items()}
    tensors = {name: value.cpu().contiguous() for name, value in tensors.items()}
    past = json.dumps(history)
    with atomic(path) as partial:
        save_file(tensors, partial, metadata={"history": past, "hash": state_hash(tensors, past)})
        if path.exists():
            os.replace(path, previous(path))


def load_checkpoint(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> History:
    """Restore the newest intact checkpoint and return its history; without one, an empty history.

    A file that is incomplete, or does not match its hash, is reported and removed.
    """
    for file in (path, previous(path)):
        if not file.exists():
            continue
        try:
            tensors, history = read_state(file)
        except (SafetensorError, OSError, ValueError) as error:
            file.unlink()
            older = file == path and previous(path).exists()
            then = "going back to the checkpoint before it" if older else "starting again"
            print(f"{file} cannot be read ({error}); {then}", flush=True)
            continue
        restore(tensors, model, optimiser)
        return history
    return []


def remove_checkpoints(path: Path) -> None:
    """Remove what save_checkpoint wrote."""
    path.unlink(missing_ok=True)
    previous(path).unlink(missing_ok=True)


def previous(path: Path) -> Path:
    """Where the checkpoint before the one at `path` is kept."""
    return path.with_name(f"{path.name}.previous")


def read_state(path: Path) -> tuple[dict[str, Tensor], History]:
    """Tensors and history of one file; SafetensorError or ValueError if it is damaged."""
    with safe_open(path, framework="pt") as file:
        stored = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    past = stored.get("history", "")
    if stored.get("hash") != state_hash(tensors, past):
        raise ValueError("its content does not match its hash")
    return tensors, json.loads(past)


def restore(tensors: dict[str, Tensor], model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Copy the tensors of a checkpoint into model and optimiser, on whatever device they are."""
    model.load_state_dict(section(tensors, "model."))
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in section(tensors, "optimiser.").items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    for parameter, moments in optimiser.state.items():
        for name, value in moments.items():
            if value.shape == parameter.shape:  # in its memory format: fused AdamW reads by address
                moments[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def section(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def state_hash(tensors: dict[str, Tensor], past: str) -> str:
    """SHA-256 over the history and every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(past.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
