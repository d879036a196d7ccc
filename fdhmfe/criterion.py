"""What the training loop asks of a loss."""

from typing import Any, NamedTuple

from torch import Tensor, nn


class Batch(NamedTuple):
    """What a criterion may know of a batch beside the network's output."""

    labels: Tensor  # (B,)
    index: Tensor  # (B,) places of the images among the M training images
    progress: float  # share of the training done, 0..1


class Criterion(nn.Module):
    """A training loss: forward(output, batch) -> (total, parts). Buffers are checkpointed.

    output: what the network returned, most often an `Output`.
    """

    def forward(self, output: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        raise NotImplementedError

    def end_epoch(self) -> None:
        """Called after each epoch; methods that alternate between two problems override it."""

    def database_codes(self) -> Tensor | None:
        """Codes (M, K) int8 of the training images that were solved from their labels, if any."""
        return None
