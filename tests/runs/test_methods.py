"""The total loss is the weighted sum of its parts, and a switched-off part is not there."""

import numpy as np
import pytest
import torch

from fdhmfe import losses
from fdhmfe.baselines.networks import PooledHash
from fdhmfe.config.profiles import OFF, VARIANTS
from fdhmfe.config.settings import Config, load
from fdhmfe.network import FDHMFE, Output
from fdhmfe.runs.methods import build_method
from fdhmfe.training.train import Method

LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
STEP = losses.Step(torch.arange(6), 0.0)
WEIGHTS = {
    "token": "token_weight",
    "class": "class_weight",
    "background": "background_weight",
    "triplet": "triplet_weight",
    "balance": "balance_weight",
    "decorrelation": "decorrelation_weight",
    "quantisation": "quantisation_weight",
}


def settings(**given) -> Config:
    return load("quick", **{"width": 8, "keep": 2, "bits": 12, "dropout": 0.0, **given})


def built(config: Config) -> tuple[Method, Output]:
    method = build_method(config, [6] * config.stages, LABELS)
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(6, 6, 3, 3, generator=generator) for _ in range(config.stages)]
    return method, method.network(maps)


@pytest.mark.parametrize("variant", ["full", *VARIANTS["fdh-mfe"]])
def test_total_is_the_weighted_sum_and_a_term_of_weight_zero_is_absent(variant):
    config = settings(variant=variant)
    method, output = built(config)
    total, parts = method.objective(output, LABELS, STEP)
    active = {name for name, weight in WEIGHTS.items() if getattr(config, weight)}
    assert set(parts) == {"proxy"} | active
    expected = parts["proxy"] + sum(getattr(config, WEIGHTS[n]) * parts[n] for n in active)
    torch.testing.assert_close(total, expected)


def test_the_full_method_has_every_term_and_each_variant_lacks_what_it_says():
    absent = {}
    for variant in ("full", *VARIANTS["fdh-mfe"]):
        method, output = built(settings(variant=variant))
        absent[variant] = set(WEIGHTS) - set(method.objective(output, LABELS, STEP)[1])
    terms = {
        "uniformity": {"balance", "decorrelation"},
        "classifier": {"class"},
        **{name: {name} for name in ("background", "triplet", "quantisation")},
    }
    for part in OFF:
        assert absent[f"no-{part}"] == terms.get(part, set())
    assert absent["full"] == set()


def test_the_loss_aims_at_the_proxies_that_come_with_the_output():
    method, output = built(settings())
    method.network.arrange(np.random.default_rng(0).normal(size=(6, 3)), LABELS.numpy())
    arranged = method.network.proxies
    expected = losses.proxy_loss(output.u, LABELS, arranged, scale=8.0, margin=0.2)
    torch.testing.assert_close(method.objective(output, LABELS, STEP)[1]["proxy"], expected)
    away = output._replace(proxies=-arranged)
    assert method.objective(away, LABELS, STEP)[1]["proxy"] > expected


@pytest.mark.parametrize("name", WEIGHTS)
def test_each_weight_belongs_to_its_own_term(name):
    others = {weight: 0.0 for weight in WEIGHTS.values()}
    method, output = built(settings(**{**others, WEIGHTS[name]: 3.0}))
    total, parts = method.objective(output, LABELS, STEP)
    assert set(parts) == {"proxy", name}
    torch.testing.assert_close(total, parts["proxy"] + 3 * parts[name])


def test_parts_are_the_losses_of_the_output():
    config = settings(scale=5.0, margin=0.1, triplet_margin=0.3)
    method, output = built(config)
    u, _, logits, kept, class_logits, *_ = output
    _, parts = method.objective(output, LABELS, STEP)
    proxies = method.network.proxies
    expected = {
        "proxy": losses.proxy_loss(u, LABELS, proxies, scale=5.0, margin=0.1),
        "token": losses.token_loss(logits, kept, LABELS, smoothing=config.label_smoothing),
        "class": torch.stack(
            [losses.class_loss(z, LABELS, smoothing=config.label_smoothing) for z in class_logits]
        ).mean(),
        "background": losses.background_loss(logits, kept),
        "triplet": losses.batch_hard_triplet_loss(u, LABELS, margin=0.3),
        "balance": losses.balance_loss(u),
        "decorrelation": losses.decorrelation_loss(u),
        "quantisation": losses.quantisation_loss(u),
    }
    torch.testing.assert_close(parts, expected)


def test_orthohash_is_the_proxy_loss_alone():
    config = settings(method="orthohash", variant="full")
    method, output = built(config)
    assert isinstance(method.network, PooledHash)
    total, parts = method.objective(output, LABELS, STEP)
    assert set(parts) == {"proxy"}
    proxies = method.network.proxies
    expected = losses.proxy_loss(output.u, LABELS, proxies, scale=8.0, margin=0.2)
    torch.testing.assert_close(total, expected)


def test_loss_weight_multiplies_the_triplet_term():
    method, output = built(settings(loss_weight=3.0, triplet_weight=0.5))
    total, parts = method.objective(output, LABELS, STEP)
    plain, _ = built(settings(triplet_weight=0.5))[0].objective(output, LABELS, STEP)
    torch.testing.assert_close(total, plain + parts["triplet"])


def test_loss_follows_the_proxies_that_a_checkpoint_restores():
    method, output = built(settings())
    other = build_method(settings(seed=5), [6] * 3, LABELS)
    method.network.load_state_dict(other.network.state_dict())
    expected = losses.proxy_loss(output.u, LABELS, other.network.proxies, scale=8.0, margin=0.2)
    torch.testing.assert_close(method.objective(output, LABELS, STEP)[1]["proxy"], expected)


@pytest.mark.parametrize("name", ["fdh-mfe", "orthohash"])
def test_a_network_follows_from_the_seed(name):
    states = []
    for seed, noise in ((1, 0), (1, 9), (2, 0)):
        torch.manual_seed(noise)
        network = build_method(settings(method=name, seed=seed), [6] * 3, LABELS).network
        states.append(network.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])


def test_method_names_choose_the_network():
    assert isinstance(build_method(settings(), [6] * 3, LABELS).network, FDHMFE)


@pytest.mark.parametrize("network", ["fdh-mfe", "pooled", "parts", "semicon"])
@pytest.mark.parametrize(
    "objective", ["fdh-mfe", "orthohash", "csq", "dpn", "dpsh", "hashnet", "adsh"]
)
def test_every_network_goes_with_every_objective(network, objective):
    config = settings(network=network, objective=objective)
    assert config.composition.name == f"{network}+{objective}+sign"
    method = build_method(config, [6] * 3, LABELS)
    output = method.network([torch.randn(6, 6, 3, 3) for _ in range(3)])
    total, terms = method.objective(output, LABELS, losses.Step(torch.arange(6), 0.5))
    total.backward()
    assert torch.isfinite(total) and terms
    assert method.coder(output).shape == (6, 12)


def test_the_read_out_is_a_coder_for_networks_that_name_classes():
    method = build_method(settings(coder="read-out"), [6] * 3, LABELS)
    output = method.network([torch.randn(6, 6, 3, 3) for _ in range(3)])
    expected = output.class_logits.mean(0).softmax(1) @ method.network.proxies
    torch.testing.assert_close(method.coder(output), expected)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (dict(network="pooled", objective="exchnet"), "needs the network 'parts', not PooledHash"),
        (dict(network="fdh-mfe", objective="a2-net"), "needs the network 'parts', not FDHMFE"),
        (dict(network="features", objective="orthohash"), "'features' has nothing to train"),
        (
            dict(method="itq", network="pooled", bits=4),
            "'pooled' must be trained: name an objective",
        ),
    ],
)
def test_parts_that_do_not_go_together_are_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        build_method(settings(**parts), [6] * 3, LABELS)


def test_a_method_of_one_s_own_is_one_file(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    method, _ = built(settings(method="mine:METHOD", loss_weight=3.0))
    assert type(method.network).__name__ == "Flat" and method.objective.margin == 1.5
    assert settings(method="mine:METHOD").composition.name == "mine"


OWN = """
from torch import nn
from fdhmfe.config import Composition
from fdhmfe.baselines.objectives import DPNLoss
from fdhmfe.network import HashLayer, HashNetwork, Output

METHOD = Composition("mine", "Mine", "own", network="mine:Flat", objective="mine:Loss")

class Flat(HashNetwork):
    def __init__(self, channels, bits, *, proxies=None):
        super().__init__(proxies)
        self.hash = HashLayer(channels[0], bits)

    def forward(self, maps):
        return Output(self.hash(maps[0].amax((2, 3))), self.proxies)

class Loss(DPNLoss):
    def __init__(self, *, bit_margin=0.5):
        super().__init__(bit_margin=bit_margin)
"""


@pytest.mark.parametrize("method", ["nowhere:METHOD", "fdhmfe.config:NOTHING"])
def test_what_cannot_be_imported_is_named(method):
    with pytest.raises(ValueError, match=f"{method} cannot be imported"):
        settings(method=method)
