"""The settings of a run, profiles that set several at once, and the names to choose from."""

from fdhmfe.config.methods import Composition
from fdhmfe.config.settings import load

__all__ = ["Composition", "load"]
