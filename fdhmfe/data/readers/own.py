"""One reader per data set: its official layout, unchanged, becomes a table of images.

A reader takes the data set's folder and returns its class names and a table with the columns path,
label, split and mask. It raises DataError for lists that are missing, malformed or contradictory.
"""

import hashlib
import warnings
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path

import pandas as pd
from joblib import parallel_config

from fdhmfe.config.settings import Config
from fdhmfe.data.dataset import DataError, first_ten
from fdhmfe.data.readers import listed
from fdhmfe.data.readers.folder import survey
from fdhmfe.data.readers.lists import Reading, image_files
from fdhmfe.data.splits import half_split
from fdhmfe.data.toy import species
from fdhmfe.support.files import build_once, content_hash
from fdhmfe.support.identity import code_identity
from fdhmfe.support.places import home
from fdhmfe.support.processes import end_with_parent

LEEDS_SPECIES = (
    "Danaus plexippus",
    "Heliconius charitonius",
    "Heliconius erato",
    "Junonia coenia",
    "Lycaena phlaeas",
    "Nymphalis antiopa",
    "Papilio cresphontes",
    "Pieris rapae",
    "Vanessa atalanta",
    "Vanessa cardui",
)


@cache  # asked for every run, as source_hash is
def toy_source() -> str:
    """Changes with the code that draws the embedded set."""
    return code_identity([Path(species.__file__).parent])


def toy_folder(config: Config) -> Path:
    """The embedded set: drawn on first use below data/toy, in the official CUB layout."""
    sizes = dict(
        classes=config.toy_classes,
        train_per_class=config.toy_train,
        test_per_class=config.toy_test,
    )
    folder = home() / "data" / "toy" / content_hash(sizes, toy_source())
    with parallel_config(backend="loky", initializer=end_with_parent):
        return build_once(folder, lambda partial: species.write_tree(partial, **sizes))


def read_leeds(root: Path) -> Reading:
    """Leeds Butterfly: images/<class 3 digits><number>, a mask each; half of each class is train.

    The release has no official split; ours depends on the hash of the file name.
    """
    images = image_files(root / "images")
    numbers = [f"{label + 1:03d}" for label in range(len(LEEDS_SPECIES))]
    wrong = [p.name for p in images if p.name[:3] not in numbers]
    if wrong:
        raise DataError(f"{root}/images, no class 001 to {numbers[-1]}: {first_ten(wrong)}")
    labels = [numbers.index(p.name[:3]) for p in images]
    table = pd.DataFrame({"path": [f"images/{p.name}" for p in images], "label": labels})
    masked = (root / "segmentations").is_dir()
    table["mask"] = [f"segmentations/{p.stem}_seg0.png" if masked else "" for p in images]
    order = [hashlib.sha256(p.stem.encode()).hexdigest() for p in images]
    table["split"] = half_split(table.label, pd.Series(order))
    return list(LEEDS_SPECIES), table


def read_folder(root: Path) -> Reading:
    """Any ImageFolder tree: <root>/<class>/<image>, or <root>/{train,test}/<class>/<image>.

    All of it is checked first (see `survey`). DataError lists all problems that stop training; what
    is left out gives a warning.
    """
    found = survey(root)
    if found.fatal:
        raise DataError(f"{found.told()}\n  (fdhmfe check {root} names every file)")
    if found.findings:
        warnings.warn(f"{found.told()}\n  (fdhmfe check {root} names every file)", stacklevel=2)
    table = found.table.assign(mask="")
    table["label"], classes = pd.factorize(table.folder, sort=True)
    return list(classes), table.drop(columns="folder")


READERS: Mapping[str, Callable[[Path], Reading]] = {
    "toy": listed.read_cub,
    "cub200": listed.read_cub,
    "aircraft": listed.read_aircraft,
    "nabirds": listed.read_nabirds,
    "vegfru": listed.read_vegfru,
    "vegfru_trainval": partial(listed.read_vegfru, train=("train", "val")),
    "food101": listed.read_food101,
    "dogs": listed.read_dogs,
    "cars": listed.read_cars,
    "leeds_butterfly": read_leeds,
    "folder": read_folder,
}
