"""A backbone trained together with its hashing head."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fdhmfe.network import HashNetwork, Output
from fdhmfe.stages import to_tokens
from fdhmfe.support import distributed


class FineTuned(nn.Module):
    """A backbone and a hashing head trained together: [images (B, 3, H, W)] -> Output.

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
        maps = self.maps(inputs[0])
        return self.head([distributed.gather(x) for x in maps] if self.training else maps)

    def maps(self, images: Tensor) -> list[Tensor]:
        """What the head reads of this process's images."""
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            maps = self.backbone(images)[-self.stages :]
        return [x.float() for x in maps] if self.precision == "bf16" else maps


class MeanPool(HashNetwork):
    """Returns the mean of the last stage's map as `u`: the features that pooled methods use."""

    def forward(self, maps: Sequence[Tensor]) -> Output:
        return Output(to_tokens(maps[-1]).mean(1))
