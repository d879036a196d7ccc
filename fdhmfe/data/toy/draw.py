"""Drawing of the embedded data set: beetles seen from above, lit, on cluttered ground.

The beetle is painted at twice the wanted size and reduced. In body coordinates x runs to the right
and y from the mandibles (about -1) to the apex (+1); lengths are in these units.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from fdhmfe.data.toy.ground import bare_ground, drop, scatter
from fdhmfe.data.toy.paint import (
    TEXTURES,
    Coating,
    Layer,
    composite,
    frame_scale,
    hsv,
    limbs,
    marking,
    mix,
    new_layer,
    project,
    shell,
)

SIDES = ("left", "right")
LEGS = ("front", "middle", "hind")
PARTS: tuple[str, ...] = (
    *("head", "antenna_left", "antenna_right", "mandibles", "pronotum"),
    *("elytra_left", "elytra_right", "apex"),
    *(f"foot_{side}_{leg}" for side in SIDES for leg in LEGS),
)
OCCLUDED = 0.2  # share of the pictures with something in front of the beetle


@dataclass(frozen=True)
class Genus:
    """What the species of a genus share: palette tendencies and proportions (body length = 2)."""

    name: str
    hues: tuple[float, float]  # each beetle takes one of the two, whatever its species
    saturation: float
    value: float
    mark: tuple[float, float, float]  # hue, saturation, value of the markings
    gloss: float
    head: tuple[float, float]  # length, half-width; also of the next two
    pronotum: tuple[float, float]
    elytra: tuple[float, float]
    outline: str  # of the elytra, a key of OUTLINES
    antenna: float  # length
    leg: float  # length of a leg, 1 = about half the body
    snout: float = 0.0


@dataclass(frozen=True)
class Species:
    """One class. All six attributes are local; colour and proportions belong to the genus."""

    genus: Genus
    epithet: str
    texture: str
    antenna: str
    mandibles: str
    pronotum: str
    tibia: str
    marking: str

    @property
    def name(self) -> str:
        return f"{self.genus.name}_{self.epithet}"


class Drawing(NamedTuple):
    """image (H, W, 3) uint8; mask (H, W) uint8, 0 or 255; parts (P, 3) float: x, y, visible."""

    image: np.ndarray
    mask: np.ndarray
    parts: np.ndarray


class Coat(NamedTuple):
    """Colours (3, 1, 1) of one beetle and the jitter of its relief and markings."""

    base: np.ndarray
    edge: np.ndarray  # what metallic colours turn to where the surface slopes
    limb: np.ndarray
    mark: np.ndarray
    period: float  # of the texture, body units
    depth: float  # of the texture, canvas pixels
    shift: np.ndarray  # (2,) of the markings: across, along


def _coat(genus: Genus, rng: np.random.Generator, scale: float) -> Coat:
    hue = genus.hues[rng.integers(2)] + rng.normal(0, 0.015)
    saturation = genus.saturation + rng.normal(0, 0.07)
    value = genus.value * rng.uniform(0.85, 1.25)
    h, s, v = np.array(genus.mark) + rng.normal(0, (0.012, 0.06, 0.05))
    edge = hsv(hue + rng.normal(0.05, 0.04), saturation + 0.1, 0.7 * value)
    limb = hsv(hue + rng.normal(0, 0.02), saturation * 0.8, 0.42 * value + 0.04)
    period, depth = 0.085 * rng.uniform(0.94, 1.08), 1.5 * rng.uniform(0.8, 1.2) * scale / 88
    shift = rng.normal(0, (0.015, 0.02))
    return Coat(hsv(hue, saturation, value), edge, limb, hsv(h, s, v), period, depth, shift)


def _draw_elytra(layer: Layer, frame: np.ndarray, species: Species, coat: Coat) -> None:
    genus = species.genus
    length, half = genus.elytra
    box = (0, 1 - length, half, length)

    def paint(x: np.ndarray, t: np.ndarray, a: np.ndarray) -> Coating:
        # The texture's rows draw together towards the apex, as real striae do.
        x = x / (0.45 + 0.55 * np.sqrt(np.maximum(1 - (1.3 * t - 0.55) ** 2, 0.05)))
        fine = TEXTURES[species.texture](np.abs(x) / coat.period, t * length / coat.period)
        seam = np.exp(-((x / 0.02) ** 2))
        marked = marking(species.marking, x + coat.shift[0], t + coat.shift[1], a, box)
        albedo = mix(mix(coat.base, coat.edge, 0.8 * a * a), coat.mark, marked)
        relief = coat.depth * (fine - 2.2 * seam)
        return albedo * (1 + 0.26 * np.minimum(fine, 0.4) - 0.4 * seam), relief, genus.gloss

    shell(layer, frame, box, genus.outline, 0.75, paint)


def _draw_front(layer: Layer, frame: np.ndarray, species: Species, coat: Coat) -> None:
    """Head with eyes, then the pronotum that covers its rear."""
    genus = species.genus
    neck = 1 - genus.elytra[0]
    top = neck - genus.pronotum[0]

    def paint(x: np.ndarray, t: np.ndarray, a: np.ndarray) -> Coating:
        grain = np.sin(90 * x) * np.sin(90 * t * genus.pronotum[0])
        return mix(coat.base, coat.edge, 0.2 + a * a) * 0.9, 0.25 * grain, genus.gloss

    length, half = genus.head
    if genus.snout:
        tip = np.array([[0, top - 0.4 * length], [0, top - length - genus.snout]])
        limbs(layer, frame, [(tip, (0.11, 0.075))], coat.base * 0.8)
    shell(layer, frame, (0, top - length, half, length + 0.1), "ellipse", 0.7, paint)
    eyes = [([[s * half * 0.86, top - 0.45 * length]] * 2, (0.055, 0.055)) for s in (-1, 1)]
    limbs(layer, frame, eyes, hsv(0.08, 0.3, 0.06), 0.9)
    box = (0, top - 0.02, genus.pronotum[1], genus.pronotum[0] + 0.05)
    outline = "round" if species.pronotum in ("spined", "horned") else species.pronotum
    if species.pronotum == "spined":
        across = np.array([[-1.0, 0], [0, 0], [1, 0]]) * (genus.pronotum[1] + 0.2)
        across += (0, neck - 0.45 * genus.pronotum[0])
        limbs(layer, frame, [(across, (0.015, 0.17, 0.015))], coat.base * 0.8)
    shell(layer, frame, box, outline, 0.7, paint)
    if species.pronotum == "horned":
        horn = np.array([[0, neck - 0.55 * genus.pronotum[0]], [0, top - 0.1], [0, top - length]])
        limbs(layer, frame, [(horn, (0.1, 0.065, 0.035))], coat.limb * 1.3, 0.6)


# Right mandible: points (share of the head's half-width, y) and radii.
MANDIBLES = {
    "short": (((0.5, 0), (0.45, -0.09), (0.15, -0.13)), (0.045, 0.04, 0.02)),
    "sickle": (
        ((0.6, 0), (0.95, -0.17), (0.75, -0.31), (0.1, -0.36)),
        (0.05, 0.05, 0.035, 0.015),
    ),
    "forked": (
        ((0.6, 0), (0.9, -0.18), (0.5, -0.22), (0.95, -0.2), (0.6, -0.36)),
        (0.05, 0.045, 0.015, 0.045, 0.015),
    ),
}


def _draw_mandibles(layer: Layer, frame: np.ndarray, species: Species, coat: Coat) -> np.ndarray:
    """Paint the mandibles; returns the local position (2,) between their tips."""
    genus = species.genus
    root = 1 - genus.elytra[0] - genus.pronotum[0] - 0.85 * genus.head[0] - genus.snout
    points, radii = MANDIBLES[species.mandibles]
    reach = 0.09 if genus.snout else genus.head[1]
    points = np.array(points) * (reach, 1) + (0, root)
    limbs(layer, frame, [(points * (side, 1), radii) for side in (-1, 1)], coat.limb, 0.5)
    return np.array([0, points[-1, 1]])


def _antenna(kind: str, length: float, angle: float, curl: float) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 2) from the origin, to the right and forwards, and radii (n,)."""
    n = 8
    angles = angle + curl * np.linspace(0, 1, n)
    radii = np.linspace(0.026, 0.018, n + 1)
    if kind == "elbowed":
        angles = np.where(np.arange(n) < 3, angle + 0.5, angle - 0.9 + 0.5 * curl)
        radii[-2:] = 0.04
    if kind == "clubbed":
        radii[-3:] = (0.05, 0.08, 0.055)
    steps = length / n * np.stack([np.sin(angles), -np.cos(angles)], 1)
    points = np.concatenate([np.zeros((1, 2)), steps.cumsum(0)])
    if kind == "serrate":
        # Each joint widens, then the next starts thin again: a saw.
        points = np.repeat(points[::2], 2, axis=0)[1:]
        radii = np.where(np.arange(len(points)) % 2, 0.065, 0.014)
    return points, radii


def _draw_antennae(
    layer: Layer, frame: np.ndarray, species: Species, coat: Coat, rng: np.random.Generator
) -> list:
    """Paint both antennae; returns the local positions of their tips."""
    genus = species.genus
    root = 1 - genus.elytra[0] - genus.pronotum[0] - 0.65 * genus.head[0] - 0.5 * genus.snout
    chains = []
    for side in (-1, 1):
        angle, curl = rng.uniform(0.5, 1.0), rng.uniform(-0.2, 0.9)
        points, radii = _antenna(species.antenna, genus.antenna, angle, curl)
        points = points * (side, 1) + (side * (0.05 if genus.snout else 0.7 * genus.head[1]), root)
        chains.append((points, radii))
    limbs(layer, frame, chains, coat.limb)
    return [points[-1] for points, _ in chains]


# Per leg: where it starts along the elytra, and the directions (degrees from straight ahead) of
# its femur, tibia and tarsus.
STANCE = {
    "front": (-0.1, (62, 32, 48)),
    "middle": (0.1, (88, 112, 104)),
    "hind": (0.3, (112, 148, 140)),
}


def _shin(tibia: str, knee: np.ndarray, ankle: np.ndarray, side: int) -> list:
    """The chains of one tibia."""
    if tibia == "broad":
        return [((knee, ankle), (0.028, 0.1))]
    if tibia == "slim":
        return [((knee, ankle), (0.03, 0.034))]
    along = ankle - knee
    spur = 0.28 * side * np.array([-along[1], along[0]]) + 0.15 * along
    roots = [knee + share * along for share in (0.45, 0.7, 0.95)]
    return [((knee, ankle), (0.03, 0.034)), *(((r, r + spur), (0.03, 0.012)) for r in roots)]


def _draw_legs(
    layer: Layer, frame: np.ndarray, species: Species, coat: Coat, rng: np.random.Generator
) -> list:
    """Paint six legs; returns the local positions of the feet in the order of PARTS."""
    length, half = species.genus.elytra
    chains, feet = [], []
    for side in (-1, 1):
        for at, angles in STANCE.values():
            turn = np.radians(np.array(angles) + rng.normal(0, 9) + rng.normal(0, 8, 3))
            steps = species.genus.leg * np.array([0.36, 0.34, 0.24])[:, None]
            steps = steps * np.stack([side * np.sin(turn), -np.cos(turn)], 1)
            hip = np.array([side * half * 0.6, 1 - length + at])
            knee, ankle, foot = hip + steps.cumsum(0)
            chains += [((ankle, foot), (0.026, 0.018)), *_shin(species.tibia, knee, ankle, side)]
            chains += [((hip, knee), (0.055, 0.04))]
            feet.append(foot)
    limbs(layer, frame, chains, coat.limb)
    return feet


def _draw_beetle(
    layer: Layer, frame: np.ndarray, species: Species, coat: Coat, rng: np.random.Generator
) -> np.ndarray:
    """Paint a beetle; returns the local positions (P, 2) of PARTS."""
    genus = species.genus
    neck = 1 - genus.elytra[0]
    top = neck - genus.pronotum[0]
    feet = _draw_legs(layer, frame, species, coat, rng)
    tips = _draw_antennae(layer, frame, species, coat, rng)
    bite = _draw_mandibles(layer, frame, species, coat)
    _draw_elytra(layer, frame, species, coat)
    _draw_front(layer, frame, species, coat)
    wing = np.array([0.5 * genus.elytra[1], 1 - 0.6 * genus.elytra[0]])
    head, pronotum = (0, top - 0.5 * genus.head[0]), (0, neck - 0.5 * genus.pronotum[0])
    return np.array([head, *tips, bite, pronotum, wing * (-1, 1), wing, (0, 0.97), *feet])


def _pose(rng: np.random.Generator, size: int) -> np.ndarray:
    """A homography from body to canvas: turned, scaled, shifted, sheared, seen a little askew."""
    turn, scale = np.radians(rng.uniform(-25, 25)), size * rng.uniform(0.34, 0.4)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shear = np.array([[1, rng.normal(0, 0.06)], [0, rng.uniform(0.9, 1.04)]])
    frame = np.eye(3)
    frame[:2, :2] = scale * turned @ shear
    frame[2, :2] = rng.normal(0, 0.03, 2)
    move = np.eye(3)
    move[:2, 2] = size / 2 + rng.uniform(-0.035, 0.035, 2) * size
    return move @ frame


def _lamp(rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Direction of the light (unit vector) and the share of ambient light."""
    turn, tilt = rng.uniform(0, 2 * np.pi), rng.uniform(0.45, 0.95)
    lamp = (np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt))
    return np.array(lamp, np.float32), rng.uniform(0.28, 0.6)


def _cover_up(layer: Layer, rng: np.random.Generator) -> None:
    """A leaf, a twig or a blade of grass reaches over the beetle."""
    size, turn = layer.buffer.shape[1], rng.uniform(0, 2 * np.pi)
    at = size / 2 + size * rng.uniform(0.2, 0.4) * np.array([np.cos(turn), np.sin(turn)])
    drop(layer, rng, rng.choice(["leaf", "twig", "blade"]), at)


def _photo(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """What a camera makes of a picture (3, S, S): white balance, contrast, blur, noise; uint8."""
    balance = rng.uniform(0.9, 1.15) * rng.normal(1, 0.04, (3, 1))
    curve = np.clip(balance * np.linspace(0, 1, 256), 0, 1) ** rng.uniform(0.75, 0.95)
    picture = (255 * np.clip(picture, 0, 1)).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))
    image = image.point((255 * curve).astype(int).ravel().tolist())
    image = image.filter(ImageFilter.GaussianBlur(max(rng.uniform(-0.4, 0.5), 0)))
    noise = rng.standard_normal((*picture.shape[1:], 1), np.float32) * np.float32(rng.uniform(1, 5))
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def draw(species: Species, rng: np.random.Generator, size: int = 128) -> Drawing:
    """Draw one beetle of a species on random ground; see Drawing for the shapes.

    Each element of the scene has its own random stream, so two species of a genus drawn with
    equal generators differ only where their attributes do.
    """
    scene, pose, colour, limb, front, camera = rng.spawn(6)
    lamp, ambient = _lamp(scene)
    litter, beetle = (new_layer(s, lamp, ambient) for s in (size, 2 * size))
    picture = bare_ground(scene, size, lamp)
    scatter(litter, scene)
    frame = _pose(pose, 2 * size)
    coat = _coat(species.genus, colour, frame_scale(frame))
    parts = project(frame, _draw_beetle(beetle, frame, species, coat, limb)) / 2
    picture, _ = composite(picture, litter, 0.01 * size, 1)
    picture, cover = composite(picture, beetle, 0.03 * size, 2)
    hidden = np.zeros_like(cover)
    if front.random() < OCCLUDED:
        over = new_layer(size, lamp, ambient)
        _cover_up(over, front)
        picture, hidden = composite(picture, over, 0.04 * size, 2)
    mask = (cover * (1 - hidden) > 0.5).astype(np.uint8) * 255
    column, row = np.clip(parts.astype(int), 0, size - 1).T
    visible = (hidden[row, column] < 0.5) & ((parts >= 0) & (parts < size)).all(1)
    return Drawing(_photo(camera, picture), mask, np.column_stack([parts, visible]))
