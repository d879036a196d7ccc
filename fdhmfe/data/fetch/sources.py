"""Where the official data sets come from, how big they are, and how their archives are known.

Sizes of the splits: the counts the owners publish, as listed by public fine-grained hashing code.
Checksums and sizes of archives: tensorflow/datasets (url_checksums/), except NABirds, whose md5 is
that of lvyilin/pytorch-fgvc-dataset. Where no checksum is public, none stands here: the hash is
recorded at first sight, and compared from then on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType


@dataclass(frozen=True)
class Archive:
    """A file to fetch. Without `url`, a person has to fetch it; `size` is in bytes, 0: unknown.

    `into` is the folder it is unpacked in, below the one that the data set is kept in.
    """

    name: str
    url: str = ""
    checksum: str = ""  # "sha256:<hex>" or "md5:<hex>"
    size: int = 0
    into: str = ""
    optional: bool = False


@dataclass(frozen=True)
class Source:
    """An official data set. It is there if `marker` is in `folder`, or in the folder given.

    `sizes` are images per split; `all` counts them together where the split is not the owner's.
    `by_hand` says what a person must do where a program may or can not fetch the archives.
    """

    title: str
    home: str
    terms: str
    folder: str
    marker: str
    classes: int
    sizes: Mapping[str, int]
    archives: tuple[Archive, ...] = ()
    by_hand: str = ""

    @property
    def own_split(self) -> bool:
        """True if the owner says which images are train and which are test."""
        return "all" not in self.sizes

    def is_in(self, root: Path) -> bool:
        """True if `root` is the data set's folder, or holds it."""
        return any((folder / self.marker).exists() for folder in (root / self.folder, root))


RESEARCH = "non-commercial research and education"
CUB = "CUB_200_2011"
VEGFRU = dict(
    title="VegFru",
    home="https://github.com/ustc-vim/vegfru",
    terms="none stated; ask the authors before any use but research",
    folder="vegfru",
    marker="vegfru_list/vegfru_train.txt",
    classes=292,
    by_hand=(
        "The owner's download is a Baidu share that needs an account. Follow 'Download VegFru "
        "Dataset' on the page, unpack what you get, and name its folder vegfru: it holds "
        "vegfru_list/, veg200_images/ and fru92_images/."
    ),
)
DOGS, CARS = "http://vision.stanford.edu/aditya86/ImageNetDogs/", "stanford_cars"

SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "cub200": Source(
            title="CUB-200-2011",
            home="https://www.vision.caltech.edu/datasets/cub_200_2011/",
            terms=RESEARCH,
            folder=CUB,
            marker="images.txt",
            classes=200,
            sizes={"train": 5_994, "test": 5_794},
            archives=(
                Archive(
                    "CUB_200_2011.tgz",
                    "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
                    "sha256:0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
                    1_150_585_339,
                ),
                Archive(
                    "segmentations.tgz",
                    "https://data.caltech.edu/records/w9d68-gec53/files/segmentations.tgz",
                    "sha256:dc77f6cffea0cbe2e41d4201115c8f29a6320ecb04fffd2444f51b8066e4b84f",
                    39_272_883,
                    into=CUB,
                    optional=True,
                ),
            ),
        ),
        "aircraft": Source(
            title="FGVC-Aircraft",
            home="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
            terms="non-commercial research",
            folder="fgvc-aircraft-2013b",
            marker="data/variants.txt",
            classes=100,
            sizes={"train": 6_667, "test": 3_333},
            archives=(
                Archive(
                    "fgvc-aircraft-2013b.tar.gz",
                    "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/"
                    "fgvc-aircraft-2013b.tar.gz",
                    "sha256:d5f68b1b81d6d7831eb9d5c5517074176b5dfbce6bcb43dc14ed1c66a87b8d75",
                    2_770_575_360,
                ),
            ),
        ),
        "nabirds": Source(
            title="NABirds",
            home="https://dl.allaboutbirds.org/nabirds",
            terms="non-commercial research and education, after agreeing to the owner's terms",
            folder="nabirds",
            marker="train_test_split.txt",
            classes=555,
            sizes={"train": 23_929, "test": 24_633},
            archives=(Archive("nabirds.tar.gz", checksum="md5:df21a9e4db349a14e2b08adfd45873bd"),),
            by_hand="The owner asks you to agree to terms. Fill in the form on the page.",
        ),
        "vegfru": Source(**VEGFRU, sizes={"train": 29_200}),
        "vegfru_trainval": Source(**VEGFRU, sizes={"train": 43_800}),
        "food101": Source(
            title="Food-101",
            home="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
            terms="scientific fair use; the photographs are Foodspotting's",
            folder="food-101",
            marker="meta/train.txt",
            classes=101,
            sizes={"train": 75_750, "test": 25_250},
            archives=(
                Archive(
                    "food-101.tar.gz",
                    "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
                    "sha256:d97d15e438b7f4498f96086a4f7e2fa42a32f2712e87d3295441b2b6314053a4",
                    4_996_278_331,
                ),
            ),
        ),
        "dogs": Source(
            title="Stanford Dogs",
            home="http://vision.stanford.edu/aditya86/ImageNetDogs/",
            terms="none stated; the images are ImageNet's (non-commercial research)",
            folder="stanford_dogs",
            marker="train_list.mat",
            classes=120,
            sizes={"train": 12_000, "test": 8_580},
            archives=(
                Archive(
                    "images.tar",
                    DOGS + "images.tar",
                    "sha256:a443fc2f9a851aa1a7b8e4fa4af94b8459fce2c9f5a2f4dd4669cf9673a4ec58",
                    793_579_520,
                    into="stanford_dogs",
                ),
                Archive(
                    "lists.tar",
                    DOGS + "lists.tar",
                    "sha256:34b47cacd9a98b5d150e084f24d29391c084c55272295ec65c85651bc35f4d6c",
                    481_280,
                    into="stanford_dogs",
                ),
            ),
        ),
        "cars": Source(
            title="Stanford Cars",
            home="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
            terms=RESEARCH,
            folder=CARS,
            marker="devkit/cars_meta.mat",
            classes=196,
            sizes={"train": 8_144, "test": 8_041},
            archives=(
                Archive(
                    "cars_train.tgz",
                    checksum="sha256:"
                    "512b227b30e2f0a8aab9e09485786ab4479582073a144998da74d64b801fd288",
                    size=979_269_282,
                    into=CARS,
                ),
                Archive(
                    "cars_test.tgz",
                    checksum="sha256:"
                    "bffea656d6f425cba3c91c6d83336e4c5f86c6cffd8975b0f375d3a10da8e243",
                    size=977_350_468,
                    into=CARS,
                ),
                Archive(
                    "car_devkit.tgz",
                    checksum="sha256:"
                    "b97deb463af7d58b6bfaa18b2a4de9829f0f79e8ce663dfa9261bf7810e9accd",
                    size=330_960,
                    into=CARS,
                ),
                Archive(
                    "cars_test_annos_withlabels.mat",
                    checksum="sha256:"
                    "790f75be8ea34eeded134cc559332baf23e30e91367e9ddca97d26ed9b895f05",
                    size=185_758,
                    into=CARS,
                ),
            ),
            by_hand=(
                "The owner's page is gone. Copies circulate (github.com/pytorch/vision/issues/7545 "
                "names some); the checksums tell whether a copy is the original."
            ),
        ),
        "leeds_butterfly": Source(
            title="Leeds Butterfly",
            home="https://zenodo.org/records/7559420",
            terms=RESEARCH,
            folder="leedsbutterfly",
            marker="images",
            classes=10,
            sizes={"all": 832},
            archives=(
                Archive(
                    "leedsbutterfly_dataset_v1.1.zip",
                    "https://zenodo.org/records/7559420/files/leedsbutterfly_dataset_v1.1.zip",
                ),
            ),
        ),
    }
)
