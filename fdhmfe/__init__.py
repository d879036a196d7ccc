"""FDH-MFE: fine-grained deep hashing with multi-level features, and a kit to reproduce it.

    net = fdhmfe.FDHMFE(channels=[192, 576, 1280], classes=200, bits=48)
    loss = fdhmfe.FDHMFELoss(triplet_weight=0.5)
    total, terms = loss(net(maps), labels)  # maps: L tensors (B, C_l, H_l, W_l)
    fdhmfe.metrics.mean_average_precision(query, database, query_labels, database_labels)
    codes = fdhmfe.open_run("results/quick/runs/...").encode(["a.jpg", "b.jpg"])  # (2, 48) int8
    codes = fdhmfe.from_pretrained("toy").encode(["a.jpg", "b.jpg"])  # a model that was shared

Each name is imported when it is first used, so `import fdhmfe` itself takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fdhmfe import metrics, proxies
    from fdhmfe.encoding.trained import from_pretrained, open_run
    from fdhmfe.losses import FDHMFELoss
    from fdhmfe.network import FDHMFE

__version__ = "0.1.0"
__all__ = [
    "FDHMFE",
    "FDHMFELoss",
    "__version__",
    "from_pretrained",
    "metrics",
    "open_run",
    "proxies",
]


def __getattr__(name: str) -> Any:
    homes = {"FDHMFE": "network", "FDHMFELoss": "losses"}
    homes |= dict.fromkeys(("from_pretrained", "open_run"), "encoding.trained")
    if name in homes:
        return getattr(import_module(f"fdhmfe.{homes[name]}"), name)
    if name in ("metrics", "proxies"):
        return import_module(f"fdhmfe.{name}")
    raise AttributeError(f"module 'fdhmfe' has no attribute {name!r}")
