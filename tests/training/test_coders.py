"""Coders by hand."""

import numpy as np
import pytest
import torch

from fdhmfe.network import Output
from fdhmfe.training.coders import RandomProjection, ReadOut, Sign, TwoPart

PROXIES = torch.tensor([[1.0, 1.0, -1.0], [1.0, -1.0, 1.0]])


def test_the_plain_coder_hands_u_on():
    u = torch.tensor([[-1.0, 2.0, 3.0]])
    assert torch.equal(Sign(3)(Output(u)), u)


def test_the_read_out_is_the_mean_proxy_by_class_probability():
    logits = torch.tensor([[[2.0, 0.0]], [[0.0, 2.0]]])  # two experts of two minds: even odds
    output = Output(torch.tensor([[-1.0, 2.0, 3.0]]), PROXIES, class_logits=logits)
    torch.testing.assert_close(ReadOut(3)(output), torch.tensor([[1.0, 0.0, 0.0]]))


def test_without_class_logits_the_read_out_asks_the_proxies():
    # cosines of u with the proxies: 1 and -1/3; times 3: 3 and -1; odds e^4 to 1
    output = Output(2 * PROXIES[:1], PROXIES)
    share = 1 / (1 + np.exp(-4))
    expected = torch.tensor([[1.0, 2 * share - 1, 1 - 2 * share]], dtype=torch.float32)
    torch.testing.assert_close(ReadOut(3, scale=3.0)(output), expected)


def test_the_read_out_needs_proxies():
    with pytest.raises(ValueError, match="needs a network with proxies"):
        ReadOut(3)(Output(torch.ones(1, 3)))


def test_a_coder_of_features_refuses_a_network_without():
    with pytest.raises(ValueError, match="needs a network with features"):
        RandomProjection(channels=[2], bits=2)(Output(torch.zeros(1, 2)))


def test_a_code_in_two_parts_is_u_and_then_the_features():
    coder = TwoPart(channels=[4], bits=12, feature_share=1 / 3)
    assert (coder.network_bits, coder.needs) == (8, ("features",))
    features = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    coder.fit(torch.zeros(50), features=features)
    output = Output(torch.randn(50, 8), features=features)
    code = coder(output)
    assert torch.equal(code[:, :8], output.u)
    assert torch.equal(code[:, 8:], coder.second(output))
    assert code.shape == (50, 12)


def test_without_a_share_for_the_features_the_code_is_u():
    coder, u = TwoPart(channels=[4], bits=12, feature_share=0.0), torch.randn(2, 12)
    assert (coder.network_bits, coder.needs) == (12, ())
    assert torch.equal(coder(Output(u)), u)
