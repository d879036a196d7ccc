"""Where a run computes: its device, and how several processes of torchrun share one run.

Each process runs the backbone on its share of a batch. Then the stage maps of all processes are
gathered, and every process computes the head and the loss of the whole batch: a head costs little
beside a backbone. So all that depends on the batch (batch-hard triplets, bit statistics, batch
norms, memories of codes) sees the whole batch, and no method needs code for several processes.
With one process, every function here returns its argument as it is.
"""

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from itertools import chain
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn

T = TypeVar("T")


def device() -> torch.device:
    """This process's own GPU; the CPU if there is none, or if CUDA_VISIBLE_DEVICES hides them."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("cpu")


def only_the_first_prints() -> AbstractContextManager:
    """Within the block, the other processes print nothing: they would say the same."""
    return redirect_stdout(io.StringIO()) if rank() else nullcontext()


def device_of(network: nn.Module) -> torch.device:
    """The device that a network's tensors are on."""
    return next(chain(network.parameters(), network.buffers()), torch.empty(0)).device


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def process_group() -> Iterator[None]:
    """Join the other processes, if torchrun started this one: NCCL between GPUs, else gloo."""
    if not dist.is_torchelastic_launched():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(device())
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def first_goes_first() -> Iterator[None]:
    """The first process runs the block alone, then the others do: it can prepare files for them."""
    if rank() > 0:
        dist.barrier()
    yield
    if world_size() > 1 and rank() == 0:
        dist.barrier()


def as_the_first(value: T) -> T:
    """The value that the first process passed, in all processes, so that all decide alike."""
    box = [value]
    if world_size() > 1:
        dist.broadcast_object_list(box)
    return box[0]


def agreed(value: int) -> int:
    """`value`, a number of finished epochs; RuntimeError if another process passed another."""
    values = [value] * world_size()
    if world_size() > 1:
        dist.all_gather_object(values, value)
    if set(values) != {value}:
        raise RuntimeError(
            f"the processes found {values} finished epochs: results_dir must be one folder that "
            "all machines share"
        )
    return value


def share(rows: np.ndarray) -> np.ndarray:
    """This process's part of a batch's rows (B,). ValueError if B does not divide evenly."""
    if len(rows) % world_size():
        raise ValueError(
            f"a batch of {len(rows)} does not divide evenly among {world_size()} processes: "
            "change batch_size"
        )
    size = len(rows) // world_size()
    return rows[rank() * size : (rank() + 1) * size]


# The differentiable collectives of torch.distributed.nn.functional are deprecated, in favour of a
# private module. Backward, its gather would also send and add up what all processes have already.
class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(context: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        # Every process computes the whole loss, so this gradient is complete. Its backbone saw only
        # a part of the batch: the factor turns the mean that average_gradients takes into a sum.
        return world_size() * gradient.chunk(world_size())[rank()]


def gather(x: Tensor) -> Tensor:
    """The parts (B / P, ...) of all P processes as one batch (B, ...), in the order of `share`."""
    return _Gather.apply(x.contiguous()) if world_size() > 1 else x


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes."""
    if world_size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    parts = (flat / world_size()).split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def encoding_share(rows: np.ndarray) -> np.ndarray:
    """This process's part of the rows (M,): every P-th. Some repeat, to make the parts equal."""
    if not len(rows):
        return rows
    return np.resize(rows, -(-len(rows) // world_size()) * world_size())[rank() :: world_size()]


def collect(codes: Tensor, count: int) -> Tensor:
    """Codes (count, K) of all rows, on the CPU, from the codes (B, K) of each encoding_share."""
    if world_size() == 1:
        return codes
    parts = [torch.empty_like(codes, device=device()) for _ in range(world_size())]
    dist.all_gather(parts, codes.to(device()))
    return torch.stack(parts, dim=1).flatten(0, 1)[:count].cpu()


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        # The loss of every process depends on this x: add up their gradients.
        return _Sum.forward(context, gradient)


class GlobalBatchNorm(nn.BatchNorm2d):
    """Batch norm over the batches of all processes, on CPUs: torch's SyncBatchNorm needs GPUs.

    x (B, C, H, W), with the same B in every process.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        mean = self.global_mean(x)
        centred = x - mean
        variance = self.global_mean(centred.square())
        count = world_size() * x.numel() / x.shape[1]
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.flatten(), self.momentum)
            self.running_var.lerp_(variance.flatten() * count / (count - 1), self.momentum)
        scale = self.weight[:, None, None] * (variance + self.eps).rsqrt()
        return centred * scale + self.bias[:, None, None]

    def global_mean(self, x: Tensor) -> Tensor:
        """Mean over all processes: (B, C, H, W) -> (1, C, 1, 1). Gradients reach every x."""
        wide = x.float() if x.dtype == torch.bfloat16 else x
        return _Sum.apply(wide.mean((0, 2, 3), keepdim=True)) / world_size()


def global_batch_norms(network: nn.Module) -> nn.Module:
    """Replace the batch norms of a network by ones that see the whole batch in training.

    Parameters, buffers and their names stay. A network that was converted before is returned as it
    is. Raises ValueError, on a CPU, for a batch norm that is not a BatchNorm2d.
    """
    done = any(isinstance(m, (nn.SyncBatchNorm, GlobalBatchNorm)) for m in network.modules())
    if world_size() == 1 or done:
        return network
    if torch.cuda.is_available():
        return convert_sync_batchnorm(network)
    for name, module in network.named_modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = GlobalBatchNorm  # which adds no state of its own
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise ValueError(
                f"{name} ({type(module).__name__}) cannot see the batches of other processes on a "
                "CPU: use GPUs, one process, or another backbone"
            )
    return network
