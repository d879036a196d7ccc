"""The weights of the embedded backbone: shipped with the kit, or trained on first use.

The weights for the beetles of profile quick are shipped, because training takes minutes;
python -m fdhmfe.features.weights trains them again.
"""

from dataclasses import replace
from inspect import getfile
from pathlib import Path

import tyro
from safetensors import safe_open

from fdhmfe.config.settings import Config, load
from fdhmfe.data import views
from fdhmfe.data.dataset import Dataset
from fdhmfe.data.door import open_dataset
from fdhmfe.data.readers.own import toy_source
from fdhmfe.data.views import Preprocessing
from fdhmfe.features import embedded
from fdhmfe.features.backbone import StageBackbone, load_weights, ready, stage_extractor
from fdhmfe.features.embedded import EmbeddedNet, train_embedded
from fdhmfe.features.state_dict import read_state_dict
from fdhmfe.support.files import atomic, build_once, content_hash, file_hash
from fdhmfe.support.identity import code_identity
from fdhmfe.support.places import home

NAME = "model.safetensors"  # of weights trained on first use
SHIPPED = Path(__file__).with_name("embedded.safetensors")


def embedded_weights(dataset: Dataset | None, config: Config) -> Path:
    """The weight file for this data set, trained on first use (minutes on two cores).

    If the shipped weights were trained as `config` asks, it is the shipped file.
    """
    if shipped_recipe() == recipe(config):
        return SHIPPED
    if dataset is None:
        raise ValueError("these weights are trained on the data set: open it first")
    key = content_hash(dataset.hash, config.image_size, config.embedded_epochs, source())
    folder = home() / "data" / "cache" / f"embedded-{key}"
    return build_once(folder, lambda part: train(part / NAME, dataset, config)) / NAME


def train(file: Path, dataset: Dataset, config: Config) -> None:
    """Train the weights that `config` asks for, into `file`.

    Attributes are listed by the data set's own labels; protocols with unseen classes have others.
    """
    own = open_dataset(replace(config, protocol="all-classes"))
    table = dataset.table.assign(label=own.table.label)
    dataset = replace(dataset, classes=own.classes, table=table)
    size, epochs = config.image_size, config.embedded_epochs
    train_embedded(file, dataset, size=size, epochs=epochs, recipe=recipe(config))


def recipe(config: Config) -> str:
    """Changes with everything that the weights for the beetles depend on, except the machine."""
    names = ("dataset", "toy_classes", "toy_train", "protocol", "image_size", "embedded_epochs")
    return content_hash([getattr(config, name) for name in names], toy_source(), source())


def shipped_recipe() -> str:
    """The recipe of the shipped weights."""
    with safe_open(SHIPPED, framework="pt") as file:
        return file.metadata()["recipe"]


def source() -> str:
    """Changes with the code that trains the weights: the network, its loop, and the crops."""
    return code_identity(Path(getfile(module)) for module in (embedded, views))


def embedded_backbone(weights: Path, config: Config) -> StageBackbone:
    """The frozen embedded network as a StageBackbone."""
    network = EmbeddedNet(outputs=1)
    extractor = stage_extractor(network, config.cached_stages, config.image_size)
    load_weights(read_state_dict(weights), network, extractor, f"weights {weights}", "embedded")
    return ready(extractor, config.grid, Preprocessing(config.image_size))


def main() -> None:
    """Train the beetles' backbone of profile quick anew, into embedded.safetensors."""
    config = load("quick")
    with atomic(SHIPPED) as partial_file:
        train(partial_file, open_dataset(config), config)
    print(f"wrote {SHIPPED.name}, SHA-256 {file_hash(SHIPPED)}")


if __name__ == "__main__":
    tyro.cli(main)
