"""Ground and clutter for the embedded data set: five grounds, and litter that may pass for beetles.

A ground function gives a colour (3, S, S) in 0..1 and a relief (S, S) in pixels.
"""

import numpy as np
from PIL import Image

from fdhmfe.data.toy.paint import TEXTURES, Coating, Layer, Paint, hsv, marking, mix, shell, slopes

Ground = tuple[np.ndarray, np.ndarray]


def _noise(
    rng: np.random.Generator, size: int, cells: tuple[int, ...], fade: float = 0.75, grain: int = 1
) -> np.ndarray:
    """Smooth noise (size, size) around 0: a sum of random grids with the given cells per side.

    Each grid is weaker than the one before by `fade`, and stretched `grain` times to the right.
    """
    total, weight = 0.0, 1.0
    for n in cells:
        values = rng.standard_normal((n, max(n // grain, 2)), np.float32)
        image = Image.fromarray(values).resize((size, size), Image.Resampling.BICUBIC)
        total, weight = total + weight * np.asarray(image), weight * fade
    return total


def _turned(image: np.ndarray, angle: float) -> np.ndarray:
    """The middle of `image` (S, S), turned by `angle` degrees and enlarged to leave no corners."""
    size = len(image)
    big = Image.fromarray(image).rotate(angle, Image.Resampling.BILINEAR)
    edge = size * 0.145
    box = (edge, edge, size - edge, size - edge)
    return np.asarray(big.resize((size, size), Image.Resampling.BICUBIC, box))


def _soil(rng: np.random.Generator, size: int) -> Ground:
    relief = _noise(rng, size, (5, 20, 64), 0.9)
    crumbs = np.abs(_noise(rng, size, (40,)))
    colour = mix(hsv(0.07, 0.5, 0.14), hsv(0.09, 0.42, 0.5), 0.35 + 0.22 * relief)
    return colour, 0.8 * relief - crumbs


def _sand(rng: np.random.Generator, size: int) -> Ground:
    relief = _noise(rng, size, (4, 12, 80), 0.9)
    grains = _noise(rng, size, (110,))
    colour = mix(hsv(0.09, 0.42, 0.45), hsv(0.12, 0.28, 0.85), 0.5 + 0.2 * relief + 0.14 * grains)
    return colour, 0.4 * relief


def _leaf_ground(rng: np.random.Generator, size: int) -> Ground:
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    turn = rng.uniform(0, 2 * np.pi)
    x, y = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    wobble = 0.06 * _noise(rng, size, (6,))
    x, y = x + wobble + rng.uniform(-0.4, 0.4), y + wobble
    side = np.abs((2.6 * (y + 0.75 * np.abs(x))) % 1 - 0.5) * 0.35
    veins = np.minimum(np.abs(x), side + 0.012)
    relief = -1.6 * np.exp(-((veins / 0.03) ** 2)) + 0.35 * _noise(rng, size, (24, 64), 0.9)
    hue, patches = rng.uniform(0.15, 0.3), _noise(rng, size, (6, 50))
    amount = 0.45 + 0.14 * patches - 0.2 * relief
    return mix(hsv(hue, 0.66, 0.18), hsv(hue - 0.04, 0.55, 0.6), amount), relief


def _bark(rng: np.random.Generator, size: int) -> Ground:
    relief = 1.3 * _noise(rng, size, (36, 60), 0.8, grain=6) + _noise(rng, size, (8, 100), 0.5)
    relief = _turned(np.abs(relief) - 1, rng.uniform(0, 360))
    hue, moss = rng.uniform(0.05, 0.1), _noise(rng, size, (5,))
    colour = mix(hsv(hue, 0.45, 0.13), hsv(hue + 0.02, 0.28, 0.56), 0.4 + 0.35 * relief)
    return mix(colour, hsv(0.2, 0.4, 0.42), 0.5 * moss - 0.5), 1.3 * relief


def _moss(rng: np.random.Generator, size: int) -> Ground:
    tufts = [_turned(_noise(rng, size, (72,), grain=4), rng.uniform(0, 360)) for _ in range(4)]
    blades, cushions = np.max(tufts, axis=0), _noise(rng, size, (6, 24), 0.6)
    hue = rng.uniform(0.16, 0.27)
    amount = 0.22 * blades + 0.1 * cushions + 0.12
    return mix(hsv(hue + 0.03, 0.7, 0.1), hsv(hue, 0.6, 0.72), amount), 0.8 * blades


GROUNDS = (_soil, _sand, _leaf_ground, _bark, _moss)


def bare_ground(rng: np.random.Generator, size: int, lamp: np.ndarray) -> np.ndarray:
    """A picture (3, size, size) of bare ground, lit from the lamp's side."""
    colour, relief = GROUNDS[rng.integers(len(GROUNDS))](rng, size)
    # A little out of focus: less contrast than the beetle has.
    colour = 0.75 * colour + 0.25 * colour.mean((1, 2), keepdims=True)
    right, down = slopes(relief * (size / 128))
    light = np.clip(1 - 0.3 * (right * lamp[0] + down * lamp[1]), 0.35, 1.9)
    return colour * (rng.uniform(0.7, 1.05) * light).astype(np.float32)


# Outline, shortest and longest length (2 = the picture), half-width per length, bulge, and the
# ranges of hue, saturation and value.
LITTER = {
    "leaf": ("leaf", (0.5, 1.0), 0.24, 0.12, (0.04, 0.3), (0.4, 0.65), (0.2, 0.55)),
    "blade": ("strip", (1.2, 2.0), 0.03, 0.3, (0.17, 0.3), (0.5, 0.7), (0.3, 0.6)),
    "twig": ("strip", (0.6, 1.5), 0.035, 1.0, (0.05, 0.1), (0.3, 0.45), (0.2, 0.5)),
    "pebble": ("ellipse", (0.12, 0.3), 0.4, 0.8, (0.04, 0.14), (0.05, 0.25), (0.3, 0.7)),
    "seed": ("oval", (0.18, 0.36), 0.33, 1.0, (0.0, 0.4), (0.35, 0.65), (0.15, 0.5)),
}


def _leaf_paint(rng: np.random.Generator, base: np.ndarray, length: float) -> Paint:
    phase = rng.uniform(0, 9)

    def paint(x: np.ndarray, t: np.ndarray, a: np.ndarray) -> Coating:
        x = np.abs(x) / length
        side = np.abs((7 * t - 9 * x) % 1 - 0.5) * 0.06
        relief = -np.exp(-((np.minimum(x, side) / 0.012) ** 2))
        return base * (1.1 - 0.12 * relief + 0.2 * np.sin(9 * t + phase)), relief, 0.04

    return paint


def _seed_paint(rng: np.random.Generator, base: np.ndarray, length: float, scale: float) -> Paint:
    """Seeds have the beetles' gloss and seam, and sometimes their texture or spots."""
    texture = TEXTURES[rng.choice(list(TEXTURES))]
    spot, period = rng.choice(["none", "none", "shoulder", "discal", "band"]), 3.5 / scale

    def paint(x: np.ndarray, t: np.ndarray, a: np.ndarray) -> Coating:
        relief = 0.5 * texture(x / period, t * length / period) - np.exp(-((a / 0.05) ** 2))
        spots = marking(spot, x, t, a, (0, 0, length / 3, length))
        return base * (1 + 0.7 * spots) * (1 + 0.2 * relief), relief, 0.3

    return paint


def _grain_paint(rng: np.random.Generator, base: np.ndarray, length: float) -> Paint:
    speckle = rng.standard_normal((16, 16), np.float32)

    def paint(x: np.ndarray, t: np.ndarray, a: np.ndarray) -> Coating:
        grain = speckle[(40 * t).astype(int) % 16, (40 * x / length).astype(int) % 16]
        return base * (1 + 0.12 * grain), 0.12 * grain, 0.08

    return paint


def drop(layer: Layer, rng: np.random.Generator, kind: str, at: np.ndarray) -> None:
    """Drop one piece of litter at canvas position `at` (2,)."""
    outline, lengths, slim, bulge, *ranges = LITTER[kind]
    scale = layer.buffer.shape[1] / 2
    base, length = hsv(*(rng.uniform(*span) for span in ranges)), rng.uniform(*lengths)
    turn, slim = rng.uniform(0, 2 * np.pi), slim * rng.uniform(0.8, 1.25)
    c, s = scale * np.cos(turn), scale * np.sin(turn)
    frame = np.array([[c, -s, at[0]], [s, c, at[1]], [0, 0, 1]])
    bend = length * rng.uniform(-0.1, 0.1)
    if kind == "leaf":
        paint = _leaf_paint(rng, base, length)
    elif kind == "seed":
        paint = _seed_paint(rng, base, length, scale)
    else:
        paint = _grain_paint(rng, base, length)
    shell(layer, frame, (0, -length / 2, length * slim, length), outline, bulge, paint, bend)


def scatter(layer: Layer, rng: np.random.Generator) -> None:
    """Scatter one to five pieces of litter over the layer."""
    size = layer.buffer.shape[1]
    for kind in rng.choice(list(LITTER), rng.integers(1, 6), p=(0.2, 0.05, 0.2, 0.25, 0.3)):
        drop(layer, rng, kind, rng.uniform(0, size, 2))
