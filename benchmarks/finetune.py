"""Fine-tune whole networks: images per second, what waits for data, and mAP.

    python benchmarks/finetune.py --data-dir DIR --weights mobilenet_v2=FILE resnet50=FILE
    torchrun --nproc-per-node 4 benchmarks/finetune.py --data-dir DIR

Every backbone x method x code length x seed is a run of profile paper, by fdhmfe's own loop. A
finished run is reused and a killed one goes on: the same command, started again, does what is
missing. A row per run: `images_per_second` and `waiting` (the share of time in which the network
waits for data, 0..1) are of its last epoch, `map` is mAP@all with ties in expectation.

Weights not given are downloaded; `random` in place of a file starts from none (for speed alone).
`--steps N` tries all of it out on a small machine: two epochs of at least N batches each, on the
first classes only. Its numbers say nothing about the methods.
"""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from rows import ROOT, parser, write_rows
from safetensors.torch import save_file
from torchvision.models import get_model

from fdhmfe.config import profiles
from fdhmfe.config.methods import METHODS
from fdhmfe.config.settings import CHOICES, load
from fdhmfe.data.dataset import Dataset
from fdhmfe.runs import experiment, results
from fdhmfe.runs.inputs import prepare
from fdhmfe.support import distributed
from fdhmfe.support.files import atomic, read_json

SETTINGS = (
    *("dataset", "backbone", "method", "bits", "seed", "image_size", "precision", "compile"),
    *("batch_size", "epochs", "workers"),
)
MEASURED = ("device", "processes", "threads", "seconds", "images_per_second", "waiting")


def random_weights(backbone, folder):
    """A file of untrained weights, drawn from seed 0."""
    path = folder / f"{backbone}-random.safetensors"
    if not path.exists():
        torch.manual_seed(0)
        with atomic(path) as partial:
            save_file(get_model(backbone, weights=None).state_dict(), partial)
    return path


def first_classes(dataset: Dataset, images: int) -> Dataset:
    """The first classes, as many as have at least `images` train images, and no fewer than two."""
    counts = np.bincount(dataset.labels(dataset.rows("train")))
    few = max(2, int(np.searchsorted(counts.cumsum(), images)) + 1)
    table = dataset.table[dataset.table.label < few].reset_index(drop=True)
    learnable = np.flatnonzero(table.split == "train")
    return replace(dataset, classes=dataset.classes[:few], table=table, learnable=learnable)


def row(settings, folder, weights):
    """What a finished run says of itself; no pace, if all that was left to do was to score."""
    made = read_json(folder / "env.json")
    return {
        **{name: getattr(settings, name) for name in SETTINGS},
        "weights": weights,
        **{name: made.get(name, "") for name in MEASURED},
        "map": round(results.read_map(folder), 4),
    }


def run(options, backbone, method, bits, seed):
    """Train and score one combination: (its settings, its folder, what its weights are)."""
    runs = options.runs.resolve()
    weights = options.weights.get(backbone, "")
    file = random_weights(backbone, runs) if weights == "random" else weights
    settings = load(
        "paper",
        **dict(dataset=options.dataset, data_dir=options.data_dir, results_dir=str(runs)),
        **dict(backbone=backbone, method=method, bits=bits, seed=seed, weights=str(file)),
        **dict(image_size=options.size, precision=options.precision, compile=options.compile),
        **dict(batch_size=options.batch_size, workers=options.workers),
        epochs=2 if options.steps else options.epochs,
    )
    inputs = prepare(settings)
    if options.steps:
        images = options.steps * options.batch_size
        dataset = first_classes(inputs.dataset, images)
        source = replace(inputs.source, dataset=dataset)
        inputs = replace(inputs, dataset=dataset, source=source)
    kind = weights if weights == "random" else "file" if weights else "published"
    return settings, experiment.run(settings, inputs), kind


def parse():
    arguments = parser(__doc__, "finetune")
    add = arguments.add_argument
    add("--runs", type=Path, default=ROOT / "results/finetune", help="where the runs are kept")
    add("--dataset", default="cub200", choices=profiles.DATASETS)
    add("--data-dir", default="", help="the folder of its images")
    add("--weights", nargs="+", default=[], metavar="BACKBONE=FILE", help="or BACKBONE=random")
    add("--backbones", nargs="+", default=["mobilenet_v2", "resnet50"], help="torchvision names")
    add("--methods", nargs="+", default=["fdh-mfe", "orthohash"], choices=METHODS)
    add("--bits", nargs="+", type=int, default=list(profiles.BITS))
    add("--seeds", nargs="+", type=int, default=[0, 1])
    add("--size", type=int, default=224, help="pixels per side")
    add("--epochs", type=int, default=30)
    add("--batch-size", type=int, default=64, help="of all processes together")
    add("--precision", default="bf16", choices=CHOICES["precision"])
    add("--compile", action="store_true")
    add("--workers", type=int, default=8, help="decoding processes for each GPU")
    add("--steps", type=int, default=0, help="try it out: batches per epoch; 0: the real thing")
    options = arguments.parse_args()
    options.weights = dict(pair.partition("=")[::2] for pair in options.weights)
    return options


def main():
    options = parse()
    rows = []
    with distributed.process_group():
        plan = product(options.seeds, options.backbones, options.methods, options.bits)
        for seed, backbone, method, bits in plan:
            finished = run(options, backbone, method, bits, seed)
            if distributed.rank() == 0:
                rows.append(row(*finished))
                print(*rows[-1].values(), flush=True)
                write_rows(options.out, rows)


if __name__ == "__main__":
    main()
