"""Settings of a run, profiles of settings, and what can be chosen."""

from fdhmfe.config.methods import CLOSED_FORM, CODERS, METHODS, NETWORKS, OBJECTIVES, Composition
from fdhmfe.config.profiles import (
    BITS,
    DATASETS,
    NEEDS,
    OFF,
    PLAIN,
    PROFILES,
    SEEDS,
    TABLE_METHODS,
    TUNED,
    VARIANTS,
    only,
    table_seeds,
    tuning,
)
from fdhmfe.config.settings import Config, check_type, load, meanings

__all__ = [
    "BITS",
    "CLOSED_FORM",
    "CODERS",
    "DATASETS",
    "METHODS",
    "NEEDS",
    "NETWORKS",
    "OBJECTIVES",
    "OFF",
    "PLAIN",
    "PROFILES",
    "SEEDS",
    "TABLE_METHODS",
    "TUNED",
    "VARIANTS",
    "Composition",
    "Config",
    "check_type",
    "load",
    "meanings",
    "only",
    "table_seeds",
    "tuning",
]
