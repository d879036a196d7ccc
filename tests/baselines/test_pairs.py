"""Objectives on pairs: what they remember, and what they make of it."""

import math

import pytest
import torch
from small import LABELS, built, loss, outputs

from fdhmfe.baselines import formulas
from fdhmfe.baselines.pairs import HashNetLoss
from fdhmfe.losses import Step
from fdhmfe.network import Output


def test_dpsh_remembers_each_image_in_its_place():
    method = built(method="dpsh")
    output = outputs(method)
    index = torch.tensor([3, 1, 4, 15, 9, 2, 6, 5])
    total, parts = method.objective(output, LABELS[index], Step(index, 0.0))
    bank = method.objective.bank
    assert torch.equal(bank[index], output.u.detach())
    assert bank.any(1).sum() == 8
    torch.testing.assert_close(total, parts["pair"] + 0.1 * parts["quantisation"])
    # only the eight images seen count, so it is the loss among them
    same = LABELS[index][:, None] == LABELS[index]
    expected = formulas.bank_pair_loss(output.u, output.u.detach(), same)
    torch.testing.assert_close(parts["pair"], expected)


@pytest.mark.parametrize(
    ("progress", "beta"), [(0.0, 1), (0.12, 1), (0.13, math.sqrt(2)), (0.99, math.sqrt(8))]
)
def test_hashnet_sharpens_in_eight_steps(progress, beta):
    method = built(method="hashnet", loss_weight=0.5)
    output = outputs(method)
    h = (beta * output.u).tanh()
    same = LABELS[:8][:, None] == LABELS[:8]  # of the others nothing is known yet
    expected = formulas.weighted_pair_loss(h, h.detach(), same, alpha=5 / 12)
    torch.testing.assert_close(loss(method, output, progress)[0], expected)
    assert torch.equal(method.objective.bank[:8], h.detach())
    assert not method.objective.bank[8:].any()


def test_hashnet_pairs_a_batch_with_what_it_remembers_by_hand():
    # tanh u = 1/2 for image 0, then -1/2 for image 2, of another class; image 1 was never seen
    objective = HashNetLoss(torch.tensor([0, 0, 1]), 1, slope=2.0)
    half = math.log(3) / 2
    objective(Output(torch.tensor([[half]])), torch.tensor([0]), Step(torch.tensor([0]), 0.0))
    u = torch.tensor([[-half]], requires_grad=True)
    total, _ = objective(Output(u), torch.tensor([1]), Step(torch.tensor([2]), 0.0))
    itself = math.log(1 + math.exp(0.5)) - 0.5  # theta = 2 / 1 * 1/4
    other = math.log(1 + math.exp(-0.5))
    assert total.item() == pytest.approx(itself + other, rel=1e-5)
    assert objective.bank.flatten().tolist() == pytest.approx([0.5, 0, -0.5])
    total.backward()  # the bank is a constant: h = -1/2 is pulled by two fixed codes
    likely = 1 / (1 + math.exp(-0.5))  # that a pair with theta = 1/2 is similar
    in_h = (likely - 1) * 2 * -0.5 + (1 - likely) * 2 * 0.5
    assert u.grad.item() == pytest.approx(in_h * 0.75, rel=1e-4)
