"""One run, end to end: data -> stage features -> training -> codes -> scores -> run folder."""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fdhmfe.codes import blocks
from fdhmfe.config.settings import Config
from fdhmfe.losses import Objective
from fdhmfe.network import HashNetwork, Output
from fdhmfe.runs import results
from fdhmfe.runs.inputs import Inputs, prepare
from fdhmfe.runs.methods import build_method
from fdhmfe.runs.scoring import Encoded, metric_rows
from fdhmfe.runs.statistics import coverages, share_on_object
from fdhmfe.support import distributed
from fdhmfe.support.files import locked
from fdhmfe.training import train
from fdhmfe.training.checkpoint import remove_checkpoints
from fdhmfe.training.coders import ReadOut, Sign, features_of
from fdhmfe.training.finetune import FineTuned, MeanPool
from fdhmfe.training.train import ENCODING_BATCH, Method


def run(config: Config, inputs: Inputs | None = None) -> Path:
    """Train, encode, score and store one run; returns its folder. inputs: opened already, or None.

    A finished run with the same settings, data, weights and code is returned as it is if
    `config.reuse` is set. A run that was killed continues from its last checkpoint. If another
    process is at work on the same run, this one waits. Raises StorageError if the results folder
    cannot be written; FloatingPointError, with the images' names, if the loss is not finite.

    It computes on this process's GPU if there is one. If torchrun started several processes,
    `distributed.process_group` must be open. Then only the first process locks, decides and writes.
    """
    inputs = inputs or prepare(config)
    folder = results.run_folder(config, inputs.dataset.hash, inputs.backbone_id)
    if not is_done(config, folder):  # asked before locking: finished runs may be read-only
        lock = locked(config.output_dir / "locks" / f"{folder.name}.lock")
        with nullcontext() if distributed.rank() else lock:
            if not is_done(config, folder):
                make(config, inputs, folder)
                return folder
    print(f"reused {folder.name}", flush=True)
    return folder


def is_done(config: Config, folder: Path) -> bool:
    """True if the run is finished and may be reused; the first process decides for all."""
    return distributed.as_the_first(config.reuse and results.is_finished(folder))


def make(config: Config, inputs: Inputs, folder: Path) -> None:
    """Train, encode and score, and write the run folder."""
    with distributed.first_goes_first():
        for left in folder.glob(".*.partial"):  # files of a process that was killed
            left.unlink()
    started = time.perf_counter()
    model = build_model(config, inputs)
    model.modules.to(distributed.device())
    if config.compile and isinstance(model.network, FineTuned):
        model.network.backbone.compile()
    checkpoint = folder / f"checkpoint-{results.source_hash()}.safetensors"
    history, pace = train_model(model, config, inputs, checkpoint)
    encoded = encode(model, inputs, beside(model, config, inputs.channels[-1]))
    if distributed.rank():
        return
    facts = {
        "seconds": round(time.perf_counter() - started, 1),
        "parameters": sum(p.numel() for p in model.network.parameters() if p.requires_grad),
        "dataset_hash": inputs.dataset.hash,
        "backbone_id": inputs.backbone_id,
        "processes": distributed.world_size(),
        **(pace._asdict() if pace else {}),
        **kept_on_object(model.network, inputs),
    }
    solved = solved_codes(model, inputs)
    if solved is not None:
        results.write_npz(folder / "solved_codes.npz", {"database_codes": solved})
    rows = metric_rows(encoded, config, solved)
    results.write_run(folder, config, history, encoded.codes, model.state, rows, facts)
    remove_checkpoints(checkpoint)


def build_model(config: Config, inputs: Inputs) -> Method:
    """The untrained method, with its backbone in front when that is fine-tuned."""
    labels = torch.from_numpy(inputs.dataset.labels(inputs.dataset.rows("train")))
    method = build_method(config, inputs.channels, labels, inputs.block)
    return method._replace(network=with_backbone(method.head, inputs))


def with_backbone(head: HashNetwork, inputs: Inputs) -> HashNetwork | FineTuned:
    """The network for the source's batches: what is trained of the backbone, and the head.

    It trains a copy, so that the next run starts from the pretrained weights, too.
    """
    if inputs.trained is None:
        return head
    backbone = distributed.global_batch_norms(deepcopy(inputs.trained))
    return FineTuned(backbone, head, len(inputs.channels), inputs.precision)


def train_model(method: Method, config: Config, inputs: Inputs, checkpoint: Path) -> train.Fitted:
    """Train on the train split, then fit the coder. Without an objective, the history is empty.

    If objective and settings ask for it, the proxies are arranged first, by the pooled features.
    Raises FloatingPointError with the files of the batch whose loss is not finite.
    """
    rows, source, fitted = inputs.dataset.rows("train"), inputs.source, train.Fitted([], None)
    labels = torch.from_numpy(inputs.dataset.labels(rows))
    if method.objective is not None and method.objective.arranges and config.arranged:
        head: Any = method.head
        head.arrange(pooled_features(inputs, rows), labels.numpy())
        head.proxies.copy_(distributed.as_the_first(head.proxies.cpu()))
    try:
        if method.objective is not None:
            fitted = train.fit(method, source, rows, labels, config, checkpoint)
        train.fit_coder(method, source, rows, labels)
        return fitted
    except train.LossError as error:
        files = ", ".join(inputs.dataset.table.path.iloc[rows[error.places]])
        raise FloatingPointError(
            f"{error}. The batch's images, below {inputs.dataset.root}: {files}"
        ) from error


Reading = Callable[[Output], torch.Tensor]  # Output of B images -> (B, .)


def deepest(output: Output, width: int) -> torch.Tensor:
    """The deepest of the stages' means (B, C), before any hashing."""
    return features_of(output)[:, -width:]


def beside(method: Method, config: Config, width: int) -> dict[str, Reading]:
    """What is read from the network beside the run's own codes: the last field of `Encoded`.

    The read-out is for runs whose own code is u, and whose objective aims at proxies. The controls
    are made from one run alone, the classifier's; its variants would only give them again.
    """
    found: dict[str, Reading] = {}
    loss = method.objective
    if loss is None:
        return found
    read_out = ReadOut(config.scale, loss.teaches_classes)
    if isinstance(method.coder, Sign) and type(loss).class_codes is not Objective.class_codes:
        found["read-out"] = read_out
    if config.composition.name == "softmax" and config.variant == "full":
        found["posterior"] = read_out.posterior
        found["features"] = partial(deepest, width=width)
    return found


class SideBySide:
    """Several readings of each output in one tensor, so that images pass the network once."""

    def __init__(self, readings: list[Reading]) -> None:
        self.readings = readings
        self.widths: list[int] = []

    def __call__(self, output: Output) -> torch.Tensor:
        parts = [read(output) for read in self.readings]
        self.widths = [part.shape[1] for part in parts]
        return torch.cat(parts, 1)


def encode(method: Method, inputs: Inputs, extra: Mapping[str, Reading] | None = None) -> Encoded:
    """Relaxed codes of queries and database, and whatever `extra` reads of the same images."""
    extra = extra or {}
    query, database = inputs.dataset.rows("test"), inputs.dataset.rows("database")
    readings = SideBySide([method.coder, *extra.values()])

    def read(rows: np.ndarray) -> tuple[torch.Tensor, ...]:
        values = train.relaxed_codes(method.network, inputs.source, rows, readings)
        return values.split(readings.widths, dim=1)

    of_query = read(query)
    of_database = of_query if np.array_equal(query, database) else read(database)
    (u, u_database), *pairs = zip(of_query, of_database, strict=True)
    query_labels, database_labels = map(inputs.dataset.labels, (query, database))
    trained = np.isin(database, inputs.dataset.rows("train"))
    proxies: torch.Tensor | None = method.network.proxies
    proxies = None if proxies is None else proxies.cpu()
    found = dict(zip(extra, pairs, strict=True))
    return Encoded(u, u_database, query_labels, database_labels, proxies, trained, found)


def solved_codes(method: Method, inputs: Inputs) -> np.ndarray | None:
    """Codes of the train split that the objective solved from labels; None if it is no database."""
    if method.objective is None or "train" not in inputs.dataset.retrieved:
        return None
    codes = method.objective.database_codes()
    return None if codes is None else codes.cpu().numpy()


@torch.inference_mode()
def kept_on_object(network: nn.Module, inputs: Inputs) -> dict[str, float]:
    """Share of the kept tokens' area that is on the object, and of all tokens' area (chance).

    Mean over queries (the whole images) and over stages; empty without masks or selection.
    """
    rows = inputs.dataset.rows("test")
    if not (inputs.dataset.table["mask"].iloc[rows] != "").all():
        return {}
    device = distributed.device_of(network.eval())
    parts = [rows[part] for part in blocks(len(rows), ENCODING_BATCH)]
    maps = (whole for (whole,) in inputs.source.encoding_batches(parts, views=[0]))
    outputs = [network(train.on_device(batch, device)) for batch in maps]
    if not outputs[0].kept_index:
        return {}
    masks = [inputs.dataset.mask(row) for row in rows]
    stages = zip(outputs[0].token_logits, inputs.shifts, strict=True)
    shares, chances = [], []
    for level, (logits, shift) in enumerate(stages):
        covered = coverages(masks, logits.shape[1], shift)
        kept = torch.cat([output.kept_index[level] for output in outputs]).cpu().numpy()
        shares.append(share_on_object(kept, covered))
        chances.append(covered.mean())
    return {"kept_on_object": float(np.mean(shares)), "object_share": float(np.mean(chances))}


def pooled_features(inputs: Inputs, rows: np.ndarray) -> np.ndarray:
    """Mean token of the last stage, before any training: (M, C) for the given table rows."""
    network = with_backbone(MeanPool(), inputs).to(distributed.device())
    features = partial(deepest, width=inputs.channels[-1])
    return train.relaxed_codes(network, inputs.source, rows, features).numpy()
