"""The baselines' formulas by hand, against naive loops, and at their optimum."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from fdhmfe.baselines.formulas import (
    bank_pair_loss,
    code_correlation_loss,
    dissimilar_target,
    mean_hellinger,
    part_diversity_loss,
    solve_codes,
    weighted_pair_loss,
)
from fdhmfe.baselines.objectives import CSQLoss, DPNLoss
from fdhmfe.baselines.pairs import DPSHLoss
from fdhmfe.baselines.solved import ADSHLoss
from fdhmfe.losses import Step
from fdhmfe.network import Output

LABELS = torch.tensor([0, 0, 1, 2, 1])
U = torch.tensor([[0.3, -1.2], [0.8, 0.1], [-0.5, 0.9], [0.0, -0.7], [-1.4, 0.2]])
HALF = math.log(3) / 2  # tanh of it is 1/2


def likelihood(theta: float, similar: bool) -> float:
    return math.log(1 + math.exp(theta)) - similar * theta


def dot(a: Tensor, b: Tensor) -> float:
    return sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))


def gradient(loss: Tensor, u: Tensor) -> Tensor:
    (result,) = torch.autograd.grad(loss, u)
    assert torch.isfinite(result).all()
    return result


# Images against class codes


def csq(u: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The two terms of CSQ, where each image is of a class of its own."""
    return CSQLoss()(Output(u, target), torch.arange(len(u)))[1]


def test_central_similarity_by_hand():
    # tanh u = 1/2 and -1/2: probabilities 3/4 and 1/4 of a +1
    u, target = torch.tensor([[HALF, -HALF]]), torch.tensor([[1.0, 1.0]])
    expected = -(math.log(0.75) + math.log(0.25)) / 2
    assert csq(u, target)["centre"].item() == pytest.approx(expected, rel=1e-5)
    assert csq(50 * target, target)["centre"].item() == pytest.approx(0, abs=1e-6)


def test_central_similarity_matches_the_loop_and_survives_large_outputs():
    target = torch.tensor([[1.0, -1], [1, 1], [-1, 1], [-1, -1], [1, -1]])
    total = 0.0
    for x, t in zip(U.flatten().tolist(), target.flatten().tolist(), strict=True):
        p, y = (math.tanh(x) + 1) / 2, (t + 1) / 2
        total -= y * math.log(p) + (1 - y) * math.log(1 - p)
    assert csq(U, target)["centre"].item() == pytest.approx(total / 10, rel=1e-5)
    u = (-500 * target).requires_grad_()
    gradient(csq(u, target)["centre"], u)


def test_saturation_by_hand():
    u = torch.tensor([[50.0, -50], [HALF, -HALF]])  # tanh: 1, -1, 1/2, -1/2
    assert csq(u, u.sign())["quantisation"].item() == pytest.approx((0 + 0 + 0.25 + 0.25) / 4)


def test_polarisation_by_hand():
    # relu(1 - u t): past the margin, on the right side within it, on the wrong side
    u, target = torch.tensor([[2.0, 0.25, 0.5]]), torch.tensor([[1.0, 1, -1]])
    for margin, expected in ((1.0, (0 + 0.75 + 1.5) / 3), (2.0, (0 + 1.75 + 2.5) / 3)):
        loss, _ = DPNLoss(bit_margin=margin)(Output(u, target), torch.tensor([0]))
        assert loss.item() == pytest.approx(expected)


# Pairs of images


def test_bank_pair_loss_matches_the_loop_and_skips_what_was_never_seen():
    bank = torch.tensor([[1.0, 2], [0, 0], [-1, 0.5], [0.3, 0]])
    similar = torch.tensor([[True, True, False, False], [False, True, True, False]])
    u = U[:2].clone().requires_grad_()
    terms = [
        likelihood(dot(u[i], bank[j]) / 2, bool(similar[i, j])) for i in (0, 1) for j in (0, 2, 3)
    ]
    loss = bank_pair_loss(u, bank, similar)
    assert loss.item() == pytest.approx(sum(terms) / 6, rel=1e-5)
    pull = -gradient(loss, u)
    assert pull[0] @ bank[0] > pull[0] @ bank[2]


def test_sign_distance_by_hand():
    u = torch.tensor([[0.0, -2.0, 1.0]])  # signs +1, -1, +1
    _, terms = DPSHLoss(torch.tensor([0]), 3)(
        Output(u), torch.tensor([0]), Step(torch.tensor([0]), 0.0)
    )
    assert terms["quantisation"].item() == pytest.approx((1 + 1 + 0) / 3)


def test_weighted_pairs_match_the_weighted_sum_of_the_paper():
    bank = torch.cat([0.5 * U[:4], torch.zeros(1, 2)])  # image 4 was never seen
    pairs = list(itertools.product(range(1, 4), range(4)))
    similar = [bool(LABELS[i] == LABELS[j]) for i, j in pairs]
    weight = {True: len(pairs) / sum(similar), False: len(pairs) / (len(pairs) - sum(similar))}
    total = 0.0
    for (i, j), s in zip(pairs, similar, strict=True):
        total += weight[s] * likelihood(0.7 * dot(U[i], bank[j]), s)
    same = LABELS[1:4, None] == LABELS
    loss = weighted_pair_loss(U[1:4], bank, same, alpha=0.7)
    assert loss.item() == pytest.approx(total / len(pairs), rel=1e-5)


@pytest.mark.parametrize("similar", [True, False])
def test_one_kind_of_pair_alone(similar):
    h = U[:1].clone().requires_grad_()
    loss = weighted_pair_loss(h, U[1:2], torch.tensor([[similar]]), alpha=1.0)
    assert loss.item() == pytest.approx(likelihood(dot(U[0], U[1]), similar), rel=1e-5)
    gradient(loss, h)


def test_an_empty_bank_makes_no_pairs():
    nothing = torch.zeros(2, 2)
    assert float(weighted_pair_loss(U[:1], nothing, torch.ones(1, 2).bool(), alpha=1.0)) == 0


# Asymmetric


def target_matrix(labels: Tensor) -> Tensor:
    """S (M, M) as the public versions make it: +1 and -1, then S (1 + r) - r."""
    s = torch.where(labels[:, None] == labels, 1.0, -1.0)
    r = s.sum() / (1 - s).sum()
    return s * (1 + r) - r


def test_dissimilar_target_by_hand_and_as_the_public_versions():
    # two classes of 2 and one of 1: 9 similar pairs of 25
    assert dissimilar_target(LABELS) == pytest.approx(-9 / 16)
    s = target_matrix(LABELS)
    torch.testing.assert_close(s[0], torch.tensor([1, 1, -9 / 16, -9 / 16, -9 / 16]))
    assert s.sum().item() == pytest.approx(0, abs=1e-5)


def test_one_class_alone_has_no_dissimilar_pairs():
    assert math.isfinite(dissimilar_target(torch.zeros(4, dtype=torch.long)))


def test_asymmetric_losses_match_the_formula():
    solved = torch.tensor([[1.0, -1], [1, 1], [-1, 1], [-1, -1], [-1, 1]])
    f, s = U[1:3].tanh(), target_matrix(LABELS)[1:3]
    pairs = sum((2 * s[i, j] - dot(f[i], solved[j])) ** 2 for i in range(2) for j in range(5))
    adsh = ADSHLoss(LABELS, 2)
    adsh.solved.copy_(solved)
    _, terms = adsh(Output(U[1:3]), LABELS[1:3], Step(torch.arange(1, 3), 0.0))
    assert terms["pair"].item() == pytest.approx(float(12 / 2 * pairs / (2 * 5)), rel=1e-5)
    distance = ((f - solved[1:3]) ** 2).sum()
    expected = float(12 / 2 * distance / (2 * 5))
    assert terms["quantisation"].item() == pytest.approx(expected, rel=1e-5)


def objective(solved: Tensor, f: Tensor, gamma: float) -> float:
    """What solve_codes minimises, written out with the whole S."""
    bits = f.shape[1]
    pairs = (bits * target_matrix(LABELS) - f @ solved.T).square().sum()
    return float(pairs + gamma * (f - solved).square().sum())


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_solving_a_bit_is_exact(gamma):
    # one round over the bits is: for each bit, the best of all 2^5 columns, others held fixed
    torch.manual_seed(1)
    f = torch.randn(5, 4).tanh()
    solved = torch.where(torch.rand(5, 4) < 0.5, -1.0, 1.0)
    expected = solved.clone()
    for k in range(4):
        tried = []
        for column in itertools.product([-1.0, 1.0], repeat=5):
            candidate = expected.clone()
            candidate[:, k] = torch.tensor(column)
            tried.append(candidate)
        expected = min(tried, key=lambda b: objective(b, f, gamma))
    before = solved.clone()
    found = solve_codes(solved, f, LABELS, dissimilar=dissimilar_target(LABELS), gamma=gamma)
    assert torch.equal(found, expected)
    assert torch.equal(solved, before)
    assert objective(found, f, gamma) <= objective(before, f, gamma)


def test_solved_codes_stay_binary_where_nothing_is_known():
    found = solve_codes(-torch.ones(5, 3), torch.zeros(5, 3), LABELS, dissimilar=-0.5, gamma=1.0)
    assert torch.equal(found, torch.ones(5, 3))  # 0 becomes +1


# Parts and attributes


def test_hellinger_by_hand():
    # disjoint: 1; equal: 0; (1, 0) and (1/2, 1/2): sqrt(1 - 1/sqrt 2)
    p = torch.tensor([[[1.0, 0], [0, 1]], [[0.3, 0.7], [0.3, 0.7]], [[1, 0], [0.5, 0.5]]])
    expected = [1, 0, math.sqrt(1 - math.sqrt(0.5))]
    assert mean_hellinger(p).tolist() == pytest.approx(expected, abs=1e-5)


def test_hellinger_is_the_mean_over_pairs_of_parts():
    p = U.new_tensor([[[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]]])
    pairs = [mean_hellinger(p[:, [a, b]]) for a, b in ((0, 1), (0, 2), (1, 2))]
    torch.testing.assert_close(mean_hellinger(p), torch.stack(pairs).mean(0))


def test_part_diversity_by_hand_and_its_slope():
    attention = torch.tensor([[[1.0, 0], [0, 1]]])
    same, apart = torch.zeros(1, 2, 3), torch.tensor([[[90.0, 0, 0], [0, 90, 0]]])
    assert part_diversity_loss(attention, same).item() == pytest.approx(0.4, abs=1e-5)
    assert part_diversity_loss(attention, apart).item() == pytest.approx(0, abs=1e-5)
    equal = torch.full((1, 2, 2), 0.5, requires_grad=True)
    loss = part_diversity_loss(equal, apart)
    assert loss.item() == pytest.approx(1, abs=1e-5)
    gradient(loss, equal)  # finite where the parts are the same


def test_code_correlation_by_hand():
    # F^T F = [[2, 0], [0, 2]] = 2 I for orthogonal bits; [[2, 2], [2, 2]] for a bit and its copy
    assert code_correlation_loss(torch.tensor([[1.0, 1], [1, -1]])).item() == 0
    copied = torch.tensor([[1.0, 1], [-1, -1]])
    assert code_correlation_loss(copied).item() == pytest.approx((0 + 4 + 4 + 0) / 4 / (2 * 2))
