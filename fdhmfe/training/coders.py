"""Coders turn a network's output for B images into relaxed codes, whose signs are the bits."""

from collections.abc import Callable

from torch import Tensor

from fdhmfe.network import Output

Coder = Callable[[Output], Tensor]  # -> (B, K)


def sign(output: Output) -> Tensor:
    """The plain coder: u (B, K) as it is. The bits are its signs."""
    return output.u


def read_out(output: Output) -> Tensor:
    """Class posterior (B, Y) times proxies (Y, K) -> (B, K). The bits are its signs.

    The posterior is the softmax of the mean of the E class logits. Raises ValueError for an output
    without class logits or without proxies.
    """
    if output.class_logits is None or output.proxies is None:
        raise ValueError("the read-out needs a network with class logits and proxies")
    return output.class_logits.mean(0).softmax(1) @ output.proxies
