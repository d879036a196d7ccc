"""The one decoder: what people's files are, and the right pixels or the one error of each."""

import importlib.util
import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED, save_image
from PIL import ExifTags, Image, ImageCms, ImageOps

from fdhmfe.data.dataset import DataError, open_image, open_mask
from fdhmfe.data.picture import APART, TURNS, Unreadable, decode, formats, suffixes

RAMP = (np.arange(96)[None] * 2 + np.arange(64)[:, None]).astype(np.uint8)  # 0 to 253, (64, 96)
RED = np.full((64, 96, 3), (200, 10, 10), np.uint8)
HOLE = np.zeros((64, 96), bool)
HOLE[:, :48] = True  # transparent there


def grey3(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


def on_white(colour: np.ndarray) -> np.ndarray:
    return np.where(HOLE[..., None], 255, colour)


def saved(path: Path, image: Image.Image, **options) -> np.ndarray:
    image.save(path, **options)
    return np.asarray(open_image(path))


def png(path: Path, bits: int, colour: int, rows: np.ndarray, clear: bytes = b"") -> Path:
    """A PNG as its standard says, (H, bytes per row) = rows: Pillow writes few of its kinds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    samples = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    height, width = len(rows), rows.shape[1] * 8 // bits // samples
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
    parts = [chunk(b"IHDR", head), chunk(b"tRNS", clear) if clear else b"", chunk(b"IDAT", data)]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b""))
    return path


def wide(values: np.ndarray) -> np.ndarray:
    """The bytes (H, 2 W) of 16-bit values, high byte first."""
    return values.astype(">u2").view(np.uint8).reshape(len(values), -1)


# Depth: the pixels of the 8-bit twin

TAG = {"white is zero": {262: 0}}
SIXTEEN = RAMP.astype(np.uint16) * 257
DEEP: dict[str, tuple[str, np.ndarray]] = {
    "16-bit PNG": ("x.png", SIXTEEN),
    "16-bit PNG, low bytes 0": ("x.png", RAMP.astype(np.uint16) << 8),
    "16-bit PNG, dark": ("x.png", SIXTEEN // 257 // 8 * 257),
    "16-bit TIFF": ("x.tif", SIXTEEN),
    "16-bit TIFF, big endian": ("x.tif", SIXTEEN.astype(">u2")),
    "16-bit JPEG 2000": ("x.jp2", SIXTEEN),
    "16-bit PGM": ("x.pgm", SIXTEEN),
    "16-bit PGM, dark": ("x.pgm", SIXTEEN // 257 // 8 * 257),
    "16-bit TIFF, packed": ("x.tif", SIXTEEN),
    "float PFM": ("x.pfm", RAMP.astype(np.float32) / 255),
    "32-bit TIFF of 8 bits": ("x.tif", RAMP.astype(np.int32)),
    "32-bit TIFF of 16 bits": ("x.tif", RAMP.astype(np.int32) * 257),
    "32-bit TIFF of 12 bits": ("x.tif", RAMP.astype(np.int32) << 4),
    "float TIFF, 0 to 1": ("x.tif", RAMP.astype(np.float32) / 255),
    "float TIFF, 0 to 255": ("x.tiff", RAMP.astype(np.float32)),
    "float TIFF of 16 bits": ("x.tif", RAMP.astype(np.float32) * 257),
}


@pytest.mark.parametrize("kind", DEEP)
def test_deep_grey_has_the_pixels_of_its_8_bit_twin(kind, tmp_path):
    name, values = DEEP[kind]
    twin = RAMP // 8 if "dark" in kind else RAMP
    options = {"compression": "tiff_lzw"} if "packed" in kind else {}
    np.testing.assert_array_equal(
        saved(tmp_path / name, Image.fromarray(values), **options), grey3(twin)
    )


STRETCHED = {
    "signed integers": RAMP.astype(np.int32) - 100,
    "integers of more than 16 bits": RAMP.astype(np.int32) << 20,
    "floats below 0": RAMP.astype(np.float32) / 100 - 1,
    "floats far from 0": RAMP.astype(np.float32) + 1e6,
    "floats beyond 16 bits": RAMP.astype(np.float32) * 1e9,
}


@pytest.mark.parametrize("kind", STRETCHED)
def test_values_without_a_depth_are_stretched(kind, tmp_path):
    found = saved(tmp_path / "x.tif", Image.fromarray(STRETCHED[kind]))
    expected = np.rint(RAMP.astype(float) * 255 / RAMP.max())
    np.testing.assert_array_equal(found, grey3(expected))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_black_and_spoils_no_other(bad, tmp_path):
    values = RAMP.astype(np.float32) / 255
    values[5, 7] = bad
    found = saved(tmp_path / "x.tif", Image.fromarray(values))
    expected = RAMP.copy()
    expected[5, 7] = 0
    np.testing.assert_array_equal(found, grey3(expected))


@pytest.mark.parametrize("value", [0, -5, 7, 1e9])
def test_one_value_everywhere_is_a_picture(value, tmp_path):
    found = saved(tmp_path / "x.tif", Image.fromarray(np.full((4, 5), value, np.float32)))
    assert found.shape == (4, 5, 3) and len(np.unique(found)) == 1


def test_unsigned_32_bit_integers_are_not_taken_as_signed(tmp_path):
    image = Image.fromarray((RAMP.astype(np.uint32) << 24).view(np.int32))
    image.save(tmp_path / "x.tif", tiffinfo={339: 1})
    content = (tmp_path / "x.tif").read_bytes()
    with Image.open(tmp_path / "x.tif") as stored:
        assert stored.tag_v2[339] in ((1,), (2,))
        signed = stored.tag_v2[339] == (2,)
    if signed:  # Pillow writes its own: SampleFormat is tag 339, SHORT, one value
        entry = struct.pack("<HHIH", 339, 3, 1, 2)
        (tmp_path / "x.tif").write_bytes(content.replace(entry, struct.pack("<HHIH", 339, 3, 1, 1)))
    expected = np.rint(RAMP.astype(float) * 255 / RAMP.max())
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "x.tif")), grey3(expected))


def test_a_16_bit_tiff_whose_zero_is_white_is_turned_round(tmp_path):
    Image.fromarray(65535 - SIXTEEN).save(tmp_path / "x.tif", tiffinfo={262: 0})
    content = (tmp_path / "x.tif").read_bytes()
    entry = struct.pack("<HHIH", 262, 3, 1, 1)
    (tmp_path / "x.tif").write_bytes(content.replace(entry, struct.pack("<HHIH", 262, 3, 1, 0)))
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "x.tif")), grey3(RAMP))


@pytest.mark.parametrize(
    ("colour", "bytes_of"), [(2, RED), (6, np.dstack([RED, RED[..., :1] | 255]))]
)
def test_16_bit_colour_has_the_pixels_of_its_8_bit_twin(colour, bytes_of, tmp_path):
    rows = wide((bytes_of.astype(np.uint16) * 257).reshape(64, -1))
    np.testing.assert_array_equal(
        np.asarray(open_image(png(tmp_path / "x.png", 16, colour, rows))), RED
    )


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_shallow_grey_is_scaled_up(bits, tmp_path):
    rows = np.full((4, 2), 0b00011011, np.uint8)
    found = np.asarray(open_image(png(tmp_path / "x.png", bits, 0, rows)))[0, :, 0]
    values = {1: [0, 0, 0, 1, 1, 0, 1, 1], 2: [0, 1, 2, 3], 4: [1, 11]}[bits]
    assert found.tolist() == [v * 255 // (2**bits - 1) for v in values] * 2


# Transparency: two pictures that look alike have the same pixels


def with_alpha(colour: np.ndarray, mode: str) -> Image.Image:
    alpha = Image.fromarray(np.uint8(np.where(HOLE, 0, 255)))
    image = Image.fromarray(colour).convert({"LA": "L", "RGBA": "RGB"}[mode])
    image.putalpha(alpha)
    return image


def indexed(hidden: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(np.uint8(~HOLE)).convert("P")
    image.putpalette([*hidden, 200, 10, 10])
    return image


def rgb_with_colour(hidden: tuple[int, int, int]) -> Image.Image:
    return Image.fromarray(np.where(HOLE[..., None], hidden, RED).astype(np.uint8))


HIDDEN = [(0, 0, 0), (255, 255, 255), (3, 250, 120)]
CLEAR: dict[str, Callable[[Path, tuple[int, int, int]], np.ndarray]] = {
    "RGBA PNG": lambda p, c: saved(
        p.with_suffix(".png"), with_alpha(np.asarray(rgb_with_colour(c)), "RGBA")
    ),
    "RGBA WebP": lambda p, c: saved(
        p.with_suffix(".webp"),
        with_alpha(np.asarray(rgb_with_colour(c)), "RGBA"),
        **dict(lossless=True, exact=True),
    ),
    "RGBA TIFF": lambda p, c: saved(
        p.with_suffix(".tif"), with_alpha(np.asarray(rgb_with_colour(c)), "RGBA")
    ),
    "RGBA TGA": lambda p, c: saved(
        p.with_suffix(".tga"), with_alpha(np.asarray(rgb_with_colour(c)), "RGBA")
    ),
    "RGBa in memory": lambda _, c: np.asarray(
        decode(with_alpha(np.asarray(rgb_with_colour(c)), "RGBA").convert("RGBa"))
    ),
    "palette PNG, one entry": lambda p, c: saved(p.with_suffix(".png"), indexed(c), transparency=0),
    "palette PNG, alpha of each entry": lambda p, c: saved(
        p.with_suffix(".png"), indexed(c), transparency=bytes([0, 255])
    ),
    "palette GIF": lambda p, c: saved(p.with_suffix(".gif"), indexed(c), transparency=0),
    "RGB PNG, one colour": lambda p, c: saved(
        p.with_suffix(".png"), rgb_with_colour(c), transparency=c
    ),
    "16-bit RGB PNG, one colour": lambda p, c: np.asarray(
        open_image(
            png(
                *(p.with_suffix(".png"), 16, 2),
                wide((np.asarray(rgb_with_colour(c)).astype(np.uint16) * 257).reshape(64, -1)),
                struct.pack(">HHH", *(257 * v for v in c)),
            )
        )
    ),
}


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("kind", CLEAR)
def test_what_is_transparent_is_white_whatever_colour_it_hides(kind, hidden, tmp_path):
    np.testing.assert_array_equal(CLEAR[kind](tmp_path / "x", hidden), on_white(RED))


CLEAR_GREY: dict[str, Callable[[Path], np.ndarray]] = {
    "LA PNG": lambda p: saved(p, with_alpha(RAMP, "LA")),
    "La in memory": lambda _: np.asarray(decode(with_alpha(RAMP | 1, "LA").convert("La"))),
    "L PNG, one value": lambda p: saved(
        p, Image.fromarray(np.where(HOLE, 7, RAMP | 8).astype(np.uint8)), transparency=7
    ),
    "16-bit PNG, one value": lambda p: np.asarray(
        open_image(
            png(p, 16, 0, wide(np.where(HOLE, 7, SIXTEEN)), clear=struct.pack(">H", 7)),
        )
    ),
    "16-bit LA PNG": lambda p: np.asarray(
        open_image(
            png(p, 16, 4, wide(np.dstack([SIXTEEN, np.where(HOLE, 0, 65535)]).reshape(64, -1)))
        )
    ),
    "PA in memory": lambda _: np.asarray(
        decode(with_alpha(RAMP, "LA").convert("RGBA").convert("PA"))
    ),
}


@pytest.mark.parametrize("kind", CLEAR_GREY)
def test_transparent_grey_is_white(kind, tmp_path):
    found = CLEAR_GREY[kind](tmp_path / "x.png")
    assert (found[HOLE] == 255).all()
    kept = {"La in memory": RAMP | 1, "L PNG, one value": RAMP | 8}.get(kind, RAMP)
    np.testing.assert_array_equal(found[~HOLE], grey3(kept)[~HOLE])


def test_half_transparent_is_half_white(tmp_path):
    found = saved(tmp_path / "x.png", Image.new("RGBA", (4, 4), (0, 0, 0, 128)))
    assert (found == 127).all()


def test_1_bit_with_a_transparent_value(tmp_path):
    image = Image.fromarray(HOLE)
    np.testing.assert_array_equal(
        saved(tmp_path / "x.png", image, transparency=255), RED * 0 + 255 * HOLE[..., None]
    )


@pytest.mark.parametrize(("bits", "rows"), [(2, [0b00_01_10_11]), (4, [0x0F, 0x5A])])
@pytest.mark.parametrize("hidden", [1, 2])
def test_few_bits_of_grey_with_a_transparent_value(bits, rows, hidden, tmp_path):
    packed = np.array([rows], np.uint8)
    values = [int(f"{row:08b}"[i : i + bits], 2) for row in rows for i in range(0, 8, bits)]
    clear = values[hidden]
    found = open_image(png(tmp_path / "x.png", bits, 0, packed, struct.pack(">H", clear)))
    expected = [255 if value == clear else value * 255 // (2**bits - 1) for value in values]
    assert np.asarray(found)[0, :, 0].tolist() == expected


@pytest.mark.parametrize("hidden", [(0, 3, 200), (0, 0, 0), (256, 0, 511)])
def test_dark_16_bit_colours_can_be_transparent(hidden, tmp_path):
    pixels = np.full((2, 4, 3), 40_000)
    pixels[:, :2] = hidden
    clear = struct.pack(">HHH", *hidden)
    found = np.asarray(
        open_image(png(tmp_path / "x.png", 16, 2, wide(pixels.reshape(2, -1)), clear))
    )
    assert (found[:, :2] == 255).all() and (found[:, 2:] == 40_000 >> 8).all()


# Modes and formats


def lab(colour: np.ndarray) -> Image.Image:
    made = ImageCms.profileToProfile(
        Image.fromarray(colour),
        *(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")),
        outputMode="LAB",
    )
    assert made is not None
    return made


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"])
@pytest.mark.parametrize("suffix", ["", ".tif"])
def test_every_mode_becomes_rgb(mode, suffix, tmp_path):
    grounds = {"1": (255, 255, 255), "L": (90, 90, 90)}
    ground = grounds.get(mode, (200, 10, 10))
    colour = np.full((64, 96, 3), ground, np.uint8)
    image = Image.fromarray(colour)
    palette = Image.Palette.ADAPTIVE
    image = lab(colour) if mode == "LAB" else image.convert(mode, palette=palette)
    if not suffix:
        found = np.asarray(decode(image))
    elif mode == "HSV":
        pytest.skip("no file format holds HSV")
    else:
        found = saved(tmp_path / f"x{suffix}", image)
    assert found.shape == (64, 96, 3)
    assert abs(found.astype(int) - ground).max() <= 5, "rounding"


WRITTEN = {  # suffix: how far its pixels may be from what was saved
    **dict.fromkeys((".png", ".apng", ".bmp", ".dib", ".tif", ".tiff", ".tga", ".ppm"), 0),
    **dict.fromkeys((".pnm", ".sgi", ".rgb", ".pcx", ".im", ".qoi", ".dds"), 0),
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".j2k", ".mpo"), 4),
    **dict.fromkeys((".gif", ".webp", ".avif", ".ico"), 8),
}


@pytest.mark.parametrize("suffix", WRITTEN)
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_every_format_that_pillow_writes_is_read(suffix, case, tmp_path):
    assert suffix in suffixes()
    path = tmp_path / f"x{case(suffix)}"
    found = saved(path, Image.fromarray(RED))
    assert abs(found.astype(int) - RED[0, 0]).max() <= WRITTEN[suffix]


def test_the_first_frame_of_an_animation_is_taken(tmp_path):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue", "lime")]
    for suffix in (".gif", ".webp", ".png", ".tif", ".mpo", ".avif"):
        frames[0].save(tmp_path / f"x{suffix}", save_all=True, append_images=frames[1:])
        red, *others = np.asarray(open_image(tmp_path / f"x{suffix}"))[3, 4].astype(int)
        assert red > 240 and max(others) < 15, suffix


def test_what_is_no_picture_is_left_to_other_programs(tmp_path):
    for end in (".eps", ".ps", ".pdf", ".mpg", ".mp4", ".svg", ".h5", ".wmf", ".txt", ".ttf"):
        assert end not in suffixes(), end
    assert not set(formats()) & APART
    Image.fromarray(RED).save(tmp_path / "x.eps")
    (tmp_path / "x.eps").rename(tmp_path / "x.jpg")
    with pytest.raises(DataError, match=r"x\.jpg cannot be read \(cannot identify image file"):
        open_image(tmp_path / "x.jpg")


def test_heic_is_read_or_says_what_to_install(tmp_path):
    path = tmp_path / "x.heic"
    if importlib.util.find_spec("pillow_heif"):
        formats()
        found = saved(path, Image.fromarray(RED), quality=-1)
        assert abs(found.astype(int) - RED[0, 0]).max() <= 4
    else:
        path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
        with pytest.raises(DataError, match=r"x\.heic.*HEIC needs pillow-heif: pip install"):
            open_image(path)
    Image.fromarray(RED).save(path, "JPEG")  # a wrong suffix hides nothing
    assert open_image(path).size == (96, 64)


# EXIF


def turned(number: int) -> Image.Image:
    """RAMP as a camera stores it that writes this orientation."""
    inverse = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    image = Image.fromarray(RAMP)
    return image if number == 1 else image.transpose(inverse.get(number, TURNS.get(number)))


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
def test_every_orientation_is_applied_once(suffix, number, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = number
    options = {".webp": {"lossless": True}, ".jpg": {"quality": 100}}.get(suffix, {})
    found = saved(tmp_path / f"x{suffix}", turned(number), exif=exif, **options)
    assert found.shape == (64, 96, 3)
    assert abs(found.astype(int) - grey3(RAMP)).max() <= (3 if suffix == ".jpg" else 0)
    again = decode(decode(Image.open(tmp_path / f"x{suffix}")))
    np.testing.assert_array_equal(np.asarray(again), found)


def tiff_entry(tag: int, kind: int, count: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")


def exif_of(*entries: bytes, after: bytes = b"\0\0\0\0") -> bytes:
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + after


SIX = tiff_entry(274, 3, 1, b"\x06")
ODD_EXIF = {  # bytes, and whether the orientation in it can be read
    "upright": (exif_of(tiff_entry(274, 3, 1, b"\x01")), False),
    "lying": (exif_of(SIX), True),
    "orientation as text": (exif_of(tiff_entry(274, 2, 2, b"6\0")), False),
    "orientation 0": (exif_of(tiff_entry(274, 3, 1, b"\0")), False),
    "orientation 9": (exif_of(tiff_entry(274, 3, 1, b"\x09")), False),
    "orientation 65535": (exif_of(tiff_entry(274, 3, 1, b"\xff\xff")), False),
    "orientation as bytes": (exif_of(tiff_entry(274, 7, 4, b"\x06\0\0\0")), False),
    "two orientations": (exif_of(tiff_entry(274, 3, 2, b"\x06\0\x03\0")), None),
    "orientation of no known type": (exif_of(tiff_entry(274, 99, 1, b"\x06")), False),
    "orientation outside the file": (
        exif_of(tiff_entry(274, 3, 9, struct.pack("<I", 999_999))),
        False,
    ),
    "resolution over 0": (
        exif_of(SIX, tiff_entry(282, 5, 1, b"\x26"), after=b"\0" * 4 + struct.pack("<II", 72, 0)),
        True,
    ),
    "camera data is its own parent": (exif_of(SIX, tiff_entry(34665, 4, 1, b"\x08")), True),
    "place is a number": (exif_of(SIX, tiff_entry(34853, 3, 1, b"\x07")), True),
    "place outside the file": (
        exif_of(SIX, tiff_entry(34853, 4, 1, struct.pack("<I", 999_999))),
        True,
    ),
    "more entries announced than there are": (
        b"Exif\0\0II*\0\x08\0\0\0\x09\0" + SIX,
        None,
    ),
    "cut in the first entry": (exif_of(SIX)[:20], False),
    "no header": (b"Exif\0\0", False),
    "not EXIF": (b"Exif\0\0hello, this is no EXIF at all", False),
    "next part is this part": (exif_of(SIX, after=b"\x08\0\0\0"), True),
}


@pytest.mark.parametrize("kind", ODD_EXIF)
def test_odd_exif_stops_no_picture(kind, tmp_path):
    content, turns = ODD_EXIF[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow tells what is wrong in EXIF, without a name
        found = saved(tmp_path / "x.jpg", Image.fromarray(RAMP), exif=content, quality=100)
    assert (
        found.shape[:2]
        in ({True: [(96, 64)], False: [(64, 96)], None: [(64, 96), (96, 64)]})[turns]
    )
    upright = found if found.shape[0] == 64 else np.rot90(found)
    assert abs(upright.astype(int) - grey3(RAMP)).max() <= 3


# What cannot be read: one error, which names the file


def huge(path: Path) -> None:
    head = struct.pack(">IIBBBBB", 15_000, 15_000, 1, 0, 0, 0, 0)
    body = b"IHDR" + head
    path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\r" + body + struct.pack(">I", zlib.crc32(body)))


def damaged(suffix: str, keep: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        buffer = io.BytesIO()
        kind = Image.registered_extensions()[suffix]
        pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
        Image.fromarray(pixels).save(buffer, kind)
        path.write_bytes(buffer.getvalue()[: int(keep * buffer.tell())])

    return write


def flipped_checksum(path: Path) -> None:
    rows = RAMP.copy()
    png(path, 8, 0, rows)
    content = bytearray(path.read_bytes())
    content[50] ^= 0xFF  # in the compressed pixels
    path.write_bytes(bytes(content))


Image.init()
UNREADABLE: dict[str, Callable[[Path], object]] = {
    "absent": lambda path: None,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("<html>not found</html>"),
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "a dangling link": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "225 megapixels": huge,
    "damaged PNG": flipped_checksum,
    "colour tables missing": lambda path: path.write_bytes(b"GIF89a\x10\0\x10\0\x80\0\0"),
    **{
        f"{keep:.0%} of {suffix}": damaged(suffix, keep)
        for suffix in (".jpg", ".png", ".gif", ".bmp", ".tif", ".webp", ".jp2", ".tga", ".ppm")
        for keep in (0.02, 0.5)
    },
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_cannot_be_read_is_named(kind, tmp_path):
    path = tmp_path / "my photo.jpg"
    UNREADABLE[kind](path)
    for function in (open_image, open_mask):
        with pytest.raises(DataError, match=r"my photo\.jpg cannot be read \(.+\): replace") as got:
            function(path)
        assert len(str(got.value).splitlines()) == 1


@pytest.mark.parametrize(
    "error",
    [
        *(struct.error("unpack"), TypeError("no"), SyntaxError("broken"), zlib.error("-3")),
        *(RecursionError("deep"), MemoryError(), IndexError("i"), KeyError("k"), EOFError()),
        *(AssertionError(), OverflowError("size"), NotImplementedError("mode")),
        Image.DecompressionBombWarning("large"),
    ],
)
def test_whatever_pillow_raises_is_one_error(error, tmp_path, monkeypatch):
    path = save_image(tmp_path / "x.jpg", seed=0)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(DataError, match=r"x\.jpg cannot be read \(\S.*\): replace"):
        open_image(path)


def test_an_interruption_is_not_taken_for_a_bad_picture(tmp_path, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    path = save_image(tmp_path / "x.jpg", seed=0)
    monkeypatch.setattr(Image.Image, "convert", interrupt)
    with pytest.raises(KeyboardInterrupt):
        open_image(path)


def test_an_image_in_memory_that_is_cut_off_is_refused(tmp_path):
    damaged(".jpg", 0.5)(tmp_path / "x.jpg")
    with pytest.raises(Unreadable, match="truncated"):
        decode(Image.open(tmp_path / "x.jpg"))


# What must never change: ordinary photographs


def before(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "P", "1"])
@pytest.mark.parametrize("orientation", [None, 1, 6])
def test_ordinary_pictures_have_pillow_s_own_pixels(mode, orientation, tmp_path):
    exif = Image.Exif()
    if orientation:
        exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / ("x.png" if mode in "P1" else "x.jpg")
    pixels = np.random.default_rng(1).integers(0, 255, (64, 96, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, exif=exif)
    np.testing.assert_array_equal(np.asarray(open_image(path)), before(path))


@pytest.mark.parametrize("name", ["cub100", "leeds_butterfly"])
def test_real_photographs_have_pillow_s_own_pixels(name, shared_data):
    root = Path(shared_data(name))
    photographs = sorted(p for p in root.rglob("*") if p.suffix in (".jpg", ".png"))[::97]
    for path in photographs:
        np.testing.assert_array_equal(np.asarray(open_image(path)), before(path))


@pytest.mark.skipif(not (SHARED / "cases").is_dir(), reason="no cases beside the repository")
def test_the_cases_beside_the_repository():
    cases = SHARED / "cases"
    for one, other in [
        ("deep/same-16bit.png", "deep/same-8bit.png"),
        ("alpha/hidden-black.png", "alpha/on-white.png"),
    ]:
        first, second = (np.asarray(open_image(cases / name)) for name in (one, other))
        np.testing.assert_array_equal(first, second)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in [*(cases / "exif").iterdir(), *(cases / "formats").iterdir()]:
            assert open_image(path).mode == "RGB"
    with pytest.raises(DataError, match=r"225-megapixel\.png cannot be read"):
        open_image(cases / "huge/225-megapixel.png")
