"""Settings of a run, profiles of settings, and what can be chosen."""

from fdhmfe.config.methods import Composition
from fdhmfe.config.settings import load

__all__ = ["Composition", "load"]
