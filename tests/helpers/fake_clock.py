"""A clock for searches of `tiny`: what stages and the teacher take is made up."""

from __future__ import annotations

import pytest
from torch import nn

from bdistil.core.cost import flops
from bdistil.core.folding import FoldedPrefix
from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.export.stage_timing import StageSeconds
from bdistil.searching import time_limit

TEACHER = 2 * (16 * 16 + 16 * 4)  # FLOPs of `tiny`


def clock(
    monkeypatch: pytest.MonkeyPatch,
    call: float,
    of_flops: float,
    teacher: float | None = 1.0,
    each: float = 0.0,
) -> list[tuple[str, int]]:
    """Seconds of a call, of as many FLOPs as the teacher's, of the teacher and of each student.

    Returns:
        How it is asked.
    """
    asked: list[tuple[str, int]] = []

    def fake(network: nn.Module | None, affine: object, shape: tuple[int, ...], *how: object):
        asked.append(how)  # type: ignore[arg-type]

        def timed(ensemble: ProgressiveEnsemble) -> StageSeconds:
            stage = call + each * len(ensemble)
            cost = flops(FoldedPrefix(ensemble, len(ensemble)), shape)
            return StageSeconds(stage + of_flops * cost / TEACHER, network and teacher)

        return timed

    monkeypatch.setattr(time_limit, "stage_timer", fake)
    return asked
