"""What a file is that should be another, told from its first bytes.

A server that wants a login, or cannot be reached, often sends a page in place of a file.
"""

import codecs
import re

HEAD = 4096  # bytes that are looked at
SHOWN = 60  # characters


def described(head: bytes) -> str:
    """What a file is that begins with `head`, if a person can read it; else the empty string.

    >>> described(b"<html><title>Log in</title>"), described(b"Not found"), described(b"")
    ('a web page titled "Log in"', 'text that begins "Not found"', 'empty')
    >>> described(bytes([31, 139, 8, 0]))
    ''
    """
    if not head:
        return "empty"
    text = as_text(head[:HEAD])
    if re.search(r"<(!doctype html|html|head|body)\b", text, re.IGNORECASE):
        title = re.search(r"<title[^>]*>(.*?)</title", text, re.IGNORECASE | re.DOTALL)
        return f'a web page titled "{words(title[1])}"' if title else "a web page"
    return f'text that begins "{words(text)}"' if text else ""


def as_text(head: bytes) -> str:
    """The bytes as text, of which the last character may be cut; empty if they are no text."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        text = head.decode("latin-1") if head.lstrip()[:1] == b"<" else ""  # an old page
    controls = any(character < " " and not character.isspace() for character in text)
    return "" if controls else text


def words(text: str) -> str:
    """The first words, on one line."""
    return " ".join(text.split())[:SHOWN]
