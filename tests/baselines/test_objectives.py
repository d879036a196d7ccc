"""Every method by name: it learns, its weight is tuned by one name, its state is its own."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fdhmfe import losses
from fdhmfe.baselines import formulas
from fdhmfe.baselines.centres import balanced_codes, hash_centres
from fdhmfe.baselines.networks import Attended
from fdhmfe.config.methods import METHODS
from fdhmfe.config.settings import Config, load
from fdhmfe.features.cache import StageCache
from fdhmfe.losses import Step
from fdhmfe.metrics import mean_average_precision
from fdhmfe.network import binarise
from fdhmfe.proxies import random_proxies
from fdhmfe.runs.inputs import CachedSource
from fdhmfe.runs.methods import build_method
from fdhmfe.training.train import Method, fit, relaxed_codes

CHANNELS, SIDES = [6, 70], [3, 2]
LABELS = torch.arange(48) % 4
TRAIN, TEST = np.arange(32), np.arange(32, 48)
TRAINED = [name for name in METHODS if name not in ("lsh", "itq")]
ADSH_FAMILY = ("adsh", "exchnet", "a2-net", "semicon")


def settings(**given) -> Config:
    small = dict(width=8, keep=2, bits=12, epochs=10, batch_size=8, dropout=0.0)
    return load("quick", **{**small, **given})


def source() -> CachedSource:
    """One view of features in which the class is a sixth of the variance."""
    rng = np.random.default_rng(0)
    stages = []
    for side, channels in zip(SIDES, CHANNELS, strict=True):
        centres = rng.normal(size=(4, channels))[LABELS]
        noise = 2 * rng.normal(size=(48, channels))
        image = (centres + noise)[:, None] + rng.normal(size=(48, side**2, channels))
        stages.append(image.reshape(48, side, side, channels).astype(np.float16))
    return CachedSource([StageCache(np.arange(48), stages)] * 2, 2)


def built(**given) -> Method:
    return build_method(settings(**given), CHANNELS, LABELS[TRAIN])


def outputs(method: Method, rows: np.ndarray = TRAIN[:8]) -> tuple:
    return method.network(source().views[0].read(rows, 2))


def loss(method: Method, output: tuple, progress: float = 0.0) -> tuple:
    """The objective's total and terms for the first eight images."""
    return method.objective(output, LABELS[:8], Step(torch.arange(8), progress))


def train(method: Method, config: Config, checkpoint: Path) -> None:
    if method.objective is None:
        method.network.fit(source().plain_batches(TRAIN)[0][-1].mean((2, 3)))
    else:
        fit(method, source(), TRAIN, LABELS[TRAIN], config, checkpoint)


def codes(method: Method, rows: np.ndarray) -> np.ndarray:
    return binarise(relaxed_codes(method.network, source(), rows)).numpy()


def retrieval(method: Method, database: np.ndarray) -> float:
    labels = LABELS.numpy()
    return mean_average_precision(codes(method, TEST), database, labels[TEST], labels[TRAIN])


@pytest.mark.parametrize("name", METHODS)
def test_each_method_learns_to_retrieve(name, tmp_path):
    config = settings(method=name, epochs=25)
    method = build_method(config, CHANNELS, LABELS[TRAIN])
    train(method, config, tmp_path / "c")
    learned = retrieval(method, codes(method, TRAIN))
    assert learned > (0.38 if name == "lsh" else 0.55)  # four even classes: chance is about 0.3


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("bits", [12, 16, 24, 32, 48, 64])
def test_each_method_has_all_its_bits(name, bits):
    method = built(method=name, bits=bits)
    assert outputs(method).u.shape == (8, bits)
    proxies = method.network.proxies
    assert proxies is None or proxies.shape == (4, bits)


@pytest.mark.parametrize("name", TRAINED)
def test_total_is_finite_with_a_gradient_for_every_parameter(name):
    method = built(method=name)
    total, parts = loss(method, outputs(method))
    assert torch.isfinite(total)
    assert all(part.ndim == 0 for part in parts.values())
    total.backward()
    assert [n for n, p in method.network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", TRAINED)
def test_loss_weight_matters_to_every_trained_method(name):
    totals = []
    for weight in (1.0, 1.5):
        method = built(method=name, loss_weight=weight)
        totals.append(loss(method, outputs(method))[0].item())
    assert totals[0] != totals[1]


@pytest.mark.parametrize("name", ["dpsh", "hashnet", "adsh", "exchnet", "a2-net"])
def test_an_objective_that_remembers_asks_for_the_step(name):
    method = built(method=name)
    with pytest.raises(ValueError, match="must know the step"):
        method.objective(outputs(method), LABELS[:8])


@pytest.mark.parametrize("name", ["lsh", "itq"])
def test_closed_form_methods_have_nothing_to_train(name):
    method = built(method=name)
    assert method.objective is None
    assert list(method.network.parameters()) == []


# What each objective makes of its formulas


@pytest.mark.parametrize(
    ("name", "draw"),
    [("orthohash", random_proxies), ("csq", hash_centres), ("dpn", balanced_codes)],
)
def test_class_codes_are_drawn_as_the_method_says(name, draw):
    proxies = built(method=name, seed=3).network.proxies
    np.testing.assert_array_equal(proxies.numpy(), draw(4, 12, 3))


def test_class_code_criteria():
    method = built(method="orthohash", loss_weight=0.5)
    u, proxies = outputs(method).u, method.network.proxies
    expected = losses.proxy_loss(u, LABELS[:8], proxies, scale=8.0, margin=0.1)
    torch.testing.assert_close(loss(method, outputs(method))[0], expected)
    method = built(method="csq", loss_weight=2.0)
    u, target = outputs(method).u, method.network.proxies[LABELS[:8]]
    likely = F.binary_cross_entropy((u.tanh() + 1) / 2, (target + 1) / 2)
    expected = likely + 0.2 * (u.tanh().abs() - 1).square().mean()
    torch.testing.assert_close(loss(method, outputs(method))[0], expected)
    method = built(method="dpn", loss_weight=0.5)
    u, target = outputs(method).u, method.network.proxies[LABELS[:8]]
    expected = (0.5 - u * target).clamp(min=0).mean()
    torch.testing.assert_close(loss(method, outputs(method))[0], expected)


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
    expected = formulas.weighted_pair_loss(h, LABELS[:8], alpha=5 / 12)
    torch.testing.assert_close(loss(method, output, progress)[0], expected)


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


def test_exchnet_exchanges_within_a_class_in_the_second_half():
    method = built(method="exchnet")
    objective, network = method.objective, method.network.eval()
    output = outputs(method)
    loss(method, output, 0.9)
    torch.testing.assert_close(objective.outputs[:8], output.u.tanh())  # no anchors yet
    objective.end_epoch()
    anchors = torch.stack([output.own.parts[LABELS[:8] == y].mean(0) for y in range(4)])
    torch.testing.assert_close(objective.anchors, anchors)
    loss(method, output, 0.4)
    torch.testing.assert_close(objective.outputs[:8], output.u.tanh())
    torch.manual_seed(0)
    kept = torch.rand(8, 4, 1) < 0.5
    torch.manual_seed(0)
    _, parts = loss(method, output, 0.6)
    swapped = torch.where(kept, output.own.parts, anchors[LABELS[:8]])
    u = network.encode(output.own._replace(parts=swapped))
    torch.testing.assert_close(objective.outputs[:8], u.tanh())
    apart = output.own.parts - anchors[LABELS[:8]]  # (B, P, D)
    torch.testing.assert_close(parts["alignment"], apart.square().sum(2).sqrt().mean())


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


def test_a2_net_rebuilds_features_at_the_end_only():
    method = built(method="a2-net")
    output = outputs(method)
    _, early = loss(method, output, 0.87)
    assert (early["reconstruction"].item(), early["correlation"].item()) == (0, 0)
    _, late = loss(method, output, 0.88)
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


@pytest.mark.parametrize("name", TRAINED)
def test_checkpoints_hold_the_state_and_no_copy_of_the_network(name):
    method = built(method=name)
    kept = {k for k in method.modules.state_dict() if k.startswith("objective.")}
    state = {
        "dpsh": {"bank"},
        "exchnet": {"solved", "outputs", "anchors", "sums", "counts"},
        **{key: {"solved", "outputs"} for key in ("adsh", "a2-net", "semicon")},
    }
    assert kept == {f"objective.{key}" for key in state.get(name, set())}
