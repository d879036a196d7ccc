"""Painting for the embedded data set: shells and limbs with normals, lit per pixel, shadowed.

A *shell* is a closed outline with a half-round cross-section (elytra, pebbles, leaves ...); its
normals follow the outline, tilted by a fine relief. *Limbs* are chains of round, tapering segments.
Both go onto a layer, which is lit once and laid over the picture below. Colours are (3, 1, 1) or
(3, h, w) arrays in 0..1; x runs to the right and y down, in pixels or in local units that a
homography (3, 3), the *frame*, takes to pixels.
"""

import colorsys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

FAR = np.array([0.0, 0.0, 1.0], np.float32)  # towards the viewer


class Layer(NamedTuple):
    """A sheet of glass and the lamp over it.

    buffer (7, S, S), each premultiplied by the cover: red, green, blue, normal x and y, gloss;
    last the cover itself.
    """

    buffer: np.ndarray
    lamp: np.ndarray  # unit vector (x, y, towards the viewer)
    ambient: float


# Outlines: (position along the length, half-width as a share of the largest).
OUTLINES = {
    "oval": ((0, 0), (0.06, 0.62), (0.25, 0.93), (0.5, 1), (0.75, 0.86), (0.93, 0.45), (1, 0)),
    "oblong": ((0, 0), (0.03, 0.8), (0.15, 0.97), (0.5, 1), (0.8, 0.88), (0.95, 0.5), (1, 0)),
    "tapered": ((0, 0), (0.03, 0.86), (0.15, 1), (0.4, 0.93), (0.7, 0.66), (0.93, 0.26), (1, 0)),
    "globe": ((0, 0), (0.05, 0.52), (0.2, 0.87), (0.42, 1), (0.7, 0.88), (0.92, 0.48), (1, 0)),
    "blocky": ((0, 0), (0.03, 0.9), (0.2, 1), (0.6, 0.97), (0.85, 0.8), (0.97, 0.42), (1, 0)),
    "ellipse": ((0, 0), (0.07, 0.5), (0.25, 0.87), (0.5, 1), (0.75, 0.87), (0.93, 0.5), (1, 0)),
    "leaf": ((0, 0), (0.1, 0.45), (0.3, 0.92), (0.45, 1), (0.7, 0.72), (0.9, 0.28), (1, 0)),
    "strip": ((0, 0), (0.02, 0.9), (0.3, 1), (0.7, 0.8), (0.98, 0.3), (1, 0)),
    # of the pronotum
    "round": ((0, 0), (0.1, 0.72), (0.35, 0.95), (0.6, 1), (0.88, 0.85), (1, 0)),
    "square": ((0, 0), (0.04, 0.94), (0.2, 1), (0.5, 0.98), (0.8, 1), (0.96, 0.94), (1, 0)),
    "trapezoid": ((0, 0), (0.05, 0.5), (0.4, 0.76), (0.75, 0.95), (0.92, 1), (1, 0)),
    "heart": ((0, 0), (0.06, 0.8), (0.25, 1), (0.45, 0.96), (0.7, 0.7), (0.92, 0.6), (1, 0)),
}


# Fine relief: depth in -1..1 at (x, y) measured in periods of about three final pixels.
def _striae(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    groove = np.cos(np.pi * x) ** 2
    return 1 - 2 * groove * groove * groove


def _punctures(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    pits = np.cos(np.pi * x) * np.cos(np.pi * (y + 0.5 * np.floor(x + 0.5)))
    return 0.5 - 1.6 * np.square(pits * pits)


def _ripples(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sin(2 * np.pi * (y + 0.22 * np.sin(2.1 * x)))


def _reticulation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    a, b = 5.2 * x, 3 * y
    cells = np.cos(a) + np.cos(0.5 * a + 1.55 * b) + np.cos(0.5 * a - 1.55 * b)
    return 1 - 2 * np.minimum(np.abs(cells + 0.4), 1)


def _smooth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.zeros_like(x)


TEXTURES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "striae": _striae,
    "punctures": _punctures,
    "ripples": _ripples,
    "reticulation": _reticulation,
    "smooth": _smooth,
}


# Spots on each elytron: (share of the half-width, share of the length).
SPOTS = {"shoulder": (0.58, 0.19), "discal": (0.5, 0.5), "apical": (0.4, 0.82)}


def marking(kind: str, x: np.ndarray, t: np.ndarray, a: np.ndarray, box: tuple) -> np.ndarray:
    """Cover (h, w) of a marking; x from the axis, t along, a = |x| / half-width there."""
    *_, half, length = box
    x, y = np.abs(x), t * length
    if kind in SPOTS:
        across, along = SPOTS[kind]
        inside = 0.085 * length - np.hypot(x - across * half, y - along * length)
    elif kind == "band":
        inside = 0.05 * length - np.abs(y - length * (0.52 - 0.04 * np.cos(14 * x)))
    elif kind == "margin":
        inside = half * (a - 0.83)
    elif kind == "stripe":
        inside = 0.07 * length - x
    elif kind == "vitta":
        inside = np.minimum(half * (0.12 - np.abs(a - 0.55)), 0.4 - np.abs(t - 0.5))
    else:
        return np.zeros_like(x)
    return np.clip(inside / (0.025 * length) + 0.5, 0, 1)


def new_layer(size: int, lamp: np.ndarray, ambient: float) -> Layer:
    """An empty layer of size x size pixels."""
    return Layer(np.zeros((7, size, size), np.float32), lamp, ambient)


def _surface(
    cover: np.ndarray, albedo: np.ndarray, nx: np.ndarray, ny: np.ndarray, gloss: float
) -> np.ndarray:
    """Buffer values (..., 7, h, w) of a surface of unit normals (nx, ny, rest upwards)."""
    surface = np.empty((*cover.shape[:-2], 7, *cover.shape[-2:]), np.float32)
    surface[..., :3, :, :] = albedo
    for channel, values in enumerate((nx, ny, gloss, 1), 3):
        surface[..., channel, :, :] = values
    surface *= cover[..., None, :, :]
    return surface


def _put(layer: Layer, window: tuple, surface: np.ndarray, clear: np.ndarray) -> None:
    """Lay a surface (7, h, w) over a window of the layer; clear (h, w) = 1 - its cover."""
    below = layer.buffer[:, *window]
    below *= clear
    below += surface


def _lit(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """The layer's premultiplied colour (3, S, S) and cover (S, S) under its lamp."""
    nx, ny, gloss, cover = layer.buffer[3:]
    nx, ny = nx / (cover + 1e-6), ny / (cover + 1e-6)
    nz = np.sqrt(np.maximum(1 - nx * nx - ny * ny, 0))
    half = layer.lamp + FAR
    half /= np.linalg.norm(half)
    (lx, ly, lz), (hx, hy, hz) = layer.lamp.tolist(), half.tolist()
    diffuse = np.maximum(lx * nx + ly * ny + lz * nz, 0)
    sheen = np.square(np.square(np.maximum(hx * nx + hy * ny + hz * nz, 0)))
    shine = np.square(np.square(np.square(sheen)))
    light = layer.ambient * (0.4 + 0.6 * nz) + (1.15 - layer.ambient) * diffuse
    return layer.buffer[:3] * light + gloss * (shine + 0.12 * sheen), cover


def _clip(low: np.ndarray, high: np.ndarray, size: int) -> tuple[slice, slice]:
    """The rows and columns of a canvas between two (x, y) corners, two pixels wider."""
    left, top = (min(max(int(v) - 2, 0), size) for v in low)
    right, bottom = (min(max(int(v) + 4, 0), size) for v in high)
    return slice(top, bottom), slice(left, right)


def frame_scale(frame: np.ndarray) -> float:
    """Pixels per local unit."""
    return float(np.sqrt(abs(np.linalg.det(frame[:2, :2]))))


def project(frame: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Canvas positions (n, 2) of local points (n, 2) under the 3x3 homography `frame`."""
    local = points @ frame[:, :2].T + frame[:, 2]
    return local[:, :2] / local[:, 2:]


KNOTS = np.linspace(-0.5, 1.5, 161)
SMOOTH = np.hanning(17)[1:-1] / 8  # rounds the corners of an outline


def _squared_widths(outline: tuple) -> np.ndarray:
    """Smooth squared half-widths at KNOTS, running on below zero past both ends."""
    at, wide = np.array(outline).T
    at, square = np.r_[-at[:0:-1], at, 2 - at[-2::-1]], np.square(wide)
    square = np.r_[-square[:0:-1], square, -square[-2::-1]]
    return np.convolve(np.pad(np.interp(KNOTS, at, square), 7, "edge"), SMOOTH, "valid")


SQUARED_WIDTHS = {name: _squared_widths(outline) for name, outline in OUTLINES.items()}


def slopes(surface: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Differences of an (h, w) array towards the right and downwards, (h, w) each."""
    right, down = np.empty_like(surface), np.empty_like(surface)
    np.subtract(surface[:, 1:], surface[:, :-1], out=right[:, 1:])
    np.subtract(surface[1:], surface[:-1], out=down[1:])
    right[:, 0], down[0] = right[:, 1], down[1]
    return right, down


def _local(frame: np.ndarray, window: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
    """Local x and y, (h, w) each, of the pixels of a window."""
    rows, columns = (np.arange(s.start, s.stop, dtype=np.float32) for s in window)
    inverse = np.linalg.inv(frame).astype(np.float32)[..., None, None]
    x, y, w = inverse[:, 0] * columns + inverse[:, 1] * rows[:, None] + inverse[:, 2]
    return x / w, y / w


Coating = tuple[np.ndarray, np.ndarray, float]
Paint = Callable[[np.ndarray, np.ndarray, np.ndarray], Coating]


def shell(
    layer: Layer,
    frame: np.ndarray,
    box: tuple[float, float, float, float],
    outline: str,
    bulge: float,
    paint: Paint,
    bend: float = 0.0,
) -> None:
    """Paint a shell; box: x of its axis, y of its start, half-width, length (local units).

    paint(x, t, a) gives colour, relief in pixels and gloss; x is measured from the axis, t runs
    0..1 along it, a = |x| / half-width there. `bulge` is height per half-width.
    """
    x0, y0, half, length = box
    ends = [(x0 + s * (half + abs(bend)), y) for s in (-1, 1) for y in (y0, y0 + length)]
    corners = project(frame, np.array(ends))
    window = _clip(corners.min(0), corners.max(0), layer.buffer.shape[1])
    if min(s.stop - s.start for s in window) < 3:
        return
    x, y = _local(frame, window)
    t = (y - y0) / length
    x = x - x0 - bend * (4 * (t - 0.5) ** 2 - 0.5)
    square = half**2 * np.interp(t, KNOTS, SQUARED_WIDTHS[outline]).astype(np.float32)
    inside = square - x * x
    right, down = slopes(inside)
    cover = np.clip(inside / np.sqrt(right * right + down * down + 1e-18) + 0.5, 0, 1)
    albedo, relief, gloss = paint(x, t, np.abs(x) / np.sqrt(np.maximum(square, 1e-6)))
    # The height is scale * sqrt(inside) + relief: a slope without the root's pole at the rim.
    inside = np.maximum(inside, 0)
    height, steep = np.sqrt(inside), 0.5 * bulge * frame_scale(frame)
    relief_right, relief_down = slopes(relief)
    nx, ny = -steep * right - height * relief_right, -steep * down - height * relief_down
    norm = np.sqrt(nx * nx + ny * ny + inside) + 1e-6
    _put(layer, window, _surface(cover, albedo, nx / norm, ny / norm, gloss), 1 - cover)


def _capsules(
    low: np.ndarray, side: int, p: np.ndarray, q: np.ndarray, rp: np.ndarray, rq: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Cover and normals (K, side, side) of K segments p-q in windows from the corners `low`."""
    span = np.arange(side, dtype=np.float32)
    x, y = (low - p).astype(np.float32).T[..., None, None]
    dx, dy = (q - p).T[..., None, None]
    x, y = x + span, y + span[:, None]
    along = (x * dx + y * dy) / np.maximum(dx * dx + dy * dy, 1e-6)
    along = np.minimum(np.maximum(along, 0), 1)
    radius = rp[:, None, None] + along * (rq - rp)[:, None, None]
    x, y = (x - along * dx) / radius, (y - along * dy) / radius
    cover = radius * (1 - np.sqrt(x * x + y * y)) + np.float32(0.5)
    return np.minimum(np.maximum(cover, 0), 1), x, y


def limbs(
    layer: Layer, frame: np.ndarray, chains: list, colour: np.ndarray, gloss: float = 0.35
) -> None:
    """Paint chains of round tapering segments: local points (n, 2) and radii (n,) of each."""
    points = project(frame, np.concatenate([chain for chain, _ in chains])).astype(np.float32)
    radii = np.concatenate([radius for _, radius in chains]) * frame_scale(frame)
    radii = np.maximum(radii, 0.7).astype(np.float32)
    ends = np.cumsum([len(chain) for chain, _ in chains]) - 1
    start = np.delete(np.arange(len(points)), ends)
    p, q, rp, rq = points[start], points[start + 1], radii[start], radii[start + 1]
    reach = np.maximum(rp, rq)[:, None] + 2
    low = np.floor(np.minimum(p, q) - reach).astype(int)
    # One window size for all segments, so that numpy works on all of them at once.
    side = int((np.maximum(p, q) + reach - low).max()) + 1
    low = np.clip(low, 0, layer.buffer.shape[1] - side)
    cover, nx, ny = _capsules(low, side, p, q, rp, rq)
    surfaces = _surface(cover, colour, nx, ny, gloss)
    for surface, clear, (left, top) in zip(surfaces, 1 - cover, low.tolist(), strict=True):
        _put(layer, (slice(top, top + side), slice(left, left + side)), surface, clear)


def _halved(image: np.ndarray) -> np.ndarray:
    """Mean over 2x2 pixels of the last two axes."""
    rows = image[..., ::2, :] + image[..., 1::2, :]
    return 0.25 * (rows[..., ::2] + rows[..., 1::2])


def composite(
    under: np.ndarray, layer: Layer, height: float, softness: float
) -> tuple[np.ndarray, np.ndarray]:
    """Lay a layer on a picture (3, S, S), `height` pixels above it, with its soft shadow.

    A layer of twice the size is reduced. Returns the picture and the layer's cover (S, S).
    """
    rgb, cover = _lit(layer)
    if len(cover) > under.shape[1]:
        rgb, cover = _halved(rgb), _halved(cover)
    x, y = (height * layer.lamp[:2] / layer.lamp[2]).tolist()
    shadow = Image.fromarray((cover * 255).astype(np.uint8))
    shadow = shadow.transform(shadow.size, Image.Transform.AFFINE, (1, 0, x, 0, 1, y))
    shadow = shadow.filter(ImageFilter.BoxBlur(softness))
    dark = np.asarray(shadow, np.float32) * ((1 - layer.ambient) * 0.95 / 255)
    return under * ((1 - dark) * (1 - cover)) + rgb, cover


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """A colour (3, 1, 1); values out of range are clipped, the hue wraps round."""
    rgb = colorsys.hsv_to_rgb(hue % 1, min(max(saturation, 0), 1), min(max(value, 0), 1))
    return np.array(rgb, np.float32)[:, None, None]


def mix(low: np.ndarray, high: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """From `low` (amount 0) to `high` (amount 1)."""
    return low + (high - low) * np.clip(amount, 0, 1)
