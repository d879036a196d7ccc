"""Coders by hand."""

import pytest
import torch

from fdhmfe.network import Output
from fdhmfe.training.coders import read_out, sign


def test_coders_by_hand():
    proxies = torch.tensor([[1.0, 1.0, -1.0], [1.0, -1.0, 1.0]])
    logits = torch.tensor([[[2.0, 0.0]], [[0.0, 2.0]]])  # two experts of two minds: even odds
    output = Output(torch.tensor([[-1.0, 2.0, 3.0]]), proxies, class_logits=logits)
    assert torch.equal(sign(output), output.u)
    torch.testing.assert_close(read_out(output), torch.tensor([[1.0, 0.0, 0.0]]))
    with pytest.raises(ValueError, match="needs a network with class logits"):
        read_out(Output(output.u, proxies))
