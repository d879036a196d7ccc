"""Text is UTF-8 on every machine: whoever opens a text file says so.

pandas reads and writes UTF-8 unless told otherwise. Python's own functions take the encoding of the
locale, which on Windows lacks the Greek, the Chinese and the ✓ of these files.
"""

import ast
import os
import subprocess
import sys

import pytest
from conftest import ROOT

# Its syntax tree is the identity of the beetles; what it writes is ASCII.
DRAWING = ROOT / "fdhmfe" / "data" / "toy" / "species.py"
FILES = [p for folder in ("fdhmfe", "tools") for p in sorted((ROOT / folder).rglob("*.py"))]
TEXT = {"open": 3, "fdopen": 3, "read_text": 0, "write_text": 1, "TextIOWrapper": 1}  # its position


def without_encoding(source: str) -> list[str]:
    """Calls that open a text file, or read a program's words, in the encoding of the locale."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        of_module = isinstance(node.func, ast.Attribute)
        name = node.func.attr if of_module else getattr(node.func, "id", "")
        named = {word.arg: word.value for word in node.keywords}
        if "encoding" in named:
            continue
        program = name in ("run", "Popen", "check_output") and "text" in named
        file = name in TEXT and len(node.args) <= TEXT[name] and not binary(node, name, of_module)
        if program or file:
            found.append(f"{name}, line {node.lineno}")
    return found


def binary(node: ast.Call, name: str, of_module: bool) -> bool:
    """Whether an `open` is of bytes; Image.open, tarfile.open and others have their own modes."""
    if name not in ("open", "fdopen"):
        return False
    if any(word.arg == "force_zip64" for word in node.keywords):  # of a zip: always bytes
        return True
    modes = [*node.args[0 if of_module else 1 :], *(k.value for k in node.keywords)]
    constants = [n for mode in modes for n in ast.walk(mode) if isinstance(n, ast.Constant)]
    texts = [constant.value for constant in constants if isinstance(constant.value, str)]
    plain = any(set(text) <= set("rwaxt+") and text for text in texts)
    return not plain if of_module else any("b" in text for text in texts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_text_files_are_opened_as_utf_8(path):
    if path != DRAWING:
        assert without_encoding(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("open(p)", True),
        ("open(p, 'a', buffering=1)", True),
        ("open(p, 'rb')", False),
        ("open(p, mode='wb')", False),
        ("open(p, 'ab' if more else 'wb')", False),
        ("open(p, encoding='utf-8')", False),
        ("p.open('w')", True),
        ("Image.open(p)", False),
        ("tarfile.open(p, 'r:gz')", False),
        ("p.read_text()", True),
        ("p.read_text('utf-8')", False),
        ("p.write_text(t)", True),
        ("p.write_text(t, 'utf-8')", False),
        ("p.write_text(t, encoding='utf-8')", False),
        ("run(c, text=True)", True),
        ("run(c, text=True, encoding='utf-8')", False),
        ("pd.read_csv(p)", False),
    ],
)
def test_the_search_for_such_calls(source, found):
    assert bool(without_encoding(source)) == found


@pytest.mark.parametrize("words", [["check", "Vögel ✓"], ["no-command-✓"]])
def test_a_locale_that_lacks_a_letter_stops_no_command(words, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "fdhmfe", *words],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
        **dict(cwd=tmp_path, capture_output=True, text=True, encoding="ascii"),
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "?" in done.stderr + done.stdout
