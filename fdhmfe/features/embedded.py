"""The embedded backbone: a small network that the kit trains itself, where nothing else is at hand.

It stands in for ImageNet pretraining. On the toy set it learns to name attributes (genus, texture,
antenna, ...), not species: features that know parts and textures, as a photograph's would. Where a
data set lists no attributes it learns the classes.
"""

from functools import partial
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from fdhmfe.data.dataset import Dataset
from fdhmfe.data.views import Preprocessing, load_views
from fdhmfe.features.cache import read_ahead
from fdhmfe.support.progress import progress

BATCH = 32


class EmbeddedNet(nn.Module):
    """Four stages of strides 2, 4, 8, 16 and a classifier: (B, 3, H, W) -> logits (B, outputs).

    About 0.3 million parameters; narrow enough to train on two CPU cores.
    """

    WIDTHS = (16, 32, 64, 128)

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(conv(before, after, stride=2), conv(after, after))
            for before, after in zip((3, *self.WIDTHS), self.WIDTHS, strict=False)
        )
        self.classifier = nn.Linear(self.WIDTHS[-1], outputs)

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for stage in self.stages:
            x = stage(x)
        return self.classifier(x.mean((2, 3)))


def conv(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
    )


def class_targets(dataset: Dataset) -> Tensor:
    """What the backbone learns to name, per class: (Y, T) indices, one column per attribute.

    Read from the data set's attributes.txt ("<class id> <value> <value> ..."); without one, the
    class itself is the only column.
    """
    path = dataset.root / "attributes.txt"
    if not path.exists():
        return torch.arange(len(dataset.classes))[:, None]
    table = pd.read_csv(path, sep=" ", header=None, index_col=0)
    return torch.tensor(table.apply(lambda column: pd.factorize(column)[0]).to_numpy())


def train_embedded(file: Path, dataset: Dataset, *, size: int, epochs: int, recipe: str) -> None:
    """Cross-entropy per attribute on fresh random crops; writes the weights to `file`.

    size: pixels per side. `recipe` is noted in the file: what the weights were made from.
    """
    torch.manual_seed(0)
    targets = class_targets(dataset)
    sizes = (targets.amax(0) + 1).tolist()
    network = EmbeddedNet(sum(sizes)).to(memory_format=torch.channels_last)
    rows = dataset.rows("train")
    targets = targets[dataset.labels(rows)]  # (M, T)
    batches = max(1, len(rows) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=4e-3, total_steps=epochs * batches
    )
    for epoch in progress(range(epochs), "embedded backbone"):
        order = torch.randperm(len(rows))[: batches * BATCH].tensor_split(batches)
        load = partial(load_views, dataset, view=2 + epoch, pre=Preprocessing(size))
        images = read_ahead(load, (rows[chosen] for chosen in order))
        for chosen, batch in zip(order, images, strict=True):
            logits = network(batch.contiguous(memory_format=torch.channels_last))
            loss = attribute_loss(logits, targets[chosen], sizes)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, file, {"recipe": recipe})


def attribute_loss(logits: Tensor, targets: Tensor, sizes: list[int]) -> Tensor:
    """Sum over attributes of their cross-entropy: logits (B, sum(sizes)), targets (B, T)."""
    parts = zip(logits.split(sizes, dim=1), targets.T, strict=True)
    return torch.stack([F.cross_entropy(z, t, label_smoothing=0.1) for z, t in parts]).sum()
