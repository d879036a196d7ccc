"""Let a package offer names of other modules, and import each module only when it is used."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def handed_on(package: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package (PEP 562). names: offered name -> module that defines it.

    If the offered name is the last part of the module's name, the module itself is meant.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(names[name])
        return module if names[name].endswith(f".{name}") else getattr(module, name)

    return get
