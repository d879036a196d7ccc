"""Code is known by what it does: not by its comments, places, imports or the order of its parts."""

from pathlib import Path

import pytest

from fdhmfe.support.identity import code_identity

PLAIN = """
from fdhmfe.losses import proxy_loss

SCALE = 8.0

class Loss:
    def forward(self, x):
        return SCALE * proxy_loss(x)

def two(x):
    import math
    return math.sqrt(x)
"""
SAME = {
    "a comment": PLAIN.replace("SCALE = 8.0", "SCALE = 8.0  # of the softmax"),
    "a docstring": PLAIN.replace("def two(x):", "def two(x):\n    'The root.'"),
    "a docstring of a class": PLAIN.replace("class Loss:", "class Loss:\n    'A loss.'"),
    "a docstring of the module": f"'What this is.'\n{PLAIN}",
    "another layout": PLAIN.replace("SCALE * proxy_loss(x)", "(\n SCALE\n * proxy_loss(x)\n)"),
    "another place of what is imported": PLAIN.replace("fdhmfe.losses", "fdhmfe.method.losses"),
    "the module imported": PLAIN.replace(
        "from fdhmfe.losses import proxy_loss", "from fdhmfe import losses as formulas"
    ).replace("proxy_loss(x)", "formulas.proxy_loss(x)"),
    "another name for what is imported": PLAIN.replace(
        "import proxy_loss", "import proxy_loss as loss"
    ).replace("proxy_loss(x)", "loss(x)"),
    "an import inside": PLAIN.replace("    import math\n", "").replace(
        "\nSCALE", "import math\nSCALE"
    ),
}
OTHER = {
    "a number": PLAIN.replace("8.0", "8.5"),
    "an operator": PLAIN.replace("SCALE *", "SCALE +"),
    "a name": PLAIN.replace("def two", "def root"),
    "another function called": PLAIN.replace("proxy_loss", "balance_loss"),
    "a text": PLAIN.replace("return math.sqrt(x)", "return 'sqrt'"),
    "a default": PLAIN.replace("def two(x)", "def two(x=1)"),
}


def identity(folder: Path, **files: str) -> str:
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return code_identity([folder])


@pytest.mark.parametrize("change", SAME)
def test_what_changes_no_result_changes_no_identity(tmp_path, change):
    assert SAME[change] != PLAIN
    assert identity(tmp_path / "one", a=PLAIN) == identity(tmp_path / "other", a=SAME[change])


@pytest.mark.parametrize("change", OTHER)
def test_what_may_change_a_result_changes_it(tmp_path, change):
    assert OTHER[change] != PLAIN
    assert identity(tmp_path / "one", a=PLAIN) != identity(tmp_path / "other", a=OTHER[change])


def test_definitions_may_move_between_files(tmp_path):
    loss, two = PLAIN.split("\ndef two")
    one = identity(tmp_path / "one", a=PLAIN)
    assert identity(tmp_path / "two", b=loss, c=f"def two{two}") == one
    assert code_identity([tmp_path / "two" / "c.py", tmp_path / "two" / "b.py"]) == one


def test_no_code_has_no_identity(tmp_path):
    (tmp_path / "notes.txt").write_text("def f(): pass")
    for place in (tmp_path, tmp_path / "absent.py", tmp_path / "absent"):
        with pytest.raises(ValueError, match="holds no Python file"):
            code_identity([place])
