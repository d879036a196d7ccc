"""The baselines' networks of parts: ExchNet, A2-Net, SEMICON.

With `block`, the backbone's last block (B, C', H, W) -> (B, C, H, W), they look at the map X that
it takes, and refine each part of X by a copy of the block, as public code does with layer 4 of a
ResNet. That needs a backbone that trains along. Without one they look at the tokens of all stages.
Letters: B images, L stages, S tokens, C channels of the last stage, D width, P parts, E channels of
a part (C or D), V features, K bits.
"""

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdhmfe.network import HashLayer, HashNetwork, Output
from fdhmfe.stages import Fusion, stage_means, to_tokens


class Attended(NamedTuple):
    """The whole image and its parts, as `PartHash` returns them in `Output.own`."""

    whole: Tensor  # (B, C) mean of the last stage's map
    parts: Tensor  # (B, P, E) feature of each part
    attention: Tensor  # (B, P, S) weights of the tokens; they sum to one for each part

    @property
    def features(self) -> Tensor:
        """The whole and the parts side by side: (B, V), V = C + P E."""
        return torch.cat([self.whole, self.parts.flatten(1)], dim=1)


class PartNetwork(HashNetwork):
    """What networks of parts share: the tokens they attend to, and the copy of the block.

    With a block, `forward` takes L + 1 maps: those of the stages, then X.
    """

    def __init__(
        self,
        channels: Sequence[int],
        width: int,
        proxies: np.ndarray | None,
        block: nn.Module | None,
    ) -> None:
        """channels: C_l of each stage map; width: D of a token, which attention is made from."""
        super().__init__(proxies)
        self.refines = block is not None
        self.tokens = Fusion(channels if block is None else [taken(block)], width, exchange=False)
        self.block = None if block is None else deepcopy(block).requires_grad_(True)

    def means(self, maps: Sequence[Tensor]) -> Tensor:
        """The mean of each stage's map, side by side: `Output.features`."""
        return stage_means(maps[:-1] if self.refines else maps)

    def look(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The pooled deepest stage (B, C), and the tokens (B, S, D) that parts are made of."""
        seen = maps[-1:] if self.refines else maps
        deepest = to_tokens(maps[-2] if self.refines else maps[-1])
        return deepest.mean(1), torch.cat(self.tokens(seen), dim=1)


def taken(block: nn.Module) -> int:
    """How many channels a block takes, by its first convolution; ValueError if it has none."""
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels
    raise ValueError("the backbone's last block has no convolution: parts cannot be refined by it")


def refined(block: nn.Module, x: Tensor, attention: Tensor) -> Tensor:
    """Part maps (B, P, C, H', W'): x (B, C', H, W), weighted by each attention (B, P, S), refined.

    All parts go through the same block, as in public code. The weights of a part have a mean of
    one, so that the block, which is pretrained, gets inputs of the size it knows.
    """
    weights = attention.unflatten(2, x.shape[2:]) * attention.shape[2]  # (B, P, H, W)
    parts = x[:, None] * weights[:, :, None]  # (B, P, C', H, W)
    return block(parts.flatten(0, 1)).unflatten(0, attention.shape[:2])


class PartHash(PartNetwork):
    """Network of ExchNet and A2-Net: the whole image and 4 attended parts -> one hash layer.

    4 parts as in ExchNet. The public A2-Net has as many as bits, all refined by one copy of layer
    4: 48 passes for an image of 48 bits, too many without a GPU. Public attention is a stack of
    bottlenecks, its maps unnormalised (ReLU); here it is one linear layer, its maps a softmax.
    Sources: ExchNet (arXiv 2008.01369), A2-Net (NeurIPS 2021; arXiv 2311.12894), public code of
    both (DSH_Analysis).
    """

    def __init__(
        self,
        channels: Sequence[int],
        bits: int,
        *,
        width: int = 128,
        parts: int = 4,
        proxies: np.ndarray | None = None,
        block: nn.Module | None = None,
    ) -> None:
        super().__init__(channels, width, proxies, block)
        self.score = nn.Linear(width, parts)
        if block is None:
            self.refine = nn.Sequential(nn.Linear(width, width), nn.GELU())
        self.part_width = width if block is None else channels[-1]
        self.hash = HashLayer(channels[-1] + parts * self.part_width, bits)

    def forward(self, maps: Sequence[Tensor]) -> Output:
        """L maps, or L + 1 with a block -> Output; `own` is an `Attended`."""
        whole, tokens = self.look(maps)
        attention = self.score(tokens).softmax(1).transpose(1, 2)  # (B, P, S)
        if self.block is None:
            parts = self.refine(attention @ tokens)  # (B, P, D)
        else:
            parts = refined(self.block, maps[-1], attention).mean((3, 4))  # (B, P, C)
        attended = Attended(whole, parts, attention)
        return Output(self.encode(attended), self.proxies, features=self.means(maps), own=attended)

    def encode(self, attended: Attended) -> Tensor:
        """The relaxed code u (B, K) of whole and parts."""
        return self.hash(attended.features)

    def decode(self, code: Tensor) -> Tensor:
        """Features (B, V) rebuilt from codes (B, K) by the transposed weights of the hash layer."""
        return code @ self.hash.linear.weight


class SEMICON(PartNetwork):
    """Three parts, found one after the other: each attends to what those before it left out.

    Half of the bits come from the whole image, the rest from the parts; if they do not divide
    evenly, the first parts get one more. (The public code has 14 bits for K = 16. Its mask depends
    on the batch; here the code of an image does not.) With a block, its copy refines all parts, and
    channels interact after it, in two steps; in public code they do so inside layer 4, in that of
    the whole image, too. Source: SEMICON (arXiv 2209.13833) and its authors' code.
    """

    def __init__(
        self,
        channels: Sequence[int],
        bits: int,
        *,
        width: int = 128,
        parts: int = 3,
        proxies: np.ndarray | None = None,
        block: nn.Module | None = None,
    ) -> None:
        narrow = width // 2  # its authors' attention has 64 channels
        super().__init__(channels, narrow, proxies, block)
        self.scores = nn.ModuleList(nn.Linear(narrow, 1) for _ in range(parts))
        part_width = narrow if block is None else channels[-1]
        self.interaction = (Interaction if block is None else TwoStepInteraction)(part_width)
        self.whole_hash = HashLayer(channels[-1], bits - bits // 2)
        shares = np.array_split(range(bits // 2), parts)  # the larger ones come first
        self.part_hash = nn.ModuleList(HashLayer(part_width, len(share)) for share in shares)

    def forward(self, maps: Sequence[Tensor]) -> Output:
        """L maps, or L + 1 with a block -> Output."""
        whole, tokens = self.look(maps)
        attention = self.attend(tokens)  # (B, P, S)
        if self.block is None:
            weights = attention[..., None] * tokens.shape[1]
            parts = (tokens[:, None] * weights).transpose(2, 3)  # (B, P, D, S)
        else:
            parts = refined(self.block, maps[-1], attention).flatten(3)  # (B, P, C, S)
        means = self.interaction(parts.flatten(0, 1)).unflatten(0, parts.shape[:2])
        codes = [code(x) for code, x in zip(self.part_hash, means.unbind(1), strict=True)]
        u = torch.cat([self.whole_hash(whole), *codes], dim=1)
        return Output(u, self.proxies, features=self.means(maps))

    def attend(self, tokens: Tensor) -> Tensor:
        """Weights (B, P, S) of tokens (B, S, D): each part's are made from what is left."""
        found, remaining = [], tokens
        for score in self.scores:
            found.append(score(remaining).softmax(1))  # (B, S, 1)
            remaining = remaining * (2 - suppression_mask(found[-1]))
        return torch.cat(found, dim=2).transpose(1, 2)


class Interaction(nn.Module):
    """Channels that respond together strengthen each other: x (B, D, S) -> mean of x + A V: (B, D).

    A (D, D) is a softmax over channels of the signed square root of Q K^T / S, per image; Q, K and
    V (D, S) are linear in x, so the mean of A V is A times V of the mean token. With groups, all
    this happens within each of them. Public code divides by the root of D instead of S.
    Source: SEMICON's ICON module (arXiv 2209.13833).
    """

    def __init__(self, width: int, groups: int = 1) -> None:
        super().__init__()
        self.groups = groups
        self.query = nn.Conv1d(width, width, 1, groups=groups)
        self.key = nn.Conv1d(width, width, 1, groups=groups)
        self.value = nn.Conv1d(width, width, 1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(2, keepdim=True)
        return (mean + self.change(x, mean)).squeeze(2)

    def change(self, x: Tensor, tokens: Tensor) -> Tensor:
        """A V, with A made from x (B, D, S) and V from tokens (B, D, N): (B, D, N)."""
        query, key, value = (
            layer(given).unflatten(1, (self.groups, -1))
            for layer, given in ((self.query, x), (self.key, x), (self.value, tokens))
        )
        scores = query @ key.transpose(2, 3) / x.shape[2]  # (B, groups, D, D) for D of a group
        # the root of |x| has an infinite slope at 0; 1e-6 makes it finite
        signed_root = scores * (scores.abs() + 1e-6).rsqrt()
        return (signed_root.softmax(3) @ value).flatten(1, 2)


class TwoStepInteraction(nn.Module):
    """Interaction of many channels: x (B, C, S) -> (B, C), first within groups, then across them.

    Groups of G = 64 channels as in SEMICON's code (G is the largest power of two that divides C, if
    that is less); then groups of C / G, one channel of each of the first. Batch norm between the
    two; the second sees its positive part. Source: SEMICON (arXiv 2209.13833).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.size = math.gcd(width, 64)
        self.within = Interaction(width, width // self.size)
        self.norm = nn.BatchNorm1d(width)
        self.across = Interaction(width, self.size)

    def forward(self, x: Tensor) -> Tensor:
        mixed = (x + self.within.change(x, x)).unflatten(1, (-1, self.size))
        y = self.norm(mixed.transpose(1, 2).flatten(1, 2))
        positive = F.relu(y)
        change = self.across.change(positive, positive.mean(2, keepdim=True))
        return y.mean(2) + change.squeeze(2)


@torch.no_grad()
def suppression_mask(attention: Tensor, power: float = 0.15) -> Tensor:
    """How strongly each token is suppressed for the next part: attention (B, S, 1) -> the same.

    clamp((a - mean a) / std(a)^power + 1, 0, 2) over the tokens of an image: 2 hides a token, 1
    leaves it as it is. Source: SEMICON (arXiv 2209.13833), but power 0.15 is from its authors'
    code; the paper has 0.3.
    """
    centred = attention - attention.mean(1, keepdim=True)
    spread = attention.std(1, unbiased=False, keepdim=True).clamp(min=1e-6)
    return (centred / spread**power + 1).clamp(0, 2)
