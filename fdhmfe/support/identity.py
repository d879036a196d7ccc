"""Identify code by what it does: comments, docstrings, imports and file names do not count.

Results and weights are named by the code that made them. A new comment, a moved file or another
order of definitions must not make them look stale.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGE = "fdhmfe"
Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def code_identity(places: Iterable[Path]) -> str:
    """A short hexadecimal name (16 characters) for the code in files and folders.

    It is made from the syntax trees of all top-level statements, without docstrings, comments,
    imports, positions and module names. Raises ValueError for a place that holds no Python file:
    an empty set of code has no identity.
    """
    statements: list[str] = []
    for place in places:
        files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
        if not files or not all(file.is_file() for file in files):
            raise ValueError(f"{place} holds no Python file: there is no code to identify")
        for file in files:
            statements += outlines(file.read_text(encoding="utf-8"))
    return hashlib.sha256("\n".join(sorted(statements)).encode()).hexdigest()[:16]


def outlines(source: str) -> Iterator[str]:
    """One text per top-level statement of a module, without comments, docstrings and imports.

    >>> list(outlines("x = 1")) == list(outlines("import math\\nx = (1)  # one"))
    True
    """
    tree = ast.parse(source)
    found = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    own = (node for node in found if (node.module or "").split(".")[0] == PACKAGE)
    # From this package: name in the module -> name where it is defined
    imported = {alias.asname or alias.name: alias.name for node in own for alias in node.names}
    return (outline(node, imported) for node in without_words(tree))


def without_words(node: Definition) -> list[ast.stmt]:
    """The statements of a module, class or function, without its docstring and imports."""
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    return [each for each in body if not isinstance(each, ast.Import | ast.ImportFrom)]


def outline(value: object, imported: dict[str, str]) -> str:
    """A syntax tree as text. Empty fields are left out: new versions of Python add some."""
    if isinstance(value, list):
        return f"[{','.join(outline(each, imported) for each in value)}]"
    if isinstance(value, ast.Name):
        return f"Name({imported.get(value.id, value.id)})"
    if isinstance(value, ast.Attribute) and getattr(value.value, "id", None) in imported:
        return f"Name({value.attr})"  # losses.proxy_loss, or proxy_loss: the same function
    if not isinstance(value, ast.AST):
        return repr(value)
    fields = dict(ast.iter_fields(value))
    if isinstance(value, Definition):
        fields["body"] = without_words(value)
    kept = (f"{k}={outline(v, imported)}" for k, v in fields.items() if v not in (None, []))
    return f"{type(value).__name__}({','.join(kept)})"
