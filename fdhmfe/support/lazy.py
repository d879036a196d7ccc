"""Rooms hand names on without importing what stands behind them before it is asked for."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def handed_on(package: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package (PEP 562): names -> the modules that define them.

    The module itself is handed on where its last part is the name.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(names[name])
        return module if names[name].endswith(f".{name}") else getattr(module, name)

    return get
