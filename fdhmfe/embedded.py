"""The embedded backbone: trained by the kit itself on a data set's train split, then frozen.

It stands in for ImageNet pretraining. On the toy set it learns to name attributes (genus, texture,
antenna, ...), not species: features that know parts and textures, as a photograph's would. Where a
data set lists no attributes it learns the classes.

The weights for profile quick's beetles come with the kit, for they take minutes to train;
python -m fdhmfe.embedded makes them anew.
"""

import argparse
from functools import partial
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fdhmfe.backbone import EmbeddedNet, StageBackbone, stage_extractor
from fdhmfe.cache import read_ahead
from fdhmfe.config import REPOSITORY, Config, load
from fdhmfe.data import Dataset, open_dataset
from fdhmfe.files import atomic, build_once, content_hash, file_hash
from fdhmfe.progress import progress
from fdhmfe.readers import toy_source
from fdhmfe.views import load_views

BATCH = 32
NAME = "model.safetensors"  # of weights trained on first use
SHIPPED = Path(__file__).with_name("embedded.safetensors")


def embedded_weights(dataset: Dataset, config: Config) -> Path:
    """The weight file for this data set, trained on first use (minutes on two cores).

    The kit's own, where it was trained as `config` asks.
    """
    if shipped_recipe() == recipe(config):
        return SHIPPED
    key = content_hash(dataset.hash, config.image_size, config.embedded_epochs, source())
    folder = REPOSITORY / "data" / "cache" / f"embedded-{key}"
    return build_once(folder, lambda part: train(part / NAME, dataset, config)) / NAME


def recipe(config: Config) -> str:
    """Changes with all that the weights for the beetles are made from, but the machine."""
    names = ("dataset", "toy_classes", "toy_train", "protocol", "image_size", "embedded_epochs")
    return content_hash([getattr(config, name) for name in names], toy_source(), source())


def shipped_recipe() -> str | None:
    """The recipe of the weights that come with the kit; None while there are none."""
    if not SHIPPED.exists():
        return None
    with safe_open(SHIPPED, framework="pt") as file:
        return file.metadata()["recipe"]


def source() -> list[str]:
    """Hashes of the code that trains the weights."""
    return [file_hash(Path(__file__)), file_hash(Path(__file__).with_name("backbone.py"))]


def embedded_backbone(weights: Path, config: Config) -> StageBackbone:
    """The frozen embedded network as a StageBackbone."""
    state = load_file(weights)
    network = EmbeddedNet(outputs=len(state["classifier.bias"]))
    network.load_state_dict(state)
    extractor = stage_extractor(network, config.cached_stages, config.image_size)
    backbone = StageBackbone(extractor, config.grid).eval()
    return backbone.to(memory_format=torch.channels_last)


def class_targets(dataset: Dataset) -> torch.Tensor:
    """What the backbone learns to name, per class: (Y, T) indices, one column per attribute.

    Read from the data set's attributes.txt ("<class id> <value> <value> ..."); without one, the
    class itself is the only column.
    """
    path = dataset.root / "attributes.txt"
    if not path.exists():
        return torch.arange(len(dataset.classes))[:, None]
    table = pd.read_csv(path, sep=" ", header=None, index_col=0)
    return torch.tensor(table.apply(lambda column: pd.factorize(column)[0]).to_numpy())


def train(file: Path, dataset: Dataset, config: Config) -> None:
    """Cross-entropy per attribute on fresh random crops; writes the weights to `file`."""
    torch.manual_seed(0)
    targets = class_targets(dataset)
    sizes = (targets.amax(0) + 1).tolist()
    network = EmbeddedNet(sum(sizes)).to(memory_format=torch.channels_last)
    rows = dataset.rows("train")
    targets = targets[dataset.labels(rows)]  # (M, T)
    batches = max(1, len(rows) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=4e-3, total_steps=config.embedded_epochs * batches
    )
    for epoch in progress(range(config.embedded_epochs), "embedded backbone"):
        order = torch.randperm(len(rows))[: batches * BATCH].tensor_split(batches)
        load = partial(load_views, dataset, view=2 + epoch, size=config.image_size)
        images = read_ahead(load, (rows[chosen] for chosen in order))
        for chosen, batch in zip(order, images, strict=True):
            logits = network(batch.contiguous(memory_format=torch.channels_last))
            loss = attribute_loss(logits, targets[chosen], sizes)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, file, {"recipe": recipe(config)})


def attribute_loss(logits: torch.Tensor, targets: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """Sum over attributes of their cross-entropy: logits (B, sum(sizes)), targets (B, T)."""
    parts = zip(logits.split(sizes, dim=1), targets.T, strict=True)
    return torch.stack([F.cross_entropy(z, t, label_smoothing=0.1) for z, t in parts]).sum()


def main(arguments: list[str] | None = None) -> None:
    """Train the weights that come with the kit."""
    description = f"Train the beetles' backbone of profile quick anew, into {SHIPPED.name}."
    parser = argparse.ArgumentParser(prog="python -m fdhmfe.embedded", description=description)
    parser.parse_args(arguments)
    config = load("quick")
    with atomic(SHIPPED) as partial_file:
        train(partial_file, open_dataset(config), config)
    print(f"wrote {SHIPPED.name}, SHA-256 {file_hash(SHIPPED)}")


if __name__ == "__main__":
    main()
