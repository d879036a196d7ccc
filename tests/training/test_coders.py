"""Coders by hand."""

import numpy as np
import pytest
import torch

from fdhmfe.network import Output
from fdhmfe.training.coders import (
    ClassMixture,
    RandomProjection,
    ReadOut,
    Sign,
    procrustes,
    whitening,
)

PROXIES = torch.tensor([[1.0, 1.0, -1.0], [1.0, -1.0, 1.0]])


def test_the_plain_coder_hands_u_on():
    u = torch.tensor([[-1.0, 2.0, 3.0]])
    assert torch.equal(Sign()(Output(u)), u)


def test_the_read_out_is_the_mean_proxy_by_class_probability():
    logits = torch.tensor([[[2.0, 0.0]], [[0.0, 2.0]]])  # two experts of two minds: even odds
    output = Output(torch.tensor([[-1.0, 2.0, 3.0]]), PROXIES, class_logits=logits)
    torch.testing.assert_close(ReadOut()(output), torch.tensor([[1.0, 0.0, 0.0]]))


def test_without_class_logits_the_read_out_asks_the_proxies():
    # cosines of u with the proxies: 1 and -1/3; times 3: 3 and -1; odds e^4 to 1
    output = Output(2 * PROXIES[:1], PROXIES)
    share = 1 / (1 + np.exp(-4))
    expected = torch.tensor([[1.0, 2 * share - 1, 1 - 2 * share]], dtype=torch.float32)
    torch.testing.assert_close(ReadOut(scale=3.0)(output), expected)


def test_the_read_out_leaves_logits_aside_that_nothing_has_trained():
    idle = Output(2 * PROXIES[:1], PROXIES, class_logits=torch.tensor([[[0.0, 9.0]]]))
    found = ReadOut(teaches_classes=False)(idle)
    torch.testing.assert_close(found, ReadOut()(Output(idle.u, PROXIES)))


def test_the_read_out_needs_proxies():
    with pytest.raises(ValueError, match="needs a network with proxies"):
        ReadOut()(Output(torch.ones(1, 3)))


def test_a_coder_of_features_refuses_a_network_without():
    with pytest.raises(ValueError, match="needs a network with features"):
        RandomProjection(channels=[2], bits=2)(Output(torch.zeros(1, 2)))


def test_whitening_makes_what_varies_within_classes_vary_alike():
    # about the class means: (1, 0), (-1, 0), (0, 3), (0, -3); so S = diag(1/2, 9/2) before scaling
    within = torch.tensor([[1.0, 0.0], [-1, 0], [0, 3], [0, -3]])
    labels = torch.tensor([0, 0, 1, 1])
    features = within + torch.tensor([[5.0, 5.0], [-5, -5]])[labels]
    turned = within @ whitening(features, labels, shrinkage=0.0)
    torch.testing.assert_close(turned.T @ turned / 4, torch.eye(2), rtol=1e-4, atol=1e-4)
    shrunk = whitening(features, labels, shrinkage=1.0)  # only standardised, all alike
    scaled = torch.eye(2) / features.std(0)
    torch.testing.assert_close(shrunk / shrunk[0, 0], scaled / scaled[0, 0], rtol=1e-4, atol=1e-4)


def test_procrustes_finds_the_rotation():
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0))).Q
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(procrustes(x, x @ turn), turn, rtol=1e-4, atol=1e-4)


def mixture(**given) -> tuple[ClassMixture, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A coder fitted to four classes far apart, with its features, labels and proxies."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 4
    centres = 4 * torch.randn(4, 6, generator=generator)
    features = centres[labels] + torch.randn(40, 6, generator=generator)
    proxies = torch.tensor([[1.0, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [-1, 1, 1, -1]])
    coder = ClassMixture([2, 4], classes=4, bits=4, **given)
    coder.fit(features, labels, proxies)
    return coder, features, labels, proxies


def test_the_mixture_code_of_a_class_is_near_its_proxy():
    coder, features, labels, proxies = mixture(rounds=0)
    code = coder(Output(torch.zeros(0), features=features)).sign()
    nearest = (code @ proxies.T).argmax(1)
    assert (nearest == labels).float().mean() > 0.9
    assert coder.posterior(features).argmax(1).tolist() == labels.tolist()
    torch.testing.assert_close(coder.posterior(features).sum(1), torch.ones(40))


def test_mixtures_are_centred_over_the_training_images_and_of_unit_length():
    coder, features, *_ = mixture()
    torch.testing.assert_close(coder.posterior(features).mean(0), coder.prior)
    torch.testing.assert_close(coder.mixture(features).norm(dim=1), torch.ones(40))


def test_rounds_of_rotation_bring_mixtures_nearer_to_their_signs():
    def distortion(rounds: int) -> float:
        coder, features, *_ = mixture(rounds=rounds)
        u = coder(Output(torch.zeros(0), features=features))
        return float((u.sign() - u).square().mean())

    assert distortion(50) <= distortion(5) <= distortion(0)
