"""One training shared by several processes: each takes a part of every batch.

Every batch is the one that a single process would take, its loss is the mean over all of its rows
and batch norm counts all of them, so the number of processes changes a result by rounding alone.
"""

from __future__ import annotations

import copy
import warnings
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from bdistil.core.seeds import derived_seed


class Share(NamedTuple):
    """Which part of a training this process has.

    Attributes:
        rank: of the process, from 0.
        processes: of torch's default process group, which is open where there are several.
    """

    rank: int = 0
    processes: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process judges and keeps what is trained."""
        return self.rank == 0

    def rows(self, batch: Tensor) -> Tensor:
        """This process's rows (n,) of a batch's (B,); no part is empty if B >= processes."""
        return batch.tensor_split(self.processes)[self.rank]

    def weight(self, batch: Tensor) -> float:
        """What the mean loss of the own rows counts: DDP averages over processes, not rows."""
        return len(self.rows(batch)) * self.processes / len(batch)

    def seed(self, seed: int) -> int:
        """Of dropout, whose masks differ between the parts of a batch."""
        return seed if self.is_first else derived_seed(seed, "process", self.rank)

    def shared(self, model: nn.Module) -> nn.Module:
        """What to train in the model's stead: it has the model's own parameters and buffers.

        All processes begin with the first one's parameters, and end with equal ones.
        """
        if self.processes == 1:
            return model
        tensors = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
        twin = with_shared_norms(copy.deepcopy(model, tensors), self)
        with (
            warnings.catch_warnings()
        ):  # torch 2.14 has another name for it, 2.11 does not know that
            warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)
            return DistributedDataParallel(twin, broadcast_buffers=False, static_graph=True)


ALONE = Share()


def with_shared_norms(model: nn.Module, share: Share) -> nn.Module:
    """The model with batch norms that count the rows of all processes; changed in place."""
    if isinstance(model, _BatchNorm):
        return SharedBatchNorm(model, share)
    for name, part in model.named_children():
        setattr(model, name, with_shared_norms(part, share))
    return model


class SharedBatchNorm(nn.Module):
    """Batch norm over the rows of all processes; torch's own knows GPUs alone.

    Args:
        norm: whose weights, options and running figures it uses.
        share: of this process.
    """

    def __init__(self, norm: _BatchNorm, share: Share) -> None:
        super().__init__()
        self.norm = norm
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Of (B, channels, ...), in its dtype; counted in float32."""
        norm = self.norm
        if not norm.training:
            normed: Tensor = norm(x)
            return normed
        values = x.float()
        mean, variance, count = self.counted(values.detach())
        if norm.running_mean is not None and norm.running_var is not None:
            self.remember(mean, variance * count / (count - 1))
        weight = norm.weight if norm.affine else torch.ones_like(mean)
        bias = norm.bias if norm.affine else torch.zeros_like(mean)
        normed = Normed.apply(values, weight, bias, mean, variance, count, norm.eps)
        return normed.to(x.dtype)

    def counted(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and variance of each channel over all processes, and how many numbers they are of.

        Means and variances travel, not sums of squares, whose difference would lose digits.
        """
        # Several times as fast as var_mean; it has no running figures to update.
        own_mean, own_variance = torch.batch_norm_update_stats(values, None, None, 0.0)
        count = values.new_tensor([values.numel() // values.shape[1]])
        own = torch.cat([own_mean, own_variance, count])
        rank, processes = self.share
        before, after = own.new_zeros(rank, len(own)), own.new_zeros(processes - rank - 1, len(own))
        table = torch.cat([before, own[None], after])
        distributed.all_reduce(table)
        means, variances, counts = table.split([len(own_mean), len(own_mean), 1], dim=1)
        shares = counts / counts.sum()
        mean = (shares * means).sum(0)
        variance = (shares * (variances + (means - mean) ** 2)).sum(0)
        return mean, variance, counts.sum()

    def remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running figures towards those of a batch, as torch does."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        step = 1 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        norm.running_mean.lerp_(mean, step)
        norm.running_var.lerp_(variance, step)


class Normed(torch.autograd.Function):
    """(x - mean) / deviation * weight + bias, where mean and deviation are of all processes' x."""

    @staticmethod
    def forward(
        context: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        eps: float,
    ) -> Tensor:
        """Norm with figures that are known."""
        context.save_for_backward(x, weight, mean, variance, count)
        context.eps = eps
        return functional.batch_norm(x, mean, variance, weight, bias, eps=eps)

    @staticmethod
    def backward(context: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        """As if the figures were constant, less what each x moves them by, in all processes.

        With z the normed x: weight / deviation * (slope - mean slope - z * mean(slope * z)).
        """
        x, weight, mean, variance, count = context.saved_tensors
        of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            slope, x, weight, mean, variance, None, None, False, context.eps, [True, True, True]
        )
        sums = torch.stack([of_bias, of_weight])  # of the slopes, and of the slopes times z
        distributed.all_reduce(sums)
        mean_slope, mean_slope_z = sums / count
        inverse = torch.rsqrt(variance + context.eps)
        factor = -weight * inverse * inverse * mean_slope_z
        rest = -weight * inverse * mean_slope - factor * mean
        shape = 1, -1, *[1] * (x.dim() - 2)
        of_x = of_x.addcmul_(x, factor.view(shape)).add_(rest.view(shape))
        return of_x, of_weight, of_bias, None, None, None, None
