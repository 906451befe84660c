"""Several processes that train as one: `torchrun -m ironstep train`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ironstep._input_error import InputError, shown


@dataclass(frozen=True)
class World:
    """One process among all that train together; alone it is the first of one."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes."""
        return self.rank == 0

    def sum(self, numbers: Tensor) -> Tensor:
        """Add tensors of all processes."""
        if self.size > 1:
            dist.all_reduce(numbers)
        return numbers

    def gather(self, rows: Tensor, n: int) -> Tensor:
        """Return all rows, of which each process has every size-th from its rank on."""
        if self.size == 1:
            return rows
        most = -(-n // self.size)
        own = rows.new_zeros((most, *rows.shape[1:]))
        own[: len(rows)] = rows
        of_all = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(of_all, own)
        return torch.stack(of_all, 1).flatten(0, 1)[:n]

    def wrap(self, network: nn.Module) -> nn.Module:
        """Let the gradients be averaged over all processes."""
        if self.size == 1:
            return network
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=devices)


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the processes that torchrun has started, if it has."""
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device: got {shown(device)}; auto, cpu or cuda expected")
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise InputError("device: got 'cuda', and torch finds none here")
    on_cuda = there and device != "cpu"
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    chosen = torch.device("cpu")
    if on_cuda:
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    if size == 1:
        yield World(0, 1, chosen)
        return
    if not dist.is_available():
        raise InputError("this torch cannot train in several processes")
    dist.init_process_group("nccl" if on_cuda else "gloo")
    try:
        yield World(rank, size, chosen)
    finally:
        dist.destroy_process_group()


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalization by the statistics of all processes, on the CPU, where torch has none."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's name
        if input.dim() < 2:
            raise ValueError(f"expected at least 2D input (got {input.dim()}D input)")

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Normalize."""
        if not self.training or self.running_mean is None or self.running_var is None:
            return super().forward(input)
        over = [0, *range(2, input.dim())]
        shape = [1, -1, *(1,) * (input.dim() - 2)]
        count = input.numel() / input.shape[1]
        total = torch.cat([input.sum(over), input.new_tensor([count])])
        total = _all_sum(total)
        n = total[-1].detach()
        mean = total[:-1] / n
        centred = input - mean.reshape(shape)
        var = _all_sum(centred.square().sum(over)) / n
        with torch.no_grad():
            momentum = self.momentum
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
                if momentum is None:
                    momentum = 1 / float(self.num_batches_tracked)
            momentum = momentum or 0.0
            self.running_mean.lerp_(mean.detach(), momentum)
            self.running_var.lerp_(var.detach() * n / (n - 1), momentum)
        normal = centred * (var + self.eps).rsqrt().reshape(shape)
        if self.weight is not None:
            normal = normal * self.weight.reshape(shape) + self.bias.reshape(shape)
        return normal


class _AllSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, own: Tensor) -> Tensor:  # noqa: ARG004
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def _all_sum(own: Tensor) -> Tensor:
    total: Tensor = _AllSum.apply(own)
    return total


def synchronize_batchnorm(network: nn.Module, device: torch.device) -> nn.Module:
    """Make batch normalizations those of all processes; parameters and names stay."""
    if device.type == "cuda":
        convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm
        converted: nn.Module = convert(network)
        return converted
    for module in network.modules():
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            module.__class__ = SyncBatchNorm
    return network
