"""A backbone, or its tail, trained together with a hashing head."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fdhmfe.features.split import Tail
from fdhmfe.network import HashNetwork, Output
from fdhmfe.stages import stage_means
from fdhmfe.support import distributed


class FineTuned(nn.Module):
    """A backbone and a hashing head trained together: [images (B, 3, H, W)] -> Output.

    With the tail of a backbone it takes what the front returns, in place of images.

    With `precision` bf16 the backbone computes under autocast. The head always computes in 32 bits:
    its batch statistics and distances need them. If several processes train, each passes its share
    of the batch and gets the Output of the whole batch.

    The batch norms of the backbone are trained, too: they use the statistics of the batch, and
    their running statistics (momentum 0.1, as in pretraining) adapt to the new images. Public
    hashing code does the same (DeepHash-pytorch, CSQ, OrthoHash: train() on the whole network,
    eval() before coding). Detectors freeze batch norms because their batches have 1 or 2 images.
    """

    def __init__(
        self, backbone: nn.Module, head: HashNetwork, stages: int, precision: str = "32"
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.stages = stages
        self.precision = precision

    @property
    def proxies(self) -> Tensor | None:
        return self.head.proxies

    def forward(self, inputs: list[Tensor]) -> Output:
        maps = self.maps(inputs)
        return self.head([distributed.gather(x) for x in maps] if self.training else maps)

    def maps(self, inputs: list[Tensor]) -> list[Tensor]:
        """What the head reads of this process's images."""
        before: list[Tensor] = []
        kind, half = inputs[0].device.type, self.precision == "bf16"
        with torch.autocast(kind, torch.bfloat16, enabled=half):
            if isinstance(self.backbone, Tail):
                *maps, last = self.backbone(inputs)
                before = [last] if self.head.refines else []
            else:
                images = inputs[0].contiguous(memory_format=torch.channels_last)
                maps = self.backbone(images)
        read = maps[-self.stages :] + before
        return [x.float() for x in read] if half else read


def head_maps(network: nn.Module, inputs: list[Tensor]) -> list[Tensor]:
    """What the head of a network reads: `inputs` themselves where no backbone is trained."""
    return network.maps(inputs) if isinstance(network, FineTuned) else inputs


class MeanPool(HashNetwork):
    """No hashing: `features` are the stages' means, to which a coder is fitted, and so is `u`."""

    def forward(self, maps: Sequence[Tensor]) -> Output:
        features = stage_means(maps)
        return Output(features, features=features)
