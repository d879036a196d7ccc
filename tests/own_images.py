"""Folders of pictures as people have them: shapes of one colour a class, names in any script."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

# What broke figures: mathtext, other scripts, characters outside the first plane, long names
NAMES = (
    "红嘴鸥_$5_{x}^2$_🦋",
    "a_name_of_sixty_characters_with_one_$_and_no_place_to_breaks",
    "$a$ and $b$",
    "_begins_with_an_underscore",
    "001.Жук {олень} 50% #1 & more",
    "蝴蝶",
    "🐝",
    "Ünïcödé^~",
)


def class_name(number: int) -> str:
    """Different for each number; the first are the hard ones."""
    return NAMES[number] if number < len(NAMES) else f"{NAMES[number % len(NAMES)]}_{number}"


def write_pictures(root: Path, classes: int, per_class: int) -> Path:
    """<root>/<class>/<number>.png: an ellipse or a box of the class's colour, somewhere."""
    for label in range(classes):
        folder = root / class_name(label)
        folder.mkdir(parents=True)
        for number in range(per_class):
            picture(label, number).save(folder / f"{number:02d}.png")
    return root


def picture(label: int, number: int) -> Image.Image:
    """A shape in the colour of its class before a grey ground, in a place of its own."""
    rng = np.random.default_rng([label, number])
    width, height = rng.integers(60, 120, 2).tolist()
    image = Image.new("RGB", (width, height), (int(rng.integers(120, 220)),) * 3)
    x, y = (rng.uniform(0.05, 0.4, 2) * (width, height)).tolist()
    colour = tuple(np.random.default_rng(label).integers(0, 255, 3).tolist())
    draw = ImageDraw.Draw(image)
    shape = draw.ellipse if label % 2 else draw.rectangle
    shape((x, y, x + 0.5 * width, y + 0.5 * height), fill=colour)
    return image
