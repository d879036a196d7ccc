"""Networks on pooled features: what they pool, which head they have, what the control says."""

import pytest
import torch
from torch import Tensor

from fdhmfe.baselines.networks import ClassifiedHash, Classifier, PooledHash
from fdhmfe.network import HashLayer, HashMLP

CHANNELS = [3, 5]


def stages(batch: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = zip(CHANNELS, [4, 2], strict=True)
    return [torch.randn(batch, c, s, s, generator=generator) for c, s in shapes]


def means_of(maps: list[Tensor]) -> Tensor:
    """The mean of each map, side by side, whatever a network pools: `Output.features`."""
    return torch.cat([x.mean((2, 3)) for x in maps], dim=1)


@pytest.mark.parametrize(("head", "kind"), [("linear", HashLayer), ("mlp", HashMLP)])
@pytest.mark.parametrize(("pooling", "used"), [("last", slice(1, 2)), ("all", slice(0, 2))])
def test_the_head_reads_the_means_of_the_stages_it_is_given(head, kind, pooling, used):
    network, maps = PooledHash(CHANNELS, 12, hash_head=head, pooling=pooling).eval(), stages()
    assert isinstance(network.hash, kind)
    means = means_of(maps[used])
    output = network(maps)
    torch.testing.assert_close(output.u, network.hash(means))
    torch.testing.assert_close(output.features, means_of(maps))


def test_the_default_is_a_linear_hash_layer_with_the_weights_of_its_seed():
    torch.manual_seed(3)
    network = PooledHash(CHANNELS, 12)
    torch.manual_seed(3)
    expected = HashLayer(5, 12).state_dict()
    found = network.state_dict()
    assert set(found) == {f"hash.{name}" for name in expected}
    assert all(torch.equal(found[f"hash.{name}"], value) for name, value in expected.items())


@pytest.mark.parametrize("make", [PooledHash, lambda *c, **k: Classifier([3, 5], 4, 12, **k)])
def test_another_pooling_is_refused(make):
    with pytest.raises(ValueError, match="pooling='first' is not one of last, all"):
        make(CHANNELS, 12, pooling="first")


@pytest.mark.parametrize(("pooling", "width"), [("last", 5), ("all", 8)])
def test_the_classifier_speaks_its_posterior_in_proxies_by_hand(pooling, width):
    proxies = torch.tensor([[1.0, 1, -1], [1, -1, 1], [-1, -1, -1], [-1, 1, 1]])
    network = Classifier(CHANNELS, 4, 3, pooling=pooling, proxies=proxies.numpy()).eval()
    assert network.classify.in_features == width
    with torch.no_grad():
        network.classify.weight.zero_()
        network.classify.bias.copy_(torch.tensor([6.0, 2, 1, 1]).log())
    output = network(stages())
    # posterior .6, .2, .1, .1
    expected = torch.tensor([0.8 - 0.2, 0.7 - 0.3, -0.7 + 0.3]).expand(4, 3)
    torch.testing.assert_close(output.u, expected)
    assert output.class_logits.shape == (1, 4, 4)
    torch.testing.assert_close(output.features, means_of(stages()))
    assert torch.equal(output.proxies, proxies)


def test_the_classifier_is_linear_in_the_means():
    network, maps = Classifier(CHANNELS, 4, 3, pooling="all"), stages()
    torch.testing.assert_close(network(maps).class_logits[0], network.classify(means_of(maps)))


def test_the_classifier_draws_proxies_if_it_is_given_none():
    with pytest.raises(ValueError):
        Classifier(CHANNELS, 9, 3)  # 2^3 < 9
    assert set(Classifier(CHANNELS, 4, 12).proxies.unique().tolist()) == {-1, 1}


def test_the_pooled_control_is_a_pooled_hash_with_a_linear_classifier_beside_it():
    proxies = torch.tensor([[1.0, 1, -1], [1, -1, 1]])
    network, maps = ClassifiedHash(CHANNELS, 2, 3, proxies=proxies.numpy()), stages()
    plain = PooledHash(CHANNELS, 3, hash_head="mlp", pooling="all", proxies=proxies.numpy())
    missing, unexpected = plain.load_state_dict(network.state_dict(), strict=False)
    assert missing == [] and {name.split(".")[0] for name in unexpected} == {"classify"}
    output, expected = network.eval()(maps), plain.eval()(maps)
    torch.testing.assert_close(output.u, expected.u)
    assert torch.equal(output.proxies, proxies)
    torch.testing.assert_close(output.class_logits, network.classify(means_of(maps))[None])
    assert (output.token_logits, output.kept_index) == ((), ())


def test_the_class_logits_of_the_pooled_control_train_no_hash_layer():
    network = ClassifiedHash(CHANNELS, 2, 3)
    network(stages()).class_logits.square().sum().backward()
    touched = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None}
    assert touched == {"classify"}
