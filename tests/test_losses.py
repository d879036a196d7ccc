"""Each loss by hand, against a naive loop, at its optimum, and where there is nothing to compare.

The embeddings are unit vectors in the plane at 0, 20, 40, 60 and 80 degrees, so that every cosine
is the cosine of a difference of angles.
"""

import math

import pytest
import torch
from torch import Tensor

from fdhmfe.losses import (
    FDHMFELoss,
    Step,
    background_loss,
    balance_loss,
    batch_hard_triplet_loss,
    class_loss,
    decorrelation_loss,
    memory_triplet_loss,
    proxy_loss,
    quantisation_loss,
    token_loss,
)
from fdhmfe.network import Output

ANGLES = [0, 20, 40, 60, 80]
LABELS = torch.tensor([0, 0, 1, 1, 2])


def at_angles(*degrees: float) -> Tensor:
    """Unit vectors (B, 2), ready for gradients."""
    radians = torch.tensor(degrees).deg2rad()
    return torch.stack([radians.cos(), radians.sin()], dim=1).requires_grad_()


def cosine(a: float, b: float) -> float:
    return math.cos(math.radians(a - b))


def gradient(loss: Tensor, u: Tensor) -> Tensor:
    (result,) = torch.autograd.grad(loss, u)
    assert torch.isfinite(result).all()
    return result


def turning(loss: Tensor, u: Tensor) -> list[float]:
    """How far each vector turns, towards growing angles, when it follows the gradient down."""
    tangent = torch.stack([-u[:, 1], u[:, 0]], dim=1)
    return (-gradient(loss, u) * tangent).sum(1).tolist()


def descends(loss, u: Tensor, step: float = 1e-3) -> bool:
    """A small step against the gradient makes the loss smaller."""
    value = loss(u)
    return bool(loss(u - step * gradient(value, u)) < value)


# Proxies


def proxy(u: Tensor, labels: Tensor, proxies: list, scale: float = 8.0, margin: float = 0.2):
    return proxy_loss(u, labels, torch.tensor(proxies).float(), scale=scale, margin=margin)


def test_proxy_loss_by_hand():
    # u at 0 degrees: cosine 1/sqrt 2 to (1, 1) and -1/sqrt 2 to (-1, 1); scale sqrt 2, margin 0:
    # logits 1 and -1, so the loss of class 0 is log(1 + e^-2) and that of class 1 log(1 + e^2)
    for label, sign in ((0, -2), (1, 2)):
        loss = proxy(at_angles(0), torch.tensor([label]), [[1, 1], [-1, 1]], math.sqrt(2), 0.0)
        assert loss.item() == pytest.approx(math.log(1 + math.exp(sign)), rel=1e-5)


def test_proxy_loss_margin_by_hand():
    # at 45 degrees the cosines are 1 and 0; with scale 4 and margin 0.5 the logits are 2 and 0
    loss = proxy(at_angles(45), torch.tensor([0]), [[1, 1], [-1, 1]], 4.0, 0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-5)


def test_proxy_loss_matches_the_loop():
    proxies = {0: 45, 1: 135, 2: -45}  # the angles of (1, 1), (-1, 1), (1, -1)
    total = 0.0
    for angle, label in zip(ANGLES, LABELS.tolist(), strict=True):
        logits = [8 * (cosine(angle, proxies[c]) - 0.2 * (c == label)) for c in proxies]
        total += math.log(sum(map(math.exp, logits))) - logits[label]
    u = at_angles(*ANGLES)
    loss = proxy(u, LABELS, [[1, 1], [-1, 1], [1, -1]])
    assert loss.item() == pytest.approx(total / 5, rel=1e-5)
    assert proxy(7 * u, LABELS, [[1, 1], [-1, 1], [1, -1]]).item() == pytest.approx(loss.item())


def test_proxy_loss_pulls_towards_the_proxy():
    u = at_angles(0)
    pull = -gradient(proxy(u, torch.tensor([0]), [[1, 1], [-1, -1]]), u)
    assert pull[0, 1] > 0
    assert pull[0, 0] == pytest.approx(0, abs=1e-6)  # nothing is won by growing
    at_proxy = at_angles(45)
    rest = gradient(proxy(at_proxy, torch.tensor([0]), [[1, 1], [-1, -1]]), at_proxy)
    assert rest.abs().max() < 1e-6


def test_proxy_loss_counts_every_image_and_every_class():
    u = at_angles(*ANGLES)
    each = [proxy(u[[i]], LABELS[[i]], [[1, 1], [-1, 1], [1, -1]]) for i in range(5)]
    whole = proxy(u, LABELS, [[1, 1], [-1, 1], [1, -1]])
    torch.testing.assert_close(whole, torch.stack(each).mean())
    assert (gradient(whole, u).abs().sum(1) > 0).all()
    assert proxy(u, LABELS, [[1, 1], [-1, 1], [1, -1], [-1, -1]]) > whole


# Balance and decorrelation


def test_balance_loss_by_hand():
    # tanh(ln 3 / 2) = 1/2. Bit 0: means of 1/2 and 1/2; bit 1: of 1/2 and -1/2; bit 2: of 1/2 and 0
    t = math.log(3) / 2
    u = torch.tensor([[t, t, t], [t, -t, 0.0]])
    assert balance_loss(u).item() == pytest.approx((0.25 + 0 + 0.0625) / 3, rel=1e-6)


def test_balance_loss_matches_the_loop():
    u = at_angles(*ANGLES)
    total = 0.0
    for function in (math.cos, math.sin):
        total += (sum(math.tanh(function(math.radians(a))) for a in ANGLES) / 5) ** 2
    assert balance_loss(u).item() == pytest.approx(total / 2, rel=1e-5)
    assert descends(balance_loss, u)


def test_balance_loss_is_zero_when_each_bit_is_even_and_largest_when_constant():
    even = torch.tensor([[3.0, -1.0], [-3.0, 1.0]], requires_grad=True)
    assert balance_loss(even).item() == pytest.approx(0, abs=1e-12)
    assert gradient(balance_loss(even), even).abs().max() < 1e-6
    assert balance_loss(torch.full((4, 3), 50.0)).item() == pytest.approx(1)


def test_decorrelation_loss_by_hand():
    # Deviations of the three bits: (1, 1, -1, -1), (2, 2, -2, -2), (1, -1, 1, -1): the first two
    # correlate fully, the third with neither, so 2 of the 6 ordered pairs count 1.
    u = torch.tensor([[1.0, 7, 1], [1, 7, -1], [-1, 3, 1], [-1, 3, -1]])
    assert decorrelation_loss(u).item() == pytest.approx(2 / 6, rel=1e-5)
    assert decorrelation_loss(u[:, [0, 2]]).item() == pytest.approx(0, abs=1e-10)
    assert decorrelation_loss(u[:, :2] * torch.tensor([1, -1])).item() == pytest.approx(1, rel=1e-5)


def test_decorrelation_loss_matches_the_loop():
    x = [math.cos(math.radians(a)) for a in ANGLES]
    y = [math.sin(math.radians(a)) for a in ANGLES]
    mx, my = sum(x) / 5, sum(y) / 5
    covariance = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
    spread = sum((a - mx) ** 2 for a in x) * sum((b - my) ** 2 for b in y)
    u = at_angles(*ANGLES)
    assert decorrelation_loss(u).item() == pytest.approx(covariance**2 / spread, rel=1e-4)
    assert descends(decorrelation_loss, u)


@pytest.mark.parametrize("shape", [(4, 3), (1, 3), (2, 3)])
def test_decorrelation_loss_of_bits_that_never_change_is_finite(shape):
    u = torch.ones(shape, requires_grad=True)
    loss = decorrelation_loss(u)
    assert loss.item() == 0
    gradient(loss, u)


def test_decorrelation_loss_of_one_bit_is_zero():
    assert decorrelation_loss(torch.tensor([[1.0], [-1.0]])).item() == 0


# Tokens: two stages, of 3 and 2 tokens; two images of classes 1 and 0; two classes


def token_case() -> tuple[list[Tensor], list[Tensor], Tensor]:
    shallow = torch.tensor([[[0.0, 1], [2, 0], [1, 1]], [[0.5, 0], [0, 3], [-1, 1]]])
    deep = torch.tensor([[[0.0, 0], [1, -1]], [[2, 2], [0, 1]]])
    logits = [shallow.requires_grad_(), deep.requires_grad_()]
    return logits, [torch.tensor([[0, 2], [1, 0]]), torch.tensor([[1], [0]])], torch.tensor([1, 0])


def test_token_loss_by_hand():
    # both images keep the one token of logits (0, 0) and (a, 0): log 2 and log(1 + e^+-a)
    logits = [torch.tensor([[[0.0, 0], [9, 9]], [[5, 5], [2, 0]]])]
    loss = token_loss(logits, [torch.tensor([[0], [1]])], torch.tensor([1, 0]), smoothing=0.0)
    assert loss.item() == pytest.approx((math.log(2) + math.log(1 + math.exp(-2))) / 2, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.25])
def test_token_loss_matches_the_loop(smoothing):
    logits, kept, labels = token_case()
    stages = []
    for z, index in zip(logits, kept, strict=True):
        each = []
        for image in range(2):
            for token in index[image].tolist():
                row = z[image, token].tolist()
                own = (1 - smoothing) * row[labels[image]] + smoothing * sum(row) / len(row)
                each.append(math.log(sum(map(math.exp, row))) - own)
        stages.append(sum(each) / len(each))
    loss = token_loss(logits, kept, labels, smoothing=smoothing)
    assert loss.item() == pytest.approx(sum(stages) / 2, rel=1e-5)


def test_token_loss_moves_kept_tokens_only():
    logits, kept, labels = token_case()
    loss = token_loss(logits, kept, labels, smoothing=0.0)
    for z, index in zip(logits, kept, strict=True):
        (moved,) = torch.autograd.grad(loss, z, retain_graph=True)
        touched = moved.abs().sum(-1) > 0
        expected = torch.zeros(z.shape[:2], dtype=torch.bool).scatter_(1, index, True)
        assert torch.equal(touched, expected)
        own = moved.gather(2, labels[:, None, None].expand(-1, z.shape[1], 1))[..., 0]
        assert (own[expected] < 0).all()  # more of the own class makes the loss smaller


def test_background_loss_by_hand():
    # dropped: one token of logits (0, 0), and one of (ln 3, 0): probabilities 3/4 and 1/4, so
    # KL = ln(1/2 / (3/4)) / 2 + ln(1/2 / (1/4)) / 2 = ln(4 / 3) / 2
    t = math.log(3)
    logits = [torch.tensor([[[9.0, 0], [0, 0]], [[t, 0], [9, 0]]])]
    loss = background_loss(logits, [torch.tensor([[0], [1]])])
    assert loss.item() == pytest.approx(math.log(4 / 3) / 4, rel=1e-5)


def test_background_loss_matches_the_loop():
    logits, kept, _ = token_case()
    stages = []
    for z, index in zip(logits, kept, strict=True):
        each = []
        for image in range(2):
            for token in set(range(z.shape[1])) - set(index[image].tolist()):
                weights = [math.exp(value) for value in z[image, token].tolist()]
                shares = [weight / sum(weights) for weight in weights]
                each.append(sum(math.log(1 / len(shares) / p) for p in shares) / len(shares))
        stages.append(sum(each) / len(each))
    loss = background_loss(logits, kept)
    assert loss.item() == pytest.approx(sum(stages) / 2, rel=1e-5)


def test_background_loss_makes_dropped_tokens_less_sure_of_their_class():
    logits, kept, _ = token_case()
    loss = background_loss(logits, kept)
    for z, index in zip(logits, kept, strict=True):
        (moved,) = torch.autograd.grad(loss, z, retain_graph=True)
        dropped = torch.ones(z.shape[:2], dtype=torch.bool).scatter_(1, index, False)
        before, after = z.softmax(-1).amax(-1), (z - 0.1 * moved).softmax(-1).amax(-1)
        sure = before > 1 / 2  # of two classes; one dropped token is not
        assert torch.equal(after < before, dropped & sure)
        assert (moved[~dropped] == 0).all()


def test_background_loss_at_its_optimum_and_where_nothing_is_dropped():
    z = torch.full((2, 3, 4), -50.0, requires_grad=True)
    assert background_loss([z], [torch.tensor([[0], [1]])]).item() == 0
    sure = z + 60 * torch.eye(3, 4)
    nothing = background_loss([sure], [torch.tensor([[2, 0, 1], [0, 1, 2]])])
    assert nothing.item() == 0
    gradient(nothing, z)


def test_token_losses_leave_their_inputs_alone():
    logits, kept, labels = token_case()
    before = [x.clone() for x in (*logits, *kept)]
    token_loss(logits, kept, labels, smoothing=0.0)
    background_loss(logits, kept)
    assert all(torch.equal(a, b) for a, b in zip((*logits, *kept), before, strict=True))


# Triplets


def triplet_loop(angles: list[float], labels: list[int], margin: float) -> float:
    """For each anchor with a positive and a negative: hardest of both, by comparing all pairs."""
    gaps = []
    for i, a in enumerate(angles):
        others = [(j, (1 - cosine(a, b)) / 2) for j, b in enumerate(angles) if j != i]
        positive = [d for j, d in others if labels[j] == labels[i]]
        negative = [d for j, d in others if labels[j] != labels[i]]
        if positive and negative:
            gaps.append(max(0.0, max(positive) - min(negative) + margin))
    return sum(gaps) / len(gaps) if gaps else 0.0


def triplet(u: Tensor, labels: list[int], margin: float = 0.25) -> Tensor:
    return batch_hard_triplet_loss(u, torch.tensor(labels), margin=margin)


def test_class_loss_by_hand():
    # Two classes, p = (3/4, 1/4); smoothing 0.2 makes the target (0.9, 0.1).
    logits = torch.tensor([[math.log(3.0), 0.0]])
    expected = -(0.9 * math.log(3 / 4) + 0.1 * math.log(1 / 4))
    value = class_loss(logits, torch.tensor([0]), smoothing=0.2)
    assert value.item() == pytest.approx(expected)
    assert class_loss(logits, torch.tensor([1]), smoothing=0.0).item() == pytest.approx(math.log(4))


def test_triplet_loss_by_hand():
    # Anchors 0 and 180 degrees (class 0) and 90 (class 1): positives at d = 1, negatives at 1/2;
    # the anchor at 90 has no positive and is left out of the mean.
    loss = triplet(at_angles(0, 180, 90), [0, 0, 1])
    assert loss.item() == pytest.approx(1 - 0.5 + 0.25, rel=1e-5)


@pytest.mark.parametrize("margin", [0.0, 0.25, 1.0])
@pytest.mark.parametrize(
    "labels", [[0, 0, 1, 1, 2], [0, 1, 0, 1, 0], [0, 0, 0, 1, 1], [0, 1, 1, 1, 0]]
)
def test_triplet_loss_matches_the_loop(labels, margin):
    loss = triplet(at_angles(*ANGLES), labels, margin)
    assert loss.item() == pytest.approx(triplet_loop(ANGLES, labels, margin), abs=1e-6)


def test_triplet_loss_takes_the_hardest_of_both():
    # anchor 0: positives at 20 and 60, negatives at 40 and 80; the other anchors likewise
    expected = triplet_loop([0, 20, 60, 40, 80], [0, 0, 0, 1, 1], 0.1)
    assert expected == pytest.approx(
        sum(
            (cosine(0, n) - cosine(0, p)) / 2 + 0.1
            for p, n in ((60, 40), (40, 20), (60, 20), (40, 20), (40, 20))
        )
        / 5
    )
    loss = triplet(at_angles(0, 20, 60, 40, 80), [0, 0, 0, 1, 1], 0.1)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_triplet_loss_is_zero_when_classes_are_apart():
    u = at_angles(0, 5, 180, 185)
    loss = triplet(u, [0, 0, 1, 1])
    assert loss.item() == 0
    assert gradient(loss, u).abs().max() == 0


def test_triplet_loss_pulls_positives_and_pushes_negatives():
    u = at_angles(0, 60, 30)
    turn = turning(triplet(u, [0, 0, 1]), u)
    assert turn[0] > 0 > turn[1]  # 0 and 60 belong together: the pull beats the push off 30
    assert turn[2] == pytest.approx(0, abs=1e-6)  # 30 is pushed as hard from either side
    assert descends(lambda v: triplet(v, [0, 0, 1]), u)
    pushed = at_angles(0, 10, 30)
    assert turning(triplet(pushed, [0, 0, 1]), pushed)[2] > 0  # away from both


@pytest.mark.parametrize("labels", [[0, 1, 2, 3, 4], [7, 7, 7, 7, 7]])
def test_triplet_loss_without_positives_or_negatives_is_zero(labels):
    u = at_angles(*ANGLES)
    loss = triplet(u, labels)
    assert loss.item() == 0
    assert gradient(loss, u).abs().max() == 0


def memory_triplet(
    u: Tensor, labels: list[int], memory: Tensor, known: list[int], positions: list[int]
) -> float:
    step = Step(torch.tensor(positions), 0.0)
    pair = torch.tensor(labels), memory, torch.tensor(known)
    return memory_triplet_loss(u, *pair, step, margin=0.25).item()


def test_memory_triplets_come_from_all_that_was_seen():
    # the anchor is at 0 degrees; its class has one image at 60, the other class one at 90
    memory = at_angles(0, 60, 90, 0).detach()
    memory[3] = 0  # of the other class, not seen yet
    found = memory_triplet(at_angles(0), [0], memory, [0, 0, 1, 1], [0])
    assert found == pytest.approx((1 - 0.5) / 2 - (1 - 0) / 2 + 0.25, abs=1e-6)  # d(60) - d(90) + m


def test_an_image_is_no_positive_of_itself():
    memory = at_angles(180, 90)  # what the anchor was before is not its positive
    assert memory_triplet(at_angles(0), [0], memory, [0, 1], [0]) == 0


def test_a_memory_of_the_batch_alone_is_the_batch():
    labels, u = [0, 0, 1, 1, 0], at_angles(0, 20, 60, 40, 80)
    expected = triplet(u, labels).item()
    assert memory_triplet(u, labels, u, labels, list(range(5))) == pytest.approx(expected, abs=1e-6)


def test_the_loss_remembers_the_codes_of_all_batches():
    loss = FDHMFELoss(labels=torch.tensor([0, 0, 1]), bits=2)
    proxies = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
    first, second = Output(at_angles(0), proxies), Output(at_angles(60, 90), proxies)
    _, terms = loss(first, torch.tensor([0]), Step(torch.tensor([0]), 0.0))
    assert terms["triplet"] == 0  # nothing to compare with
    _, terms = loss(second, torch.tensor([0, 1]), Step(torch.tensor([1, 2]), 0.0))
    # the image at 60 degrees: its positive is at 0, its negative at 90; none for the other
    expected = (1 - 0.5) / 2 - (1 - math.cos(math.pi / 6)) / 2 + 0.25
    assert terms["triplet"].item() == pytest.approx(expected, abs=1e-6)
    assert torch.equal(loss.memory, at_angles(0, 60, 90).detach())
    with pytest.raises(ValueError, match="must know the step"):
        loss(first, torch.tensor([0]))


def test_triplet_loss_of_equal_codes_is_the_margin():
    u = at_angles(30, 30, 30, 30)
    loss = triplet(u, [0, 0, 1, 1])
    assert loss.item() == pytest.approx(0.25, abs=1e-6)
    gradient(loss, u)


# Quantisation


def test_quantisation_loss_by_hand():
    # cosine of (4, -3) and (1, -1): 7 / (5 sqrt 2)
    loss = quantisation_loss(torch.tensor([[4.0, -3.0]]))
    assert loss.item() == pytest.approx(1 - 7 / (5 * math.sqrt(2)), rel=1e-5)


def test_quantisation_loss_matches_the_loop():
    # all angles lie in the first quadrant; the axis itself, 0 degrees, has the sign (1, 0)
    each = [1 - cosine(a, 45 if a else 0) for a in ANGLES]
    loss = quantisation_loss(at_angles(*ANGLES))
    assert loss.item() == pytest.approx(sum(each) / 5, abs=1e-6)


def test_quantisation_loss_is_zero_at_a_code_and_turns_towards_it():
    assert quantisation_loss(torch.tensor([[2.0, -2, 2], [0.1, 0.1, -0.1]])).item() < 1e-6
    u = at_angles(20)
    move = -gradient(quantisation_loss(u), u)
    assert move[0, 0] < 0 < move[0, 1]
    assert descends(quantisation_loss, u)


@pytest.mark.parametrize(
    "loss",
    [
        lambda u: proxy(u, LABELS, [[1, 1], [-1, 1], [1, -1]]),
        lambda u: triplet(u, LABELS.tolist()),
        balance_loss,
        decorrelation_loss,
        quantisation_loss,
    ],
    ids=["proxy", "triplet", "balance", "decorrelation", "quantisation"],
)
@pytest.mark.parametrize("scale", [0.0, 1e-4, 1e4])
def test_tiny_and_huge_codes_give_finite_losses_and_gradients(loss, scale):
    u = (at_angles(*ANGLES) * scale).detach().requires_grad_()
    value = loss(u)
    assert torch.isfinite(value)
    assert value.ndim == 0
    gradient(value, u)


def test_the_method_s_loss_asks_for_proxies():
    with pytest.raises(ValueError, match="needs a network with proxies"):
        FDHMFELoss()(Output(at_angles(*ANGLES)), LABELS)
