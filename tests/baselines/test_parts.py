"""Networks of parts: every bit there, no image coded by its neighbours in the batch."""

import pytest
import torch
from torch import Tensor, nn

from fdhmfe.baselines.parts import (
    SEMICON,
    Interaction,
    PartHash,
    TwoStepInteraction,
    refined,
    suppression_mask,
)
from fdhmfe.baselines.solved import A2NetLoss, ExchNetLoss
from fdhmfe.losses import Step

CHANNELS, SIDES = [6, 10, 12], [8, 4, 2]


def stages(batch: int = 8) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = zip(CHANNELS, SIDES, strict=True)
    return [torch.randn(batch, c, s, s, generator=generator) for c, s in shapes]


@pytest.mark.parametrize("network", [PartHash, SEMICON])
@pytest.mark.parametrize("bits", [12, 16, 24, 32, 48, 64])
def test_no_bit_is_missing(network, bits):
    u = network(CHANNELS, bits, width=16)(stages()).u
    assert u.shape == (8, bits)
    assert (u.std(0) > 0).all()


@pytest.mark.parametrize("network", [PartHash, SEMICON])
def test_codes_do_not_depend_on_the_batch_in_evaluation(network):
    made, inputs = network(CHANNELS, 12, width=16), stages()
    made(inputs)
    made.eval()
    others = [torch.cat([x[2:3], 100 * x[5:6]]) for x in inputs]
    torch.testing.assert_close(made(others).u[:1], made(inputs).u[2:3])


@pytest.mark.parametrize("network", [PartHash, SEMICON])
def test_every_stage_and_every_parameter_has_a_say(network):
    inputs = [x.requires_grad_() for x in stages()]
    made = network(CHANNELS, 12, width=16)
    (made(inputs).u ** 3).sum().backward()
    assert all((x.grad.abs().sum(1) > 0).any() for x in inputs)
    assert [n for n, p in made.named_parameters() if p.grad is None] == []


def test_parts_are_weighted_means_of_tokens():
    made, inputs = PartHash(CHANNELS, 12, width=16), stages()
    output = made(inputs)
    assert output.own.attention.shape == (8, 4, sum(side**2 for side in SIDES))
    torch.testing.assert_close(output.own.attention.sum(-1), torch.ones(8, 4))
    tokens = torch.cat(made.tokens(inputs), dim=1)
    loop = [(weight[:, None] * tokens[3]).sum(0) for weight in output.own.attention[3]]
    torch.testing.assert_close(output.own.parts[3], made.refine(torch.stack(loop)))
    torch.testing.assert_close(output.own.whole, inputs[-1].mean((2, 3)))
    torch.testing.assert_close(output.u, made.encode(output.own))


def test_decoding_is_the_transpose_of_encoding():
    made = PartHash(CHANNELS, 12, width=16)
    weight = made.hash.linear.weight  # (K, V)
    torch.testing.assert_close(made.decode(torch.eye(12)), weight)


def test_mask_by_hand():
    # softmax (0.7, 0.1, 0.1, 0.1): mean 1/4, deviations 0.45 and -0.15, std sqrt(0.0675)
    attention = torch.tensor([0.7, 0.1, 0.1, 0.1]).reshape(1, 4, 1)
    scale = 0.0675 ** (0.15 / 2)
    expected = [0.45 / scale + 1] + [-0.15 / scale + 1] * 3
    mask = suppression_mask(attention.requires_grad_())
    assert not mask.requires_grad
    assert mask.flatten().tolist() == pytest.approx(expected, rel=1e-5)


def test_mask_of_even_attention_changes_nothing_and_peaks_are_clamped():
    even = torch.full((1, 4, 1), 0.25)
    torch.testing.assert_close(suppression_mask(even), torch.ones(1, 4, 1))
    peak = torch.tensor([1.0] + [0.0] * 63).reshape(1, 64, 1)
    mask = suppression_mask(peak)
    assert mask[0, 0].item() == pytest.approx(2, abs=0.2)
    assert 0 <= mask.min() <= mask.max() <= 2


def test_a_later_part_does_not_see_what_the_first_looked_at():
    made, inputs = SEMICON(CHANNELS, 12, width=16), stages(2)
    with torch.no_grad():
        made.scores[0].weight.mul_(200)  # the first part looks at one token
    seen: list[Tensor] = []
    for score in made.scores:
        score.register_forward_hook(lambda _m, given, _out: seen.append(given[0]))
    made(inputs)
    first = made.scores[0](seen[0]).softmax(1)[0, :, 0]
    token = int(first.argmax())
    assert seen[1][0, token].norm() < 0.2 * seen[0][0, token].norm()
    assert not seen[1].equal(seen[0])


@pytest.mark.parametrize(
    ("total", "parts", "expected"), [(8, 3, [3, 3, 2]), (6, 3, [2, 2, 2]), (1, 3, [1, 0, 0])]
)
def test_the_bits_of_the_parts_by_hand(total, parts, expected):
    hashes = SEMICON(CHANNELS, 2 * total, width=16, parts=parts).part_hash
    assert [layer.linear.out_features for layer in hashes] == expected


def looped(interaction: Interaction, image: Tensor) -> Tensor:
    """An image (D, S) plus the attention of its channels times their values, channel by channel."""
    query, key, value = (
        layer(image[None])[0] for layer in (interaction.query, interaction.key, interaction.value)
    )
    width, size = len(image), len(image) // interaction.groups
    found = image.clone()
    for a in range(width):
        group = range(a // size * size, a // size * size + size)
        scores = torch.stack([query[a] @ key[b] / image.shape[1] for b in group])
        weights = (scores.sign() * scores.abs().sqrt()).softmax(0)
        found[a] += sum(w * value[b] for w, b in zip(weights, group, strict=True))
    return found


@pytest.mark.parametrize("groups", [1, 2])
def test_interaction_adds_attention_times_value_within_each_group(groups):
    torch.manual_seed(0)
    interaction, x = Interaction(4, groups), torch.randn(2, 4, 5)
    with torch.no_grad():
        changed, means = x + interaction.change(x, x), interaction(x)
        for image, found, mean in zip(x, changed, means, strict=True):
            expected = looped(interaction, image)
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(mean, expected.mean(1), rtol=1e-3, atol=1e-3)


def test_the_second_step_joins_one_channel_of_each_group_of_the_first():
    both = TwoStepInteraction(96).eval()  # gcd with 64 is 32: 3 groups of 32, then 32 of 3
    assert (both.size, both.within.groups, both.across.groups) == (32, 3, 32)
    x = torch.randn(2, 96, 4)
    within = x + both.within.change(x, x)
    order = [group * 32 + place for place in range(32) for group in range(3)]
    y = both.norm(within[:, order])
    positive = y.clamp(min=0)
    torch.testing.assert_close(both(x), (y + both.across.change(positive, positive)).mean(2))


# Parts refined by the backbone's last block


def block() -> nn.Module:
    """Takes 5 channels, gives the 12 of the last stage, at half the size."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(5, 12, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(12), nn.ReLU6(inplace=True))


def more_stages(batch: int = 8) -> list[Tensor]:
    """The stage maps, then what the block takes."""
    generator = torch.Generator().manual_seed(1)
    return [*stages(batch), torch.randn(batch, 5, 4, 4, generator=generator)]


@pytest.mark.parametrize("network", [PartHash, SEMICON])
def test_a_network_of_parts_wants_one_more_map_only_with_a_block(network):
    assert not network(CHANNELS, 12).refines
    made = network(CHANNELS, 12, block=block())
    assert made.refines and not network.refines
    assert made(more_stages()).u.shape == (8, 12)
    with pytest.raises(ValueError, match="no convolution"):
        network(CHANNELS, 12, block=nn.ReLU())


@pytest.mark.parametrize("network", [PartHash, SEMICON])
def test_the_copy_of_the_block_starts_pretrained_and_trains_on_its_own(network):
    given = block().requires_grad_(False)
    before = {name: value.clone() for name, value in given.state_dict().items()}
    made = network(CHANNELS, 12, block=given)
    copied = made.block.state_dict()
    assert all(torch.equal(copied[name], value) for name, value in before.items())
    (made(more_stages()).u ** 3).sum().backward()
    assert [n for n, p in made.named_parameters() if p.grad is None] == []
    torch.optim.SGD(made.parameters(), lr=1.0).step()
    assert not torch.equal(made.block[0].weight, given[0].weight)
    assert all(torch.equal(given.state_dict()[name], value) for name, value in before.items())


@pytest.mark.parametrize("network", [PartHash, SEMICON])
def test_codes_of_refined_parts_do_not_depend_on_the_batch_in_evaluation(network):
    made, inputs = network(CHANNELS, 12, block=block()), more_stages()
    made(inputs)
    made.eval()
    others = [torch.cat([x[2:3], 100 * x[5:6]]) for x in inputs]
    torch.testing.assert_close(made(others).u[:1], made(inputs).u[2:3])


def test_refined_parts_by_hand():
    # two places; the block triples and adds one: even weights leave x as it is, (1, 0) doubles it
    triple = nn.Conv2d(1, 1, 1)
    nn.init.constant_(triple.weight, 3.0)
    nn.init.constant_(triple.bias, 1.0)
    x, attention = torch.tensor([[[[2.0, 4.0]]]]), torch.tensor([[[0.5, 0.5], [1.0, 0.0]]])
    expected = torch.tensor([[7.0, 13.0], [13.0, 1.0]]).reshape(1, 2, 1, 1, 2)
    torch.testing.assert_close(refined(triple, x, attention), expected)


def test_parts_are_the_pooled_refined_maps_and_the_whole_is_the_deepest_stage():
    made, inputs = PartHash(CHANNELS, 12, width=16, block=block()).eval(), more_stages()
    output = made(inputs)
    attention = output.own.attention
    assert attention.shape == (8, 4, 16) and output.own.parts.shape == (8, 4, 12)
    tokens = made.tokens(inputs[-1:])[0]
    torch.testing.assert_close(attention, made.score(tokens).softmax(1).transpose(1, 2))
    weighted = inputs[-1][3] * 16 * attention[3, 2].reshape(4, 4)
    torch.testing.assert_close(output.own.parts[3, 2], made.block(weighted[None])[0].mean((1, 2)))
    torch.testing.assert_close(output.own.whole, inputs[-2].mean((2, 3)))
    means = torch.cat([x.mean((2, 3)) for x in inputs[:-1]], dim=1)
    torch.testing.assert_close(output.features, means)
    assert made.decode(torch.eye(12)).shape == (12, 12 + 4 * 12)


def test_semicon_hashes_refined_parts_at_the_full_width_of_the_block():
    made, inputs = SEMICON(CHANNELS, 12, width=16, block=block()).eval(), more_stages()
    u = made(inputs).u
    attention = made.attend(made.tokens(inputs[-1:])[0])
    torch.testing.assert_close(u[:, :6], made.whole_hash(inputs[-2].mean((2, 3))))
    second = refined(made.block, inputs[-1], attention)[:, 1].flatten(2)  # (B, C, S)
    part = made.interaction(second)
    assert part.shape == (8, 12)
    torch.testing.assert_close(u[:, 8:10], made.part_hash[1](part))


@pytest.mark.parametrize("objective", [ExchNetLoss, A2NetLoss])
def test_objectives_of_parts_take_refined_ones(objective):
    network, labels = PartHash(CHANNELS, 12, block=block()), torch.arange(8) % 4
    loss = objective(network, labels, 12)
    for progress in (0.3, 0.9):
        total, _ = loss(network(more_stages()), labels, Step(torch.arange(8), progress))
        total.backward()
        loss.end_epoch()
    assert torch.isfinite(total)
