"""The one decoder: any file that holds a picture, as a viewer shows it, in 8-bit RGB.

The format is found from a file's content; the suffix only says which files of a folder to try.
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageCms
from PIL.PngImagePlugin import PngImageFile

# What Pillow opens but does not draw by itself: pages (Ghostscript runs their programs), drawings
# of Windows, weather and science containers, videos (of which it reads the size), press metadata.
APART = frozenset({"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG", "IPTC"})
HEIC = frozenset({".heic", ".heics", ".heif", ".heifs", ".hif"})  # read through pillow-heif
TURNS: Mapping[object, Image.Transpose] = {  # EXIF orientation: what makes it upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Grey PNG of 2 and 4 bits: what lies between two values when Pillow has made 8 bits of them
GREY_STEPS: Mapping[object, int] = {"L;2": 85, "L;4": 17}
DEPTHS = (8, 10, 12, 14, 16)  # bits per value that cameras and scanners give
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF


class Unreadable(ValueError):
    """A file or image gives no picture; the message is the reason, in one line."""


@cache
def formats() -> tuple[str, ...]:
    """The formats that are read: all of Pillow's but `APART`, and HEIF if pillow-heif is there."""
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    common = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP")  # tried first
    return common + tuple(sorted(set(Image.OPEN) - APART - set(common)))


@cache
def suffixes() -> frozenset[str]:
    """The suffixes, in lower case and with the dot, of files that may be pictures.

    HEIC is always among them: without pillow-heif such a file is named as unreadable, not skipped.
    """
    known = {*formats(), "MPO"}  # MPO: a JPEG with more pictures after the first
    return HEIC | {end for end, name in Image.registered_extensions().items() if name in known}


def decode(file: Path | BinaryIO | Image.Image) -> Image.Image:
    """A picture in RGB, upright as its EXIF orientation says, what is transparent on white.

    file: a path, an open file, or an image of Pillow. Of an animation, the first frame. An 8-bit
    JPEG has the pixels that Pillow gives it; deeper values are scaled to 8 bits (see `grey`), never
    clipped. An orientation that cannot be read is none. Raises Unreadable, whatever Pillow raises,
    also for more than `2 * Image.MAX_IMAGE_PIXELS` pixels, which fill the memory.
    """
    try:
        if isinstance(file, Image.Image):
            return upright(file)
        with Image.open(file, formats=formats()) as image:
            return upright(image)
    except Exception as error:  # damaged bytes make decoders raise anything
        raise Unreadable(reason(error, file)) from error


def decode_mask(file: Path) -> np.ndarray:
    """Foreground (H, W) bool: white, or palette entries 1 and 3; raises Unreadable as `decode`."""
    try:
        with Image.open(file, formats=formats()) as image:
            load(image)
            if image.mode == "P":
                return np.isin(np.asarray(image), (1, 3))
            return np.asarray((grey(image) if is_deep(image) else image).convert("L")) > 127
    except Exception as error:
        raise Unreadable(reason(error, file)) from error


def reason(error: Exception, file: Path | BinaryIO | Image.Image) -> str:
    """Why a picture cannot be read, in one line; for HEIC without its reader, what to install."""
    if isinstance(file, Path) and file.suffix.lower() in HEIC and "HEIF" not in formats():
        return "HEIC needs pillow-heif: pip install pillow-heif"
    if isinstance(error, Image.UnidentifiedImageError):
        return "cannot identify image file: no format that Pillow reads"
    said = error.strerror if isinstance(error, OSError) else None
    return " ".join((said or str(error) or type(error).__name__).split())


def upright(image: Image.Image) -> Image.Image:
    """A new image in RGB, turned as the EXIF orientation says."""
    load(image)
    turn = orientation(image)
    made = rgb(image) if turn is None else rgb(image).transpose(turn)
    made.info = {}  # else it would be turned again where it is read a second time
    return made


def load(image: Image.Image) -> None:
    """Read the pixels of an open image; a TIFF is turned upright then, and says no more how.

    If it knows its file's name, Pillow maps a TIFF into memory, with height and width swapped if it
    lies on its side. A PNG's transparent colour is scaled as Pillow scales the pixels.
    """
    own = vars(image)
    name, own["filename"] = own.get("filename", ""), ""
    packed = image.tile[0][3] if isinstance(image, PngImageFile) and image.tile else None
    try:
        image.load()
    finally:
        own["filename"] = name
    clear = image.info.get("transparency")
    if packed in GREY_STEPS and isinstance(clear, int):
        image.info["transparency"] = clear * GREY_STEPS[packed]
    elif packed == "RGB;16B" and isinstance(clear, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in clear)


def orientation(image: Image.Image) -> Image.Transpose | None:
    """What turns a loaded image upright; None if it stands so, or if its EXIF cannot be read."""
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # damaged EXIF makes Pillow raise anything
        return None


def rgb(image: Image.Image) -> Image.Image:
    """An image of any mode in RGB: deep values scaled, what is transparent on white."""
    if is_deep(image):
        image = grey(image)
    elif image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None  # it is only where the image is changed in place
        return converted
    elif image.mode == "La":
        image = image.convert("LA")
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")


def is_deep(image: Image.Image) -> bool:
    """True for grey of more than 8 bits a value: what Pillow's own conversion clips to white."""
    return image.mode in ("I", "F") or image.mode.startswith("I;")


def grey(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, or of floats, in 8 bits: mode L, or LA if one value is transparent.

    The range is that of the file's depth, so that a picture looks like its 8-bit twin: 12 bits if a
    TIFF says so, 16 bits for all other images of mode I;16 and for PNG and PGM. Integers and floats
    of 32 bits do not tell: 0 to 1 if floats lie within that, else the smallest of `DEPTHS` that
    holds them. What is negative or larger is stretched, smallest to black, largest to white; what
    is not finite is black.
    """
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if image.mode == "I" and tags.get(SAMPLE_FORMAT, (1,))[0] == 1 and tags:
        values = values.view(np.uint32)  # Pillow reads them as signed
    if image.mode.startswith("I;") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        bits = 12 if tags.get(BITS_PER_SAMPLE) == (12,) else 16
        scaled = values >> bits - 8
    else:
        scaled = stretched(values)
    if is_white_zero(image):
        scaled = 255 - scaled
    made = Image.fromarray(scaled.clip(0, 255).astype(np.uint8))
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        made.putalpha(Image.fromarray(np.uint8(255 * (values != clear))))
    return made


def stretched(values: np.ndarray) -> np.ndarray:
    """Integers or floats of 32 bits, as `grey` scales them: whole numbers from 0 to 255."""
    finite = np.isfinite(values)
    known = values[finite].astype(float) if finite.any() else np.zeros(1)
    low, high = known.min(), known.max()
    exact = np.where(finite, values, low).astype(float)
    if low >= 0 and high <= 1 and values.dtype.kind == "f":
        return np.rint(255 * exact)
    if low >= 0 and high < 2 ** DEPTHS[-1]:
        bits = next(bits for bits in DEPTHS if high < 2**bits)
        return np.rint(exact) if bits == 8 else np.floor(exact / 2 ** (bits - 8))
    return np.rint(255 * (exact - low) / max(high - low, np.finfo(float).tiny))


def is_white_zero(image: Image.Image) -> bool:
    """True for a deep TIFF whose value 0 is white; Pillow turns only those of 8 bits round."""
    return getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0
