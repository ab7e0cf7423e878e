"""Seconds of every stage beside the teacher's, measured alike for a search and its rivals."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bdistil.core.cost import latencies
from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.core.threads import one_thread
from bdistil.errors import BdistilWarning
from bdistil.experiments.figures import Figures
from bdistil.export.fastest import fastest_way, random_inputs, ways_to
from bdistil.export.merged_layers import Affine

REPEATS = 300


@dataclass(frozen=True)
class Shares:
    """Networks of which each runs for a share of the examples, in the mean over them."""

    parts: tuple[tuple[float, nn.Module], ...]


Timed = nn.Module | Shares | None


def add_times(
    figures: Figures,
    stages: Sequence[Timed],
    teacher: nn.Module | None,
    input_shape: Sequence[int],
) -> None:
    """Put the seconds of :func:`clocked` among each stage's figures."""
    for stage, times in zip(figures.stages, clocked(stages, teacher, input_shape), strict=True):
        stage.update(times)


def clocked(
    stages: Sequence[Timed],
    teacher: nn.Module | None,
    input_shape: Sequence[int],
) -> list[dict[str, float]]:
    """Median seconds of one example in torch, one thread, by turns in random order in one process.

    Each stage runs in the way that is fastest here (folded heads, layers stacked or one by one).
    Of networks of different processes the ratios can be compared, the seconds hardly.

    Args:
        stages: ensembles whose last stage is the answer, networks, or shares of several; None has
            no figures.
        teacher: of standardised inputs, as the ensembles; None if there is no network.
        input_shape: of one example.

    Returns:
        For each stage `latency`, seconds, and `latency_ratio`, over the teacher's, as far as they
        can be measured.
    """
    affine = Affine(torch.zeros(()), torch.ones(()))
    inputs = random_inputs(affine, input_shape)
    with one_thread():
        parts = [
            (place, share, fastest(network, affine, input_shape, inputs))
            for place, stage in enumerate(stages)
            for share, network in parts_of(stage)
        ]
        reference = [] if teacher is None or not answers(teacher, inputs[0]) else [teacher]
        networks = [network for _, _, network in parts]
        timed = latencies([*networks, *reference], inputs[0], repeats=REPEATS)
    figures: list[dict[str, float]] = [{} for _ in stages]
    for (place, share, _), seconds in zip(parts, timed, strict=False):
        stage = figures[place]
        stage["latency"] = stage.get("latency", 0.0) + share * seconds
    for stage in figures if reference else []:
        if stage:
            stage["latency_ratio"] = stage["latency"] / timed[-1]
    return figures


def parts_of(stage: Timed) -> Sequence[tuple[float, nn.Module]]:
    """Networks and their shares of the examples."""
    if isinstance(stage, Shares):
        return stage.parts
    return [] if stage is None else [(1.0, stage)]


def answers(teacher: nn.Module, x: Tensor) -> bool:
    """Whether a network runs; a warning says why not."""
    try:
        with torch.inference_mode():
            teacher.eval()(x)
    except Exception as error:  # the user's own network may raise anything
        warnings.warn(f"the teacher's time is left out: {error}", BdistilWarning, stacklevel=2)
        return False
    return True


def fastest(
    stage: nn.Module,
    affine: Affine,
    input_shape: Sequence[int],
    inputs: Sequence[Tensor],
) -> nn.Module:
    """The fastest network to an ensemble's last stage; a network as it is."""
    if not isinstance(stage, ProgressiveEnsemble):
        return stage
    ways = ways_to(stage, affine, input_shape, len(stage))
    return ways[fastest_way(ways, inputs)]


def prefixes(ensemble: ProgressiveEnsemble) -> list[ProgressiveEnsemble]:
    """Each stage as an ensemble of its own, on the same students."""
    students = list(ensemble)
    return [
        ProgressiveEnsemble(ensemble.outputs, students[:stage]).eval()
        for stage in range(1, len(students) + 1)
    ]
