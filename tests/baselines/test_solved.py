"""Objectives with solved codes: when they solve, exchange, and rebuild; where their codes stay."""

import numpy as np
import pytest
import torch
from small import ADSH_FAMILY, LABELS, TRAIN, TRAINED, built, codes, loss, outputs

from fdhmfe.baselines import formulas
from fdhmfe.baselines.parts import Attended
from fdhmfe.baselines.solved import ADSHLoss, ExchNetLoss
from fdhmfe.losses import Step
from fdhmfe.metrics import mean_average_precision
from fdhmfe.network import Output, binarise


@pytest.mark.parametrize("name", ADSH_FAMILY)
def test_asymmetric_total_and_what_an_epoch_leaves(name):
    method = built(method=name, loss_weight=0.5)
    objective, output = method.objective, outputs(method)
    before = objective.solved.clone()
    assert set(before.unique().tolist()) == {-1, 1}
    total, parts = loss(method, output)
    extra = sum(parts[key] for key in set(parts) - {"pair", "quantisation"})
    expected = parts["pair"] + 100 * parts["quantisation"] + extra
    torch.testing.assert_close(total, expected)
    f = output.u.detach().tanh()
    assert torch.equal(objective.outputs[:8], f)
    assert not objective.outputs[8:].any()
    objective.end_epoch()
    expected = formulas.solve_codes(
        *(before, objective.outputs, LABELS[TRAIN]), dissimilar=-1 / 3, gamma=100.0
    )
    assert torch.equal(objective.solved, expected)
    assert torch.equal(objective.database_codes(), expected.to(torch.int8))


@pytest.mark.parametrize("name", ADSH_FAMILY)
def test_codes_are_solved_after_each_third_of_the_images(name):
    method = built(method=name)
    objective, output = method.objective, outputs(method)
    solutions = []
    for start in range(0, 32, 8):  # a third of 32 images has passed after two batches
        before = objective.solved.clone()
        places = torch.arange(start, start + 8)
        expected = formulas.solve_codes(
            *(before, objective.outputs.clone(), objective.labels),
            dissimilar=objective.dissimilar,
            gamma=objective.gamma,
        )
        total, _ = objective(output, LABELS[places], Step(places, start / 32))
        total.backward(retain_graph=True)  # solving must not touch what backward needs
        solutions.append(not torch.equal(objective.solved, before))
        if solutions[-1]:
            assert torch.equal(objective.solved, expected)
    assert solutions == [False, False, True, False]
    before = objective.solved.clone()
    objective.end_epoch()
    assert not torch.equal(objective.solved, before)
    assert objective.passed == 0


def test_an_epoch_of_a_hundred_batches_solves_three_times(monkeypatch):
    objective, solved = ADSHLoss(torch.zeros(300, dtype=torch.long), 4), []
    monkeypatch.setattr(objective, "solve", lambda: solved.append(objective.passed) or reset())

    def reset() -> None:
        objective.passed = 0

    for start in range(0, 300, 3):
        places = torch.arange(start, start + 3)
        objective(Output(torch.ones(3, 4)), torch.zeros(3, dtype=torch.long), Step(places, 0.0))
    objective.end_epoch()
    assert solved == [102, 102, 96]  # 34 batches are the first to hold a third


def test_exchnet_exchanges_within_a_class_in_the_last_eighth():
    method = built(method="exchnet")
    objective, network = method.objective, method.network.eval()
    output = outputs(method)
    loss(method, output, 0.9)
    torch.testing.assert_close(objective.outputs[:8], output.u.tanh())  # no anchors yet
    objective.end_epoch()
    anchors = torch.stack([output.own.parts[LABELS[:8] == y].mean(0) for y in range(4)])
    torch.testing.assert_close(objective.anchors, anchors)
    _, parts = loss(method, output, 0.87)
    torch.testing.assert_close(objective.outputs[:8], output.u.tanh())
    assert parts["alignment"].item() == 0
    torch.manual_seed(0)
    kept = torch.rand(8, 4, 1) < 0.5
    torch.manual_seed(0)
    _, parts = loss(method, output, 0.88)
    swapped = torch.where(kept, output.own.parts, anchors[LABELS[:8]])
    u = network.encode(output.own._replace(parts=swapped))
    torch.testing.assert_close(objective.outputs[:8], u.tanh())
    apart = (output.own.parts - anchors[LABELS[:8]]) * kept  # exchanged parts are their anchors
    torch.testing.assert_close(parts["alignment"], apart.square().sum().sqrt() / 8)


def test_alignment_by_hand(monkeypatch):
    # anchors 0; the part (3, 4) of image 0 stays, that of image 1 is exchanged: 5 / 2 images
    network = built(method="exchnet").network
    objective = ExchNetLoss(network, LABELS[:8], 12)
    objective.anchors[3] = 1.0  # some class has anchors, so the exchange goes on
    parts = torch.zeros(2, 4, 8)
    parts[0, 1, :2], parts[1, 2, :2] = torch.tensor([3.0, 4.0]), torch.tensor([6.0, 8.0])
    draws = torch.stack([torch.full((4, 1), 0.1), torch.full((4, 1), 0.9)])
    monkeypatch.setattr(torch, "rand_like", lambda x: draws)
    own = Attended(torch.zeros(2, 70), parts, torch.full((2, 4, 13), 1 / 13))
    output = Output(torch.zeros(2, 12), own=own)
    _, terms = objective(output, torch.tensor([0, 0]), Step(torch.arange(2), 0.9))
    assert terms["alignment"].item() == pytest.approx(5 / 2)


def test_exchnet_keeps_the_anchor_of_a_class_that_an_epoch_missed():
    method = built(method="exchnet")
    output = outputs(method)
    loss(method, output)
    method.objective.end_epoch()
    before = method.objective.anchors.clone()
    some = torch.tensor([0, 4])  # images of class 0 alone
    few = output._replace(u=output.u[some], own=Attended(*(x[some] for x in output.own)))
    method.objective(few, LABELS[some], Step(some, 0.0))
    method.objective.end_epoch()
    assert torch.equal(method.objective.anchors[1:], before[1:])


def test_a2_net_rebuilds_features_from_half_on():
    method = built(method="a2-net")
    output = outputs(method)
    _, early = loss(method, output, 0.49)
    assert (early["reconstruction"].item(), early["correlation"].item()) == (0, 0)
    _, late = loss(method, output, 0.5)
    f = output.u.tanh()
    features = torch.cat([output.own.whole, output.own.parts.flatten(1)], dim=1)
    rebuilt = f @ method.network.hash.linear.weight
    torch.testing.assert_close(late["reconstruction"], (rebuilt - features).square().mean())
    torch.testing.assert_close(late["correlation"], formulas.code_correlation_loss(f))


# Codes solved from labels stay out of the main numbers


def test_solved_codes_know_the_labels_even_where_the_network_knows_nothing():
    # outputs of pure noise: B still separates the classes, so it can be no code of an image
    torch.manual_seed(0)
    labels = torch.arange(200) % 10
    noise = torch.randn(200, 48).tanh()
    solved = torch.where(torch.rand(200, 48) < 0.5, -1.0, 1.0)
    for _ in range(10):
        solved = formulas.solve_codes(
            *(solved, noise, labels),
            dissimilar=formulas.dissimilar_target(labels),
            gamma=200.0,
        )
    scores = []
    for made in (solved, binarise(noise)):
        halves = [made[:100].numpy(), made[100:].numpy()]
        truth = [labels[:100].numpy(), labels[100:].numpy()]
        scores.append(mean_average_precision(*halves, *truth))
    assert scores[1] < 0.2
    assert scores[0] > scores[1] + 0.1


@pytest.mark.parametrize("name", ADSH_FAMILY)
def test_network_codes_do_not_depend_on_the_solved_codes(name):
    method = built(method=name)
    outputs(method)
    before = codes(method, TRAIN)
    method.objective.solved.mul_(-1)
    np.testing.assert_array_equal(codes(method, TRAIN), before)
    assert [k for k in method.network.state_dict() if "solved" in k] == []


def test_only_the_adsh_family_has_solved_codes():
    having = [n for n in TRAINED if built(method=n).objective.database_codes() is not None]
    assert tuple(having) == ADSH_FAMILY
