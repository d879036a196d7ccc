"""Settings of a run as options of a command: their names, meanings and types."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Annotated, Any, TypedDict

from tyro.conf import arg

from fdhmfe.config.settings import CHOICES, TYPES, Config, meanings

TRUTH: Mapping[str, bool] = {"true": True, "false": False}


def settings(names: Iterable[str]) -> Any:
    """The type of a dictionary with these settings as keys, all optional, and text as values."""
    meaning, options = meanings(), {}
    for name in names:
        known = f": {', '.join(filter(None, CHOICES[name]))}" if name in CHOICES else ""
        kind, default = TYPES[name], str(getattr(Config, name)) or "none"
        option = arg(
            help=f"{meaning[name]}{known}",
            metavar="TRUE|FALSE" if kind is bool else kind.__name__.upper(),
            help_behavior_hint=f"(default: {default.lower() if kind is bool else default})",
        )
        options[name] = Annotated[str, option]
    return TypedDict("Settings", options, total=False)  # type: ignore[operator]


def all_but(*names: str) -> Any:
    """All settings but these, as the options of a command."""
    return options(lambda: [name for name in TYPES if name not in names])


def options(names: Callable[[], Iterable[str]]) -> Any:
    """The options of a command for these settings; `names` is called when it is chosen."""
    return arg(name="", constructor_factory=lambda: settings(names()))


def typed(given: Mapping[str, str]) -> dict[str, Any]:
    """Each value in its setting's type. Text that has no such value stays: `load` refuses it."""
    values: dict[str, Any] = dict(given)
    for name, text in given.items():
        with suppress(KeyError, ValueError):
            values[name] = TRUTH[text.lower()] if TYPES[name] is bool else TYPES[name](text)
    return values
