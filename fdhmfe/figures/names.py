"""Class names in figures: any script and any sign, as text, and never as empty boxes.

A class is often called what its folder is called. Its name may hold $, which begins a formula in
matplotlib, or letters that matplotlib's own font lacks; and it may be long.
"""

import re
import unicodedata
from functools import cache
from pathlib import Path

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

OWN = "DejaVu Sans"  # comes with matplotlib
NO_LETTERS = ("last resort", "lastresort", "color")  # fonts of boxes, and of pictures


def readable(name: str) -> str:
    """A class name for readers: 001.Black_footed_Albatross becomes Black footed Albatross."""
    return " ".join(re.sub(r"^\d+\.(?=\D)", "", name).replace("_", " ").split()) or name


def shown(name: str, longest: int = 28, line: int = 0) -> str:
    """A class name as a figure can draw it: see `exact`."""
    return exact(readable(name), longest, line)


def exact(name: str, longest: int = 28, line: int = 0) -> str:
    """A name, letter by letter, as a figure can draw it; a letter that no font has is spelled out.

    A name wider than `longest` letters loses its middle. line: break into lines of about so many.
    """
    text = shortened([char if font_of(char) else spelled(char) for char in name], longest)
    text = in_lines(text, line) if line else text
    return text.replace("$", r"\$")  # else two of them enclose a formula


def width(text: str) -> int:
    """How many Latin letters are as wide: a Chinese one counts as two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def shortened(pieces: list[str], longest: int) -> str:
    """The pieces joined; if they are too wide, the middle ones become an ellipsis."""
    if width("".join(pieces)) <= longest:
        return "".join(pieces)
    ends: tuple[list[str], list[str]] = [], []
    for end, order in zip(ends, (pieces, pieces[::-1]), strict=True):
        for piece in order:
            if width("".join([*end, piece])) > (longest - 1) // 2:
                break
            end.append(piece)
    return f"{''.join(ends[0]).rstrip()}…{''.join(ends[1][::-1]).lstrip()}"


def in_lines(text: str, line: int) -> str:
    """Break between words; a word that is much wider than a line is cut."""
    lines = [""]
    for word in text.split():
        for part in cut(word, line + 3):
            longer = f"{lines[-1]} {part}".strip()
            if lines[-1] and width(longer) > line:
                lines.append(part)
            else:
                lines[-1] = longer
    return "\n".join(lines)


def cut(word: str, line: int) -> list[str]:
    """A word in parts at most `line` wide."""
    parts = [""]
    for char in word:
        if parts[-1] and width(parts[-1] + char) > line:
            parts.append("")
        parts[-1] += char
    return parts


def spelled(char: str) -> str:
    """A character without a glyph: its Latin letter, the name of a picture, else its number."""
    latin = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
    kind, title = unicodedata.category(char), unicodedata.name(char, "")
    if latin or kind in ("Cc", "Cf", "Mn"):  # joiners and marks only change others
        return latin
    if kind == "So" and len(title) <= 20:
        return f"[{title.lower()}]"
    return f"U+{ord(char):04X}"


@cache
def font_of(char: str) -> str:
    """The family of a font with this character, matplotlib's own if possible; empty if none.

    An installed font becomes known to matplotlib, whose list may be older than the font.
    """
    if char.isspace() or has(font_manager.findfont(OWN), char):
        return OWN
    for path in installed():
        if has(path, char):
            font_manager.fontManager.addfont(path)
            return str(FT2Font(path).family_name)
    return ""


def has(path: str, char: str) -> bool:
    """Whether an upright outline font has a glyph for a character; False if it cannot be read."""
    try:
        font = FT2Font(path)
        plain = font.scalable and not font.style_flags
        named = f"{font.family_name} {Path(path).stem}".lower()
        return bool(
            plain and font.get_char_index(ord(char)) and not any(n in named for n in NO_LETTERS)
        )
    except (OSError, RuntimeError):
        return False


@cache
def installed() -> list[str]:
    """Files of installed fonts, TrueType first: these can be embedded in a PDF as they are."""
    kinds = (".ttf", ".ttc", ".otf")
    files = [f for f in font_manager.findSystemFonts() if Path(f).suffix.lower() in kinds]
    return sorted(files, key=lambda file: (kinds.index(Path(file).suffix.lower()), file))


def make_legible(figure: Figure) -> None:
    """Let each text of a figure use other fonts, where matplotlib's own lacks a letter."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        families = dict.fromkeys(map(font_of, text.get_text()))
        others = [family for family in families if family not in ("", OWN)]
        if others:
            text.set_fontfamily([*text.get_fontfamily(), *others])
