"""Networks of parts: every bit there, no image coded by its neighbours in the batch."""

import pytest
import torch
from torch import Tensor

from fdhmfe.baselines.networks import (
    SEMICON,
    ChannelInteraction,
    PartHash,
    suppression_mask,
)

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
    scale = 0.0675 ** (0.3 / 2)
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


def test_channel_interaction_is_the_mean_token_of_x_plus_value_times_attention():
    torch.manual_seed(0)
    interaction, x = ChannelInteraction(3), torch.randn(2, 5, 3)
    with torch.no_grad():
        pooled = interaction(x)
        for image, found in zip(x, pooled, strict=True):
            query, key, value = (
                part(image) for part in (interaction.query, interaction.key, interaction.value)
            )
            attention = torch.zeros(3, 3)
            for a in range(3):
                for b in range(3):
                    score = sum(query[s, a] * key[s, b] for s in range(5)) / 5
                    attention[a, b] = score.sign() * score.abs().sqrt()
            attention = attention.softmax(0)
            expected = (image + value @ attention).mean(0)
            torch.testing.assert_close(found, expected, rtol=1e-2, atol=2e-3)
