"""Which way straight to a stage is the fastest here: measured, among those that answer alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bdistil.core.cost import timed_in_turns
from bdistil.core.folding import FoldedPrefix
from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.export.flattening import flattened
from bdistil.export.merged_layers import Affine
from bdistil.export.stacking import StackedStages, Standardised
from bdistil.names import STACKINGS, Stacking

BATCHES = (1, 32)  # of equal weight
EXACT = 1e-5  # of a logit, or of the largest logit where that is above 1


def ways_to(
    students: ProgressiveEnsemble, affine: Affine, input_shape: Sequence[int], stage: int
) -> dict[Stacking, nn.Module]:
    """Networks from raw features (B, ...) to F_stage (B, L), by how they run the bodies.

    Args:
        students: first to last.
        affine: the standardisation.
        input_shape: of one example.
        stage: that they lead to.
    """
    one_by_one = Standardised(FoldedPrefix(students, stage), affine)
    found: dict[Stacking, nn.Module] = {"none": one_by_one.eval()}
    for way in STACKINGS[1:]:
        stacked = StackedStages(students, affine, input_shape, stage, way).eval()
        if stacked.stacks:
            found[way] = flattened(stacked)
        if not stacked.layered:
            break
    return found


def random_inputs(affine: Affine, input_shape: Sequence[int]) -> list[Tensor]:
    """Raw features to be timed on, a batch for each of :data:`BATCHES`."""
    generator = torch.Generator().manual_seed(0)
    standard = [torch.randn(batch, *input_shape, generator=generator) for batch in BATCHES]
    return [affine.shift + affine.scale * x.to(affine.shift) for x in standard]


@torch.inference_mode()
def fastest_way(ways: Mapping[Stacking, Callable[[Any], Any]], inputs: Sequence[Any]) -> Stacking:
    """The way with the least product of medians over the inputs, among those that are exact.

    Args:
        ways: from an input to logits, tensors or arrays; ``none`` is what others must agree with.
        inputs: batches of several sizes.
    """
    exact = [
        way for way, run in ways.items() if all(_agree(ways["none"](x), run(x)) for x in inputs)
    ]
    if len(exact) < 2:
        return "none"
    total = np.zeros(len(exact))
    for x in inputs:
        calls = [_bound(ways[way], x) for way in exact]
        rows = timed_in_turns(calls, repeats=5, warmup=2, seconds=0.02)
        total += np.log(np.median(rows, axis=0))
    return exact[int(total.argmin())]


def _bound(run: Callable[[Any], Any], x: Any) -> Callable[[], object]:
    return lambda: run(x)


def _agree(expected: Any, given: Any) -> bool:
    """Whether logits differ by rounding alone."""
    largest = max(1.0, float(abs(expected).max()))
    return float(abs(expected - given).max()) <= EXACT * largest
