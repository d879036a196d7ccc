"""Settings of a run, profiles of settings, and what can be chosen."""

from fdhmfe.support.lazy import handed_on

NAMES = {
    "BITS": "fdhmfe.config.profiles",
    "CLOSED_FORM": "fdhmfe.config.profiles",
    "Config": "fdhmfe.config.settings",
    "DATASETS": "fdhmfe.config.profiles",
    "METHODS": "fdhmfe.config.profiles",
    "NEEDS": "fdhmfe.config.profiles",
    "OFF": "fdhmfe.config.profiles",
    "PLAIN": "fdhmfe.config.profiles",
    "PROFILES": "fdhmfe.config.profiles",
    "SEEDS": "fdhmfe.config.profiles",
    "TABLE_METHODS": "fdhmfe.config.profiles",
    "TUNED": "fdhmfe.config.profiles",
    "VARIANTS": "fdhmfe.config.profiles",
    "check_type": "fdhmfe.config.settings",
    "load": "fdhmfe.config.settings",
    "meanings": "fdhmfe.config.settings",
    "only": "fdhmfe.config.profiles",
    "table_seeds": "fdhmfe.config.profiles",
    "tuning": "fdhmfe.config.profiles",
}
__all__ = list(NAMES)
__getattr__ = handed_on(__name__, NAMES)
