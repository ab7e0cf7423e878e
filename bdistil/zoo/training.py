"""Training a teacher, and its logits on a whole data set."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from bdistil.core.examples import metric
from bdistil.core.gathering import Gathered
from bdistil.core.placement import copied
from bdistil.core.step import autocast
from bdistil.errors import TeacherError
from bdistil.names import Precision, Task
from bdistil.zoo.data_parallel import ALONE, Share

Progress = Callable[[int, int, float], None]
Loss = Callable[..., Tensor]
Views = Callable[[int, Tensor, Tensor], Tensor]
"""Copies for an epoch, from 1, of some rows of all inputs, given by their numbers."""

LOSSES: dict[Task, Loss] = {
    "classification": functional.cross_entropy,
    "multilabel": functional.binary_cross_entropy_with_logits,
    "regression": functional.mse_loss,
}

_WARM_UP = 0.05  # share of all steps
_USUAL_DECAY = 5.0  # beyond it, rather than the learning rate, makes training diverge


def train_teacher(
    model: nn.Module,
    train_x: Tensor,
    train_y: Tensor,
    validation_x: Tensor,
    validation_y: Tensor,
    *,
    task: Task,
    epochs: int,
    lr: float,
    batch_size: int,
    weight_decay: float,
    seed: int,
    progress: Progress | None = None,
    views: Views | None = None,
    weights: Tensor | None = None,
    validation_weights: Tensor | None = None,
    validation_groups: Tensor | None = None,
    precision: Precision = "fp32",
    share: Share = ALONE,
) -> float:
    """Train in place with AdamW and keep the last epoch, or an earlier one that is clearly better.

    Clearly is by more than a standard error of an accuracy, and by anything of other metrics: a
    cosine ends in a good place, and the best of many epochs is best by chance mostly, all the more
    where validation is of few speakers or people (measured in results/2026-11-29-spoken). The best
    epoch has the highest validation metric and, among equals, the lowest validation loss. Equal
    seeds give equal weights on a CPU.

    Several processes, each with its share, all of the data and `model`, train one and the same: in
    the first of them it is judged and kept, in the others it is left as the last epoch has it.

    Args:
        model: maps inputs to logits, (B, L); left in evaluation mode.
        train_x: standardised inputs, float32 (N, *input_shape), on the model's device or, copied
            to it batch by batch, in host memory.
        train_y: int64 classes (N,), or float32 (N, L): targets of a scale near one, or 0 and 1.
        validation_x: as `train_x`.
        validation_y: as `train_y`.
        task: cross-entropy on classes or on each label, or mean squared error on targets.
        epochs: passes over the training data.
        lr: highest learning rate, reached after a short warm-up and followed by a cosine.
        batch_size: most examples in one step, of all processes together.
        weight_decay: of AdamW.
        seed: of the order of examples and of dropout; the caller's random state stays untouched.
        progress: called after each epoch with (epoch from 1, epochs, validation metric of the
            rows as they are).
        views: makes changed copies of some rows, different ones in each epoch; None trains on the
            rows themselves.
        weights: of the training examples in the loss, (N,), of mean 1; None weighs all alike.
        validation_weights: of the validation examples, likewise, in metric and loss.
        validation_groups: such as speakers, int64 (N,): the standard error is one over groups. Of
            a single one nothing is known, and the last epoch is kept.
        precision: of the products in training, by autocast; loss, weights and judging are float32.
        share: of this process; the others are at work at the same time, with equal arguments.

    Returns:
        The validation metric of what is kept: accuracy, micro F1, or R² averaged over the targets;
        NaN where another process judges.

    Raises:
        TeacherError: if the loss is no longer finite.
    """
    loss_of = LOSSES[task]
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=weight_decay)
    schedule = _schedule(optimizer, epochs * math.ceil(len(train_x) / batch_size))
    score = best = (-math.inf, -math.inf)
    best_state = model.state_dict()
    device = _device_of(model)
    devices = [device] if device.type == "cuda" else []
    network = share.shared(model)
    order = torch.Generator().manual_seed(seed)  # the same in all processes, whatever they draw
    with torch.random.fork_rng(devices):
        torch.manual_seed(share.seed(seed))
        for epoch in range(1, epochs + 1):
            train_loss = _train_epoch(
                network,
                train_x,
                train_y,
                loss_of,
                optimizer,
                schedule,
                _shuffled(len(train_x), batch_size, train_x.device, order),
                None if views is None else partial(views, epoch),
                weights,
                precision,
                share,
            )
            if not share.is_first:
                continue
            score = _score(model, validation_x, validation_y, loss_of, task, validation_weights)
            _check_finite(train_loss + abs(score[1]), epoch, epochs, lr, weight_decay)
            if score > best:
                best, best_state = score, copy.deepcopy(model.state_dict())
            if progress is not None:
                shown = score[0]
                if validation_weights is not None:
                    shown = metric(logits_in_batches(model, validation_x), validation_y, task)
                progress(epoch, epochs, shown)
    if not share.is_first:
        return math.nan
    if score == best:
        return score[0]
    last_state = copy.deepcopy(model.state_dict())
    model.load_state_dict(best_state)
    error = _standard_error(model, validation_x, validation_y, task, validation_groups)
    if 0 < best[0] - score[0] <= error:
        model.load_state_dict(last_state)
        return score[0]
    return best[0]


@torch.no_grad()
def logits_in_batches(
    model: nn.Module, x: Tensor, batch_size: int = 1024, out: Tensor | None = None
) -> Tensor:
    """Logits (N, L) of inputs (N, *input_shape), in evaluation mode and without gradients.

    The model is left in evaluation mode; it may be on another device than the inputs, where the
    logits are. `out` is where they are written if given.
    """
    model.eval()
    device = _device_of(model)
    batches = x.split(batch_size)
    if out is None:
        logits = Gathered(len(x))
        for batch in batches:
            logits.add(model(copied(batch, device)).to(x.device))
        return logits.tensor
    for rows, batch in zip(out.split(batch_size), batches, strict=True):
        rows.copy_(model(copied(batch, device)))
    return out


def _device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _schedule(optimizer: torch.optim.Optimizer, steps: int) -> LambdaLR:
    """Linear warm-up, then a cosine to zero."""
    warm_up = max(1, round(_WARM_UP * steps))

    def factor(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))

    return LambdaLR(optimizer, factor)


def _train_epoch(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    loss_of: Loss,
    optimizer: torch.optim.Optimizer,
    schedule: LambdaLR,
    batches: Iterable[Tensor],
    views: Callable[[Tensor, Tensor], Tensor] | None,
    weights: Tensor | None,
    precision: Precision,
    share: Share,
) -> float:
    """One pass over the data; returns the sum of this process's parts of the batches' losses."""
    model.train()
    device = _device_of(model)
    total = torch.zeros((), device=device)
    for batch in batches:
        index = share.rows(batch)
        inputs = x[index] if views is None else views(x, index)
        own = None if weights is None else copied(weights[index], device)
        with autocast(precision, device):
            outputs = model(copied(inputs, device))
        loss = _weighted(loss_of, outputs.float(), copied(y[index], device), own)
        loss = loss * share.weight(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.detach()
    return total.item()


def _weighted(loss_of: Loss, outputs: Tensor, y: Tensor, weights: Tensor | None) -> Tensor:
    """The mean of all losses, each times its example's weight."""
    if weights is None:
        return loss_of(outputs, y)
    losses = loss_of(outputs, y, reduction="none")
    return (
        losses.flatten(1).mean(dim=1) * weights if losses.dim() > 1 else losses * weights
    ).mean()


def _shuffled(
    examples: int, batch_size: int, device: torch.device, order: torch.Generator
) -> Iterator[Tensor]:
    """Batches of nearly equal size: a last one of a single example would upset batch norm."""
    batches = math.ceil(examples / batch_size)
    yield from torch.randperm(examples, generator=order).to(device).tensor_split(batches)


def least_batch(examples: int, batch_size: int) -> int:
    """Rows of the smallest batch, and so the most processes that a training can have."""
    return examples // math.ceil(examples / batch_size)


def _score(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    loss_of: Loss,
    task: Task,
    weights: Tensor | None,
) -> tuple[float, float]:
    """Validation metric and negative loss: higher is better in both."""
    outputs = logits_in_batches(model, x)
    return metric(outputs, y, task, weights), -_weighted(loss_of, outputs, y, weights).item()


def _standard_error(
    model: nn.Module, x: Tensor, y: Tensor, task: Task, groups: Tensor | None
) -> float:
    """Of the model's accuracy, over examples or over whole groups; 0 for other metrics.

    Over groups it is that of a ratio of sums, robust to what examples of one group have in common.
    """
    if task != "classification":
        return 0.0
    right = (logits_in_batches(model, x).argmax(dim=1) == y).double()
    apart = right - right.mean()
    if groups is not None:
        number = groups.unique(return_inverse=True)[1].to(apart.device)
        apart = torch.bincount(number, weights=apart)
        if len(apart) == 1:
            return math.inf
        apart *= math.sqrt(len(apart) / (len(apart) - 1))
    return float(apart.norm()) / len(x)


def _check_finite(loss: float, epoch: int, epochs: int, lr: float, weight_decay: float) -> None:
    if not math.isfinite(loss):
        decays = weight_decay > _USUAL_DECAY
        field, value = ("weight_decay", weight_decay) if decays else ("lr", lr)
        raise TeacherError(
            f"teacher.{field} is {value:g}: the loss is {loss} in epoch {epoch} of {epochs}; "
            f"try a lower one, such as {1e-4 if decays else min(lr / 10, 0.01):g}."
        )
