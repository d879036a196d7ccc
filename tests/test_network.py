"""The whole network on random stage maps."""

import numpy as np
import pytest
import torch
from torch import Tensor

from fdhmfe.config.profiles import VARIANTS
from fdhmfe.config.settings import Config, load
from fdhmfe.losses import FDHMFELoss, Step
from fdhmfe.network import (
    FDHMFE,
    ForegroundMean,
    HashLayer,
    HashMLP,
    HashNetwork,
    ProxyReadout,
    foreground,
    hash_layer,
)
from fdhmfe.proxies import arrange, class_similarity, maxmin_proxies, random_proxies
from fdhmfe.runs.methods import build_method

CHANNELS, SIDES, CLASSES = [6, 10, 12], [8, 4, 2], 5
LABELS = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])
STEP = Step(torch.arange(8), 0.0)


def settings(**given) -> Config:
    small = {"width": 16, "keep": 2, "nodes": 3, "bits": 12, "dropout": 0.0}
    return load("quick", **{**small, **given})


def stages(config: Config, batch: int = 8) -> list[Tensor]:
    """Random maps of the deepest `config.stages` stages."""
    generator = torch.Generator().manual_seed(0)
    shapes = list(zip(CHANNELS, SIDES, strict=True))[-config.stages :]
    return [torch.randn(batch, c, s, s, generator=generator) for c, s in shapes]


def built(config: Config) -> torch.nn.Module:
    return build_method(config, CHANNELS[-config.stages :], LABELS).network


NAMED = [(method, variant) for method in ("fdh-mfe", "fdh-mfe+") for variant in VARIANTS[method]]


@pytest.mark.parametrize(("method", "variant"), NAMED)
def test_each_variant_builds_and_runs(method, variant):
    config = settings(method=method, variant=variant)
    inputs = stages(config)
    before = [x.clone() for x in inputs]
    output = built(config)(inputs)
    counts = [side**2 for side in SIDES[-config.stages :]]
    assert output.u.shape == (8, 12)
    assert [z.shape for z in output.token_logits] == [(8, s, CLASSES) for s in counts]
    kept = [min(config.keep, s) if config.selection else s for s in counts]
    assert [i.shape for i in output.kept_index] == [(8, n) for n in kept]
    assert torch.isfinite(output.u).all()
    assert all(torch.equal(a, b) for a, b in zip(inputs, before, strict=True))


def test_orthohash_reads_the_mean_of_the_last_stage_only():
    config = settings(method="orthohash")
    network = built(config).eval()
    inputs = stages(config)
    output = network(inputs)
    assert output.u.shape == (8, 12)
    assert not (output.token_logits or output.kept_index)
    shuffled = [torch.zeros_like(x) for x in inputs[:-1]] + [inputs[-1].flip(2)]
    torch.testing.assert_close(network(shuffled).u, output.u)
    torch.testing.assert_close(network.hash(inputs[-1].mean((2, 3))), output.u)


def test_without_selection_every_token_reaches_the_code():
    config = settings(selection=False, fusion=False)
    inputs = [x.requires_grad_() for x in stages(config)]
    built(config).eval()(inputs).u.sum().backward()
    assert all((x.grad.abs().sum(1) > 0).all() for x in inputs)


@pytest.mark.parametrize("fusion", [True, False])
def test_tokens_that_are_no_nodes_cannot_leak_into_the_graph(fusion):
    config = settings(fusion=fusion)
    network = built(config).eval()
    fused, vectors = [], []

    def cut(_module: torch.nn.Module, _inputs: tuple, output: list[Tensor]) -> list[Tensor]:
        fused.extend(x.detach().requires_grad_() for x in output)
        return list(fused)

    network.fusion.register_forward_hook(cut)
    network.graph.register_forward_hook(lambda _module, _inputs, output: vectors.append(output))
    network(stages(config))
    vectors[0].square().sum().backward()
    for x, index in zip(fused, network.selector(fused).node_index, strict=True):
        node = torch.zeros(x.shape[:2], dtype=torch.bool).scatter_(1, index, True)
        assert (x.grad[~node] == 0).all()
        assert (x.grad[node].abs().sum(-1) > 0).all()


def test_only_kept_tokens_vote():
    network, votes = built(settings(method="fdh-mfe+")).eval(), []
    network.readout.register_forward_pre_hook(lambda _module, inputs: votes.extend(inputs[1]))
    output = network(stages(settings()))
    for vote, z, index in zip(votes, output.token_logits, output.kept_index, strict=True):
        expected = torch.stack([z[i, index[i]].mean(0) for i in range(len(z))])
        torch.testing.assert_close(vote, expected)


@pytest.mark.parametrize("fusion", [True, False])
def test_every_token_is_heard_by_the_foreground_mean(fusion):
    config = settings(fusion=fusion)
    inputs = [x.requires_grad_() for x in stages(config)]
    built(config).eval()(inputs).u.square().sum().backward()
    assert all((x.grad.abs().sum(1) > 0).all() for x in inputs)


def test_the_graph_is_taught_the_class_and_codes_do_not_read_what_it_says():
    network, inputs = built(settings()).eval(), stages(settings())
    before = network(inputs)
    assert before.class_logits.shape == (1, 8, CLASSES)
    torch.nn.init.zeros_(network.graph_classifier.weight)
    torch.testing.assert_close(network(inputs).u, before.u)


def test_proxy_readout_by_hand():
    readout = ProxyReadout([2, 1], 2)
    for classify, weight in zip(readout.classifiers, ([[1, 0], [0, 1]], [[2], [0]]), strict=True):
        classify.weight.data = torch.tensor(weight, dtype=torch.float32)
        torch.nn.init.zeros_(classify.bias)
    proxies = torch.tensor([[1.0, 1.0, -1.0], [1.0, -1.0, 1.0]])
    parts = [torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0]])]
    logits, code = readout(parts, [torch.tensor([[0.0, 3.0]])], proxies)
    assert logits.tolist() == [[[1, 0]], [[2, 0]]]  # the vote only joins the posterior
    # (1 + 2 + 0) / 3 against 3 / 3, an even chance: only the bit that the proxies share is decided
    torch.testing.assert_close(code, torch.tensor([[1.0, 0.0, 0.0]]))
    _, code = readout(parts, [torch.tensor([[99.0, 0.0]])], proxies)
    torch.testing.assert_close(code, proxies[:1])


def test_hash_mlp_by_hand():
    mlp = HashMLP(2, 12).eval()
    with torch.no_grad():
        for layer in (mlp[0], mlp[4].linear):
            layer.weight.zero_()
        mlp[0].weight[0, 0] = mlp[0].weight[1, 1] = 1.0  # the hidden layer copies its input
        mlp[4].linear.weight[0, 0], mlp[4].linear.weight[1, 1] = 2.0, 3.0
    assert (mlp[0].weight.shape, mlp[0].bias) == ((1024, 2), None)
    u = mlp(torch.tensor([[0.5, -0.5]]))  # ReLU cuts the second
    torch.testing.assert_close(u[0, :3], torch.tensor([1.0, 0, 0]), rtol=1e-4, atol=1e-4)
    assert mlp.train()[3].p == 0.2


def test_hash_heads_by_name():
    assert isinstance(hash_layer("linear", 3, 12), HashLayer)
    assert isinstance(hash_layer("mlp", 3, 12), HashMLP)
    with pytest.raises(ValueError, match="hash_head='deep' is not one of linear, mlp"):
        hash_layer("deep", 3, 12)


def test_foreground_by_hand():
    # evidence for one of four classes, for two of them, for none
    logits = torch.tensor([[[99.0, 0, 0, 0], [99, 99, 0, 0], [5, 5, 5, 5]]])
    torch.testing.assert_close(foreground(logits), torch.tensor([[1.0, 0.5, 0.0]]))


def test_foreground_mean_weighs_tokens_by_their_evidence():
    pool = ForegroundMean([2, 1]).eval()
    pool.norms[1].running_mean.fill_(3.0)
    stages = [torch.tensor([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]]]), torch.tensor([[[5.0], [8.0]]])]
    certain, even, nothing = [99.0, 0, 0, 0], [99.0, 99, 0, 0], [0.0, 0, 0, 0]
    logits = [torch.tensor([[certain, even, nothing]]), torch.tensor([[nothing, nothing]])]
    pooled = pool(stages, logits)
    # weights 1 to 1/2 in the first stage: (1 + 3/2) / (3/2) = 5/3; the plain mean in the second
    expected = torch.tensor([[5 / 3, 10 / 3, 3.5]])
    torch.testing.assert_close(pooled, expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(("name", "draw"), [("maxmin", maxmin_proxies), ("random", random_proxies)])
def test_proxies_are_fixed_and_stored(name, draw):
    network = built(settings(proxies=name, seed=3))
    expected = torch.from_numpy(draw(CLASSES, 12, 3)).float()
    assert torch.equal(network.proxies, expected)
    assert "proxies" in network.state_dict()
    assert "proxies" not in dict(network.named_parameters())


def test_codes_do_not_depend_on_the_batch_in_evaluation():
    config = settings()
    network, inputs = built(config), stages(config)
    network(inputs)
    network.eval()
    torch.testing.assert_close(network([x[2:3] for x in inputs]).u, network(inputs).u[2:3])


@pytest.mark.parametrize("given", [{}, {"variant": "no-graph"}, {"method": "orthohash"}])
def test_overfits_eight_images(given):
    config = settings(width=32, nodes=4, margin=0.0, **given)
    method = build_method(config, CHANNELS, LABELS)
    inputs = stages(config)
    optimiser = torch.optim.AdamW(method.network.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        total, _ = method.objective(method.network(inputs), LABELS, STEP)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        losses.append(total.item())
    codes = method.network(inputs).u.sign()
    nearest = (codes @ method.network.proxies.T).argmax(1)
    assert nearest.tolist() == LABELS.tolist()
    assert losses[-1] < 0.5 * losses[0]


def test_every_parameter_is_trained():
    config = settings()
    method = build_method(config, CHANNELS, LABELS)
    total, _ = method.objective(method.network(stages(config)), LABELS, STEP)
    total.backward()
    idle = [n for n, p in method.network.named_parameters() if p.grad is None]
    assert idle == []


def test_it_is_built_and_trained_without_any_settings():
    network = FDHMFE(CHANNELS, CLASSES, 12, width=16, keep=2, nodes=3)
    assert np.array_equal(network.proxies.numpy(), maxmin_proxies(CLASSES, 12, 0))
    total, terms = FDHMFELoss(triplet_weight=0)(network(stages(settings())), LABELS)
    total.backward()
    assert {"proxy", "token", "class", "background"} <= set(terms) and "triplet" not in terms


@pytest.mark.parametrize("selection", [True, False])
def test_maps_may_have_any_shape(selection):
    shapes = [(6, 9, 14), (10, 5, 7), (12, 3, 4)]
    maps = [torch.randn(4, *shape) for shape in shapes]
    network = FDHMFE(CHANNELS, CLASSES, 12, width=16, keep=2, nodes=3, selection=selection).eval()
    output = network(maps)
    counts = [height * width for _, height, width in shapes]
    assert [z.shape for z in output.token_logits] == [(4, s, CLASSES) for s in counts]
    assert [i.shape[1] for i in output.kept_index] == ([2, 2, 2] if selection else counts)
    turned = network([x.transpose(2, 3) for x in maps])  # places turn, the image stays the same
    assert not selection or not torch.equal(turned.kept_index[0], output.kept_index[0])
    torch.testing.assert_close(turned.u, output.u, atol=1e-4, rtol=1e-4)


def test_proxies_are_arranged_by_features_and_stay_the_same_set():
    network = FDHMFE(CHANNELS, CLASSES, 12, width=16, proxies=random_proxies(CLASSES, 12, 0))
    drawn = network.proxies.numpy().copy()
    features = np.random.default_rng(0).normal(size=(8, 3))
    network.arrange(features, LABELS.numpy())
    expected = arrange(drawn, class_similarity(features, LABELS.numpy()))
    assert np.array_equal(network.proxies.numpy(), expected)
    assert (expected != drawn).any() and sorted(map(tuple, expected)) == sorted(map(tuple, drawn))


@pytest.mark.parametrize("missing", [0, CLASSES - 1])
def test_a_class_without_images_is_like_no_other_when_proxies_are_arranged(missing):
    network = FDHMFE(CHANNELS, CLASSES, 12, width=16, proxies=random_proxies(CLASSES, 12, 0))
    drawn, features = network.proxies.numpy().copy(), np.random.default_rng(0).normal(size=(8, 3))
    labels = np.array([y for y in range(CLASSES) if y != missing] * 8)[:8]
    network.arrange(features, labels)
    likeness = class_similarity(features, labels, CLASSES)
    assert likeness.shape == (CLASSES, CLASSES) and not likeness[missing].any()
    assert np.array_equal(network.proxies.numpy(), arrange(drawn, likeness))
    assert sorted(map(tuple, network.proxies.tolist())) == sorted(map(tuple, drawn))


def test_a_network_without_proxies_has_none_to_arrange():
    with pytest.raises(ValueError, match="HashNetwork has no proxies to arrange"):
        HashNetwork().arrange(np.zeros((8, 3)), LABELS.numpy())
