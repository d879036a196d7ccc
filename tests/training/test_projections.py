"""Coders fitted in closed form: centred, orthogonal where they should be, better for rotating."""

import pytest
import torch
from torch import Tensor

from fdhmfe.network import Output
from fdhmfe.training.coders import ITQ, RandomProjection, learn_rotation


def features(count: int = 200, channels: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([5.0, 3.0, 1.0, 0.5, 0.2, 0.1])[:channels]
    return torch.randn(count, channels, generator=generator) * spread + 7


def codes(coder: RandomProjection, x: Tensor) -> Tensor:
    return coder(Output(torch.zeros(0), features=x))


def fit(coder: RandomProjection, x: Tensor) -> None:
    coder.fit(x, torch.zeros(len(x)), None)


def distortion(u: Tensor) -> float:
    return float((torch.where(u >= 0, 1.0, -1.0) - u).square().sum())


def test_random_projection_by_hand():
    coder = RandomProjection([2], 3)
    coder.projection.copy_(torch.tensor([[1.0, 0, 1], [0, 1, -1]]))
    x = torch.tensor([[1.0, 2], [3, 6]])
    fit(coder, x)
    torch.testing.assert_close(codes(coder, x), torch.tensor([[-1.0, -2, 1], [1, 2, -1]]))


def test_random_half_spaces_keep_angles():
    # P(bit differs) = angle / pi (Charikar 2002): a right angle, half of the bits
    torch.manual_seed(0)
    coder = RandomProjection([2], 4000)
    signs = codes(coder, torch.tensor([[1.0, 0], [0, 1], [1, 1]])) > 0
    assert (signs[0] != signs[1]).float().mean().item() == pytest.approx(1 / 2, abs=0.03)
    assert (signs[0] != signs[2]).float().mean().item() == pytest.approx(1 / 4, abs=0.03)


def test_itq_is_a_rotation_of_the_principal_directions():
    x = features()
    coder = ITQ([6], 3)
    fit(coder, x)
    w = coder.projection
    torch.testing.assert_close(w.T @ w, torch.eye(3), atol=1e-5, rtol=0)
    _, _, vt = torch.linalg.svd(x - x.mean(0))
    kept = (vt[:3] @ w).square().sum()  # 3 if both span the same space
    assert kept.item() == pytest.approx(3, abs=1e-4)
    torch.testing.assert_close(codes(coder, x).mean(0), torch.zeros(3), atol=1e-4, rtol=0)


def test_learned_rotation_finds_the_axes_of_rotated_codes():
    generator = torch.Generator().manual_seed(0)
    true = torch.where(torch.rand(300, 3, generator=generator) < 0.5, -1.0, 1.0)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator)).Q
    rotation = learn_rotation(true @ turn, torch.eye(3))
    torch.testing.assert_close(rotation.T @ rotation, torch.eye(3), atol=1e-5, rtol=0)
    assert distortion(true @ turn @ rotation) < 1e-6 * distortion(true @ turn)


def test_each_round_of_rotation_lowers_the_distortion():
    x = features() - 7
    losses = [distortion(x @ learn_rotation(x, torch.eye(6), rounds)) for rounds in range(6)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def test_itq_refuses_more_bits_than_channels():
    with pytest.raises(ValueError, match="12 bits from 6 channels"):
        ITQ([6], 12)
