"""A contest of rivals, small enough for tests."""

from __future__ import annotations

import pytest
from tiny import tiny

from bdistil.cluster.launch import launch_teacher
from bdistil.datasets.catalogue import load_dataset
from bdistil.experiments.rivals.contest import Contest
from bdistil.searching.resolve import resolve

THREE_STAGES = (
    "space.recipe=accurate",
    "space.growth=1.6",
    "search.rounds=3",
    "space.connection=dense",
    "space.epochs=6",
)


def contest_of(
    tmp_path_factory: pytest.TempPathFactory, *overrides: str, teacher: bool = False
) -> Contest:
    """Three stages on cube, MLPs, with a teacher of its own, whose network may be at hand."""
    spec = tiny("workers.count=0", *THREE_STAGES, *overrides)
    store = launch_teacher(spec, tmp_path_factory.mktemp("teacher") / "run").teacher
    dataset = load_dataset(spec.data, spec.seed)
    network, flops = (store.network(), store.card().flops) if teacher else (None, None)
    return Contest(resolve(spec, dataset), dataset, store.all_logits(), network, flops)
