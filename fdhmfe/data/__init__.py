"""Data sets through one door, readers of official layouts, archives from the internet."""

from fdhmfe.support.lazy import handed_on

NAMES = {
    "COLUMNS": "fdhmfe.data.dataset",
    "DataError": "fdhmfe.data.dataset",
    "Dataset": "fdhmfe.data.dataset",
    "open_dataset": "fdhmfe.data.door",
    "open_image": "fdhmfe.data.dataset",
    "open_mask": "fdhmfe.data.dataset",
}
__all__ = list(NAMES)
__getattr__ = handed_on(__name__, NAMES)
