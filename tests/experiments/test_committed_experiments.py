"""Every experiment under results/ can be repeated by today's version, as its README promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from bdistil.experiments.design import with_reached_classes
from bdistil.experiments.plan import PLAN_FILE, Plan
from bdistil.searching.resolve import check_classes

RESULTS = Path(__file__).parents[2] / "results"
FOLDERS = [str(plan.parent.relative_to(RESULTS)) for plan in sorted(RESULTS.rglob(PLAN_FILE))]


@pytest.mark.parametrize("folder", FOLDERS)
def test_its_searches_are_ones_that_run_today(folder: str) -> None:
    for run in map(with_reached_classes, Plan.read(RESULTS / folder).runs([0])):
        check_classes(run.spec.search, len(run.spec.space.rungs))


def test_classes_that_a_round_reached_stay() -> None:
    plan = Plan.read(RESULTS / "2026-11-22-choices" / "experiment")
    runs = [run for run in plan.runs([0]) if run.data == "digits"]
    ladders = {run.label: with_reached_classes(run).spec.space.ladder for run in runs}
    assert ladders["search.trials_per_round=4"] == [4]
    assert ladders["recipe=accurate"] == [4, 6]
    assert all(run.spec.space.ladder == [4, 6, 8] for run in runs)
