"""Early prediction: how good is each stage when only the beginning of a sequence is known?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from bdistil.core.examples import metric
from bdistil.core.progressive_ensemble import ROWS, ProgressiveEnsemble
from bdistil.errors import DataError
from bdistil.names import Task
from bdistil.zoo.recurrent import RecurrentBody

FRACTIONS = tuple(tenth / 10 for tenth in range(1, 11))
ROUNDING = 1e-9  # 0.7 of 10 steps are 7, not 8


class EarlyPoint(BaseModel):
    """What is known after a part of the sequence.

    Attributes:
        fraction: of each sequence's own steps, rounded up.
        stages: accuracy, micro F1 of labels, or R² for regression, of each stage.
        teacher: the same of the teacher, None if only its outputs are known.
    """

    model_config = ConfigDict(frozen=True)

    fraction: float
    stages: tuple[float, ...]
    teacher: float | None


@torch.no_grad()
def early_prediction(
    ensemble: ProgressiveEnsemble,
    inputs: Tensor,
    truth: Tensor,
    *,
    padding: Tensor | None = None,
    fractions: Sequence[float] = FRACTIONS,
    teacher_network: nn.Module | None = None,
    task: Task = "classification",
) -> tuple[EarlyPoint, ...]:
    """Metric of every stage and of the teacher against the fraction of the sequence seen.

    Recurrent networks stop where the known steps end. All others need inputs of full length:
    steps that are not known yet are 0, the training mean. Where sequences differ in length, the
    beginning of one is a shorter sequence, padded in front for every network, as in training.

    Args:
        ensemble: of students for sequences.
        inputs: standardised, float32 (N, time, features), such as ``ensemble.standardise(x)``.
        truth: class indices (N,), targets or labels 0 and 1 (N, L).
        padding: the standardised step that stands in front of shorter sequences, (features,); None
            if all are of full length.
        fractions: above 0 and at most 1.
        teacher_network: maps the same inputs to logits (N, L).
        task: decides on the metric.

    Raises:
        DataError: if the inputs are no sequences or a fraction lies outside.

    Example:
        >>> inputs = ensemble.standardise(x)  # doctest: +SKIP
        >>> points = early_prediction(ensemble, inputs, y, fractions=(0.25, 1))  # doctest: +SKIP
        >>> [(point.fraction, point.stages[-1]) for point in points]  # doctest: +SKIP
    """
    if inputs.ndim != 3:
        raise DataError(
            f"inputs have shape {tuple(inputs.shape)}; early prediction takes (N, time, features)."
        )
    for fraction in fractions:
        if not 0 < fraction <= 1:
            raise DataError(f"a fraction is {fraction:g}; it must be above 0 and at most 1.")

    def point(fraction: float) -> EarlyPoint:
        stages = _stage_logits(ensemble, inputs, fraction, padding)
        logits = (
            None
            if teacher_network is None
            else _teacher_logits(teacher_network, inputs, fraction, padding)
        )
        return EarlyPoint(
            fraction=fraction,
            stages=tuple(metric(stage, truth, task) for stage in stages),
            teacher=None if logits is None else metric(logits, truth, task),
        )

    return tuple(map(point, fractions))


def beginnings(
    x: Tensor, fraction: float, *, padding: Tensor | None = None, cut: bool = False
) -> Tensor:
    """The beginning of each sequence, (N, time, features), or fewer steps if `cut`.

    Args:
        x: standardised sequences, float32 (N, time, features).
        fraction: of each sequence's steps, rounded up.
        padding: see :func:`early_prediction`; with it the beginning stands at the end.
        cut: leave unknown steps out instead of giving the training mean; not with `padding`.
    """
    steps = x.shape[1]
    if padding is not None:
        return _padded_beginnings(x, fraction, padding)
    known = math.ceil(fraction * steps - ROUNDING)
    if cut:
        return x[:, :known]
    return torch.cat([x[:, :known], torch.zeros_like(x[:, known:])], dim=1)


def _padded_beginnings(x: Tensor, fraction: float, padding: Tensor) -> Tensor:
    steps = x.shape[1]
    is_padding = torch.isclose(x, padding, rtol=1e-4, atol=1e-5).all(dim=2)
    missing = is_padding.long().cumprod(dim=1).sum(dim=1)  # leading steps only
    own = steps - missing
    unknown = own - (fraction * own.double() - ROUNDING).ceil().long()
    source = torch.arange(steps, device=x.device) - unknown[:, None]  # a shift to the right
    shifted = x.gather(1, source.clamp_min(0)[:, :, None].expand_as(x))
    return torch.where((source < 0)[:, :, None], padding, shifted)


def _stage_logits(
    ensemble: ProgressiveEnsemble, inputs: Tensor, fraction: float, padding: Tensor | None
) -> list[Tensor]:
    """Logits (N, L) of every stage."""
    cut = all(isinstance(student.body, RecurrentBody) for student in ensemble)

    def stages(rows: Tensor) -> Iterator[Tensor]:
        x = beginnings(rows, fraction, padding=padding, cut=cut)
        for logits, _ in ProgressiveEnsemble.steps(ensemble, x):  # `Ensemble` would standardise
            yield logits

    return [torch.cat(parts) for parts in zip(*map(stages, inputs.split(ROWS)), strict=True)]


def _teacher_logits(
    teacher_network: nn.Module, inputs: Tensor, fraction: float, padding: Tensor | None
) -> Tensor:
    teacher_network.eval()
    cut = any(isinstance(part, RecurrentBody) for part in teacher_network.modules())
    parts = (beginnings(rows, fraction, padding=padding, cut=cut) for rows in inputs.split(ROWS))
    return torch.cat([teacher_network(part) for part in parts])
