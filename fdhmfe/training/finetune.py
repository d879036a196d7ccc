"""A backbone trained together with its hashing head."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fdhmfe.network import HashNetwork, Output
from fdhmfe.stages import to_tokens
from fdhmfe.support import distributed


class FineTuned(nn.Module):
    """A backbone and a hashing head trained together: [images (B, 3, H, W)] -> Output.

    With `precision` bf16 the backbone computes under autocast; the head, whose batch statistics
    and distances want the digits, in 32 bits. In training, where several processes share a batch,
    each passes its images and gets the Output of all.

    Batch norms of the backbone train as the rest of it does, on the statistics of the batch, and
    their running statistics (momentum 0.1, as in pretraining) move to the new images: public
    hashing code (DeepHash-pytorch, CSQ, OrthoHash) calls train() on the whole network, and eval()
    before coding. Freezing them is the custom of detection, whose batches are of one or two.
    """

    def __init__(
        self, backbone: nn.Module, head: nn.Module, stages: int, precision: str = "32"
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
    """The mean of the last stage's map in place of a code: what pooled methods read."""

    def forward(self, maps: Sequence[Tensor]) -> Output:
        return Output(to_tokens(maps[-1]).mean(1))
