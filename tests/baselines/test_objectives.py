"""Every method by name: it learns, its weight is tuned by one name, its state is its own."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small import (
    CHANNELS,
    LABELS,
    TRAIN,
    TRAINED,
    built,
    codes,
    loss,
    outputs,
    retrieval,
    settings,
    train,
)

from fdhmfe import losses
from fdhmfe.baselines.centres import balanced_codes, hash_centres
from fdhmfe.baselines.objectives import SoftmaxLoss
from fdhmfe.config.methods import METHODS
from fdhmfe.network import Output
from fdhmfe.proxies import maxmin_proxies, random_proxies
from fdhmfe.runs.methods import build_method


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
    assert method.coder(outputs(method)).shape == (8, bits)
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


@pytest.mark.parametrize("name", ["fdh-mfe", "dpsh", "hashnet", "adsh", "exchnet", "a2-net"])
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


def test_softmax_is_the_smoothed_cross_entropy_of_every_classifier_by_hand():
    # probabilities 3/4 and 1/4, then even ones; target .9 + .05 and .05 with smoothing .1
    logits = torch.tensor([[[np.log(3.0), 0.0]], [[0.0, 0.0]]])  # (E, B, Y)
    output = Output(torch.zeros(1, 2), torch.eye(2), class_logits=logits)
    total, terms = SoftmaxLoss(label_smoothing=0.1)(output, torch.tensor([0]))
    first = -0.95 * np.log(0.75) - 0.05 * np.log(0.25)
    assert total.item() == pytest.approx((first + np.log(2)) / 2, rel=1e-5)
    assert terms == {"class": total}


def test_softmax_needs_class_logits_and_proxies():
    u, logits = torch.zeros(1, 2), torch.zeros(1, 1, 2)
    with pytest.raises(ValueError, match="needs a network with class logits"):
        SoftmaxLoss()(Output(u, torch.eye(2)), torch.tensor([0]))
    with pytest.raises(ValueError, match="needs a network with proxies"):
        SoftmaxLoss()(Output(u, class_logits=logits), torch.tensor([0]))


def test_the_control_is_put_together_by_name_tuned_by_its_smoothing_and_learns(tmp_path):
    config = settings(network="classifier", objective="softmax", epochs=25, loss_weight=2.0)
    method = build_method(config, CHANNELS, LABELS[TRAIN])
    assert method.objective.smoothing == pytest.approx(0.2) and method.objective.arranges
    np.testing.assert_array_equal(method.network.proxies.numpy(), maxmin_proxies(4, 12, 0))
    train(method, config, tmp_path / "c")
    assert retrieval(method, codes(method, TRAIN)) > 0.55


@pytest.mark.parametrize("name", TRAINED)
def test_checkpoints_hold_the_state_and_no_copy_of_the_network(name):
    method = built(method=name)
    kept = {k for k in method.modules.state_dict() if k.startswith("objective.")}
    state = {
        **{key: {"memory"} for key in ("fdh-mfe", "fdh-mfe+", "pooled-mlp")},
        "dpsh": {"bank"},
        "hashnet": {"bank"},
        "exchnet": {"solved", "outputs", "anchors", "sums", "counts"},
        **{key: {"solved", "outputs"} for key in ("adsh", "a2-net", "semicon")},
    }
    assert kept == {f"objective.{key}" for key in state.get(name, set())}
