"""The embedded data set: 48 species of procedurally drawn beetles, written in CUB's layout."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from PIL import Image

from fdhmfe.data.toy.draw import PARTS, Drawing, Genus, Species, draw
from fdhmfe.support.progress import progress

__all__ = [
    "ATTRIBUTES",
    "PARTS",
    "SPECIES",
    "Drawing",
    "Species",
    "differences",
    "draw",
    "write_tree",
]

ATTRIBUTES = ("texture", "antenna", "mandibles", "pronotum", "tibia", "marking")
SPLITS = ("train", "test")

# fmt: off
_GENERA = (
    # name, hues, saturation, value, (hue, saturation, value) of markings, gloss
    Genus("Carabella", (0.27, 0.36), 0.5, 0.4, (0.11, 0.75, 0.85), 0.5,
          head=(0.26, 0.21), pronotum=(0.4, 0.31), elytra=(1.22, 0.45), outline="oval",
          antenna=0.75, leg=1.05),
    Genus("Lucanora", (0.02, 0.05), 0.6, 0.32, (0.1, 0.65, 0.8), 0.55,
          head=(0.3, 0.33), pronotum=(0.36, 0.42), elytra=(1.12, 0.44), outline="oblong",
          antenna=0.5, leg=0.95),
    Genus("Chrysomera", (0.52, 0.6), 0.65, 0.48, (0.04, 0.8, 0.75), 0.7,
          head=(0.2, 0.2), pronotum=(0.3, 0.38), elytra=(1.3, 0.58), outline="oval",
          antenna=0.6, leg=0.8),
    Genus("Coccinetta", (0.01, 0.07), 0.82, 0.75, (0.08, 0.3, 0.12), 0.6,
          head=(0.17, 0.2), pronotum=(0.25, 0.38), elytra=(1.35, 0.7), outline="globe",
          antenna=0.42, leg=0.7),
    Genus("Cerambina", (0.08, 0.12), 0.5, 0.52, (0.13, 0.45, 0.9), 0.25,
          head=(0.22, 0.2), pronotum=(0.33, 0.24), elytra=(1.35, 0.36), outline="oblong",
          antenna=1.35, leg=1.1),
    Genus("Cetoniella", (0.36, 0.45), 0.7, 0.48, (0.13, 0.35, 0.9), 0.6,
          head=(0.22, 0.2), pronotum=(0.38, 0.45), elytra=(1.2, 0.56), outline="blocky",
          antenna=0.45, leg=0.9),
    Genus("Buprestola", (0.04, 0.1), 0.75, 0.55, (0.15, 0.75, 0.85), 0.8,
          head=(0.2, 0.28), pronotum=(0.34, 0.38), elytra=(1.4, 0.43), outline="tapered",
          antenna=0.55, leg=0.75),
    Genus("Curculonia", (0.09, 0.25), 0.2, 0.5, (0.12, 0.3, 0.85), 0.2,
          head=(0.2, 0.16), pronotum=(0.36, 0.28), elytra=(1.15, 0.48), outline="globe",
          antenna=0.6, leg=0.9, snout=0.27),
)
# fmt: on

# The first species of a genus is its type; every other differs from it in exactly one attribute.
_TABLE = """
Carabella   striata      striae        filiform  short      heart      slim    none
Carabella   punctata     punctures     filiform  short      heart      slim    none
Carabella   reticulata   reticulation  filiform  short      heart      slim    none
Carabella   falcata      striae        filiform  sickle     heart      slim    none
Carabella   humeralis    striae        filiform  short      heart      slim    shoulder
Carabella   marginata    striae        filiform  short      heart      slim    margin
Lucanora    laevis       smooth        clubbed   forked     square     slim    none
Lucanora    punctulata   punctures     clubbed   forked     square     slim    none
Lucanora    forcipata    smooth        clubbed   sickle     square     slim    none
Lucanora    spinipes     smooth        clubbed   forked     square     spined  none
Lucanora    vittata      smooth        clubbed   forked     square     slim    vitta
Lucanora    apicalis     smooth        clubbed   forked     square     slim    apical
Chrysomera  punctata     punctures     filiform  short      round      slim    none
Chrysomera  undata       ripples       filiform  short      round      slim    none
Chrysomera  laevis       smooth        filiform  short      round      slim    none
Chrysomera  clavicornis  punctures     clubbed   short      round      slim    none
Chrysomera  fasciata     punctures     filiform  short      round      slim    band
Chrysomera  discalis     punctures     filiform  short      round      slim    discal
Coccinetta  notata       smooth        clubbed   short      round      slim    discal
Coccinetta  striola      striae        clubbed   short      round      slim    discal
Coccinetta  latipes      smooth        clubbed   short      round      broad   discal
Coccinetta  serricornis  smooth        serrate   short      round      slim    discal
Coccinetta  humeralis    smooth        clubbed   short      round      slim    shoulder
Coccinetta  apicalis     smooth        clubbed   short      round      slim    apical
Cerambina   undulata     ripples       filiform  short      spined     slim    band
Cerambina   punctata     punctures     filiform  short      spined     slim    band
Cerambina   striatula    striae        filiform  short      spined     slim    band
Cerambina   serricornis  ripples       serrate   short      spined     slim    band
Cerambina   inermis      ripples       filiform  short      round      slim    band
Cerambina   suturalis    ripples       filiform  short      spined     slim    stripe
Cetoniella  reticulata   reticulation  clubbed   short      trapezoid  broad   none
Cetoniella  laevis       smooth        clubbed   short      trapezoid  broad   none
Cetoniella  cornuta      reticulation  clubbed   short      horned     broad   none
Cetoniella  gracilipes   reticulation  clubbed   short      trapezoid  slim    none
Cetoniella  fasciata     reticulation  clubbed   short      trapezoid  broad   band
Cetoniella  marginata    reticulation  clubbed   short      trapezoid  broad   margin
Buprestola  striata      striae        serrate   short      trapezoid  slim    none
Buprestola  rugosa       ripples       serrate   short      trapezoid  slim    none
Buprestola  reticulata   reticulation  serrate   short      trapezoid  slim    none
Buprestola  filicornis   striae        filiform  short      trapezoid  slim    none
Buprestola  spinipes     striae        serrate   short      trapezoid  spined  none
Buprestola  apicalis     striae        serrate   short      trapezoid  slim    apical
Curculonia  punctata     punctures     elbowed   short      round      slim    none
Curculonia  striata      striae        elbowed   short      round      slim    none
Curculonia  recticornis  punctures     clubbed   short      round      slim    none
Curculonia  latipes      punctures     elbowed   short      round      broad   none
Curculonia  vittata      punctures     elbowed   short      round      slim    vitta
Curculonia  humeralis    punctures     elbowed   short      round      slim    shoulder
"""


def _species() -> Iterable[Species]:
    genera = {genus.name: genus for genus in _GENERA}
    for line in _TABLE.split("\n")[1:-1]:
        genus, *attributes = line.split()
        yield Species(genera[genus], *attributes)


SPECIES: tuple[Species, ...] = tuple(_species())


def differences(one: Species, other: Species) -> tuple[str, ...]:
    """Names of the attributes in which two species of a genus differ.

    >>> differences(SPECIES[0], SPECIES[1])
    ('texture',)
    """
    return tuple(name for name in ATTRIBUTES if getattr(one, name) != getattr(other, name))


def attributes(species: Species) -> str:
    """Genus and attribute values, separated by spaces: a line of attributes.txt."""
    return " ".join([species.genus.name, *(getattr(species, name) for name in ATTRIBUTES)])


class _Picture(NamedTuple):
    """One image to draw: 1-based id, class and number; split 0 (train) or 1 (test)."""

    id: int
    label: int
    split: int
    number: int

    @property
    def species(self) -> Species:
        return SPECIES[self.label - 1]

    @property
    def folder(self) -> str:
        return f"{self.label:03d}.{self.species.name}"

    @property
    def path(self) -> str:
        """Folder and file without the ending; the same whatever the size of the set."""
        return f"{self.folder}/{self.species.name}_{SPLITS[self.split]}_{self.number:04d}"


def _write_picture(picture: _Picture, root: Path, size: int, seed: int) -> list[str]:
    """Draw and write one image and its mask; returns its lines of part_locs.txt."""
    key = [seed, picture.label - 1, picture.split, picture.number - 1]
    drawing = draw(picture.species, np.random.default_rng(key), size)
    image, mask = Image.fromarray(drawing.image), Image.fromarray(drawing.mask)
    image.save(root / "images" / f"{picture.path}.jpg", quality=92, subsampling=0)
    mask.save(root / "segmentations" / f"{picture.path}.png", compress_level=1)
    # As in CUB, a part that does not show is at (0, 0).
    return [
        f"{picture.id} {part} {x * seen:.1f} {y * seen:.1f} {seen:.0f}"
        for part, (x, y, seen) in enumerate(drawing.parts, 1)
    ]


def _write_lists(root: Path, pictures: list[_Picture]) -> None:
    (root / "parts").mkdir(exist_ok=True)
    classes = sorted({(p.label, p.folder) for p in pictures})
    lists = {
        "images.txt": (f"{p.id} {p.path}.jpg" for p in pictures),
        "image_class_labels.txt": (f"{p.id} {p.label}" for p in pictures),
        "train_test_split.txt": (f"{p.id} {1 - p.split}" for p in pictures),
        "classes.txt": (f"{label} {folder}" for label, folder in classes),
        "attributes.txt": (f"{label} {attributes(SPECIES[label - 1])}" for label, _ in classes),
        "parts/parts.txt": (f"{i} {name}" for i, name in enumerate(PARTS, 1)),
    }
    for name, lines in lists.items():
        (root / name).write_text("".join(f"{line}\n" for line in lines))
    for kind in ("images", "segmentations"):
        for _, folder in classes:
            (root / kind / folder).mkdir(parents=True, exist_ok=True)


def write_tree(
    root: Path,
    *,
    classes: int = 48,
    train_per_class: int = 30,
    test_per_class: int = 30,
    size: int = 128,
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Write the first `classes` species to `root` in the layout of CUB-200-2011, with masks.

    Whole genera come first, so siblings stay together. Image i of class c and split s depends on
    (seed, c, s, i) alone: a smaller set is part of a larger one, and the bytes are the same for
    any number of workers (None: one per core).
    """
    if not 1 <= classes <= len(SPECIES):
        raise ValueError(f"classes must be between 1 and {len(SPECIES)}, not {classes}")
    keys = [
        (label, split, number)
        for label in range(1, classes + 1)
        for split, count in enumerate((train_per_class, test_per_class))
        for number in range(1, count + 1)
    ]
    pictures = [_Picture(i, *key) for i, key in enumerate(keys, 1)]
    _write_lists(Path(root), pictures)
    write = partial(_write_picture, root=Path(root), size=size, seed=seed)
    with open(Path(root) / "parts" / "part_locs.txt", "w") as part_locs:
        drawn = Parallel(n_jobs=workers or -1, return_as="generator")(map(delayed(write), pictures))
        for lines in progress(drawn, "drawing beetles", total=len(pictures)):
            part_locs.writelines(f"{line}\n" for line in lines)
