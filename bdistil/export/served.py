"""How an ensemble is served by default: the runtime that is at hand, and its way to each stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bdistil.export.ensemble import Ensemble
from bdistil.export.onnx_export import ONNX_PACKAGES, export_module, write_prefixes
from bdistil.names import Runtime, Stacking
from bdistil.runtime.cascade import TEACHER_FILE
from bdistil.runtime.onnx_runner import OnnxRunner

Call = Callable[[NDArray[np.float32]], Any]
"""From raw features, float32 (B, ...), to logits."""


def default_runtime() -> Runtime:
    """onnxruntime where graphs can be written and run, as ``Predictor`` prefers it; else torch."""
    return "onnxruntime" if all(map(find_spec, ONNX_PACKAGES)) else "torch"


class Served(NamedTuple):
    """What answers when an ensemble is asked for a stage.

    Attributes:
        straight: to stage 1, 2, ...
        ways: how bodies run on the way to each.
        teacher: from the same features; None if its network is not known.
    """

    straight: Sequence[Call]
    ways: Sequence[Stacking]
    teacher: Call | None


def served(
    ensemble: Ensemble,
    raw_teacher: nn.Module | None,
    runtime: Runtime,
    folder: Path,
    examples: NDArray[np.float32],
) -> Served:
    """An ensemble and its teacher, ready to be timed; call them under ``torch.inference_mode``.

    Args:
        ensemble: with the ways of torch measured, see ``Ensemble.with_fastest_ways``.
        raw_teacher: a network of raw features.
        runtime: what computes them.
        folder: for graphs.
        examples: raw, float32 (N, ...).

    Raises:
        MissingDependencyError: if onnx, onnxscript or onnxruntime is wanted and not installed.
    """
    stages = range(1, len(ensemble) + 1)
    if runtime == "torch":
        one_by_one: Stacking = "none"
        ways = ensemble.config.stacking or (one_by_one,) * len(ensemble)
        straight = [_by_torch(ensemble, stage) for stage in stages]
        return Served(straight, ways, None if raw_teacher is None else _by_torch(raw_teacher))
    way, _ = write_prefixes(ensemble, folder, examples)
    runner = OnnxRunner(folder, ensemble.outputs)
    if raw_teacher is not None:
        export_module(raw_teacher, examples, folder / TEACHER_FILE)
    return Served(
        [_to_stage(runner, stage) for stage in stages],
        (way,) * len(ensemble),
        None if raw_teacher is None else runner.graph(TEACHER_FILE),
    )


def _by_torch(module: nn.Module, *stage: int) -> Call:
    return lambda x: module(torch.as_tensor(x), *stage)


def _to_stage(runner: OnnxRunner, stage: int) -> Call:
    return lambda x: runner.straight(x, stage)
