"""The longer formulas of the baselines, one function each.

Letters: B images of a batch, M training images, K bits, Y classes, P parts, V features. Relaxed
codes: u (B, K) from a network, f = tanh(u). A pair is similar (s = 1) if its labels are the same.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fdhmfe.network import binarise

# Pairs of images


def bank_pair_loss(u: Tensor, bank: Tensor, similar: Tensor) -> Tensor:
    """Negative log-likelihood of pairs: images of the batch with all images seen so far.

    Mean of log(1 + e^theta) - s theta, theta = u_i . U_j / 2; u (B, K), bank U (M, K), similar
    (B, M). An all-zero row of U is an image not seen yet; it does not count.
    Source: DPSH (arXiv 1511.03855).
    """
    seen = bank.any(dim=1)
    theta = u @ bank[seen].T / 2
    return F.binary_cross_entropy_with_logits(theta, similar[:, seen].float())


def weighted_pair_loss(h: Tensor, bank: Tensor, similar: Tensor, *, alpha: float) -> Tensor:
    """Negative log-likelihood of pairs; similar and other pairs weigh the same.

    Mean of l over similar pairs, plus its mean over the others (0 if there are none); l_ij = log(1
    + e^theta) - s theta, theta = alpha h_i . h_j; h (B, K) in (-1, 1), bank (M, K) of all images
    seen so far, similar (B, M). An all-zero row of the bank does not count. Equals HashNet's sum of
    w_ij l_ij over the number of pairs, with w = |S| / |S_1| for similar pairs and |S| / |S_0| for
    the others. Source: HashNet (arXiv 1702.00758).
    """
    seen = bank.any(dim=1)
    theta, same = alpha * h @ bank[seen].T, similar[:, seen]
    loss = F.binary_cross_entropy_with_logits(theta, same.float(), reduction="none")
    means = [loss[kind].sum() / kind.sum().clamp(min=1) for kind in (same, ~same)]
    return means[0] + means[1]


# A batch against codes solved for all training images (ADSH and the fine-grained specialists)


def dissimilar_target(labels: Tensor) -> float:
    """Target S_ij for pairs of different classes: -(similar pairs) / (other pairs), labels (M,).

    With it, the S of all M^2 pairs add up to zero. Source: the public versions of ADSH, SEMICON and
    A2-Net, which write S <- S (1 + r) - r with r = sum S / sum (1 - S).
    """
    counts = labels.bincount()
    similar = int(counts.square().sum())
    return -similar / max(1, len(labels) ** 2 - similar)


def solve_codes(
    solved: Tensor, f: Tensor, labels: Tensor, *, dissimilar: float, gamma: float
) -> Tensor:
    """Codes B (M, K) that fit outputs f (M, K): one round over the bits, each solved exactly.

    Minimises sum_ij (K S_ij - f_i . b_j)^2 + gamma sum_j |f_j - b_j|^2 over one column of B at a
    time, from `solved` on: b_k = sign(q_k - B_-k F_-k^T f_k), q = K S^T F + gamma F; 0 becomes
    +1. S is 1 for pairs with equal labels (M,), else `dissimilar`. Images with f = 0 (not seen yet)
    do not affect others. Source: ADSH (arXiv 1707.08325), discrete cyclic coordinate descent.
    """
    bits = f.shape[1]
    by_class = f.new_zeros(int(labels.max()) + 1, bits).index_add(0, labels, f)  # (Y, K)
    pull = (1 - dissimilar) * by_class[labels] + dissimilar * by_class.sum(0)  # S^T F
    q = bits * pull + gamma * f
    gram = f.T @ f  # (K, K)
    solved = solved.clone()
    for k in range(bits):
        others = solved @ gram[:, k] - solved[:, k] * gram[k, k]
        solved[:, k] = binarise(q[:, [k]] - others[:, None])[:, 0]
    return solved


# Parts (ExchNet) and attributes (A2-Net)


def mean_hellinger(p: Tensor) -> Tensor:
    """Mean Hellinger distance |sqrt p_l - sqrt p_m| / sqrt 2 over the pairs of parts.

    p (B, P, N): for each part, a distribution over N -> (B,), in 0..1.
    Source: ExchNet (arXiv 2008.01369).
    """
    root = p.clamp(min=1e-12).sqrt()  # the root has an infinite slope at 0
    first, second = torch.triu_indices(p.shape[1], p.shape[1], offset=1)
    return (root[:, first] - root[:, second]).norm(dim=-1).mean(1) / 2**0.5


def part_diversity_loss(attention: Tensor, parts: Tensor, *, gap: float = 0.4) -> Tensor:
    """Small if the parts attend to different tokens, and have different features.

    1 - H(attention) + relu(gap - H(softmax(parts))), H the mean Hellinger distance of the parts;
    attention (B, P, S), parts (B, P, D). Source, gap included: ExchNet (arXiv 2008.01369).
    """
    space = 1 - mean_hellinger(attention)
    channel = F.relu(gap - mean_hellinger(parts.softmax(-1)))
    return (space + channel).mean()


def code_correlation_loss(f: Tensor) -> Tensor:
    """Mean squared entry of F^T F - B I, over B K; f (B, K). Small if bits are uncorrelated.

    Source: A2-Net (NeurIPS 2021; arXiv 2311.12894).
    """
    count, bits = f.shape
    gram = f.T @ f - count * torch.eye(bits, device=f.device)
    return gram.square().mean() / (count * bits)
