"""Where a goal allows less than the usual first student costs, narrower ones are searched."""

from __future__ import annotations

from pathlib import Path

import pytest
from reporters import Heard, StopAfterOne
from tiny import TINY

from bdistil.cluster.launch import launch_search
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import CheckpointError, SpecError
from bdistil.searching.resolve import resolve
from bdistil.spec import Spec, load_spec
from bdistil.spec.space import LADDER

OPEN = TINY | {"space": {name: v for name, v in TINY["space"].items() if name != "ladder"}}
A_UNIT = 2 * 16 + 2 * 4  # FLOPs of a unit: 16 features, 4 classes
HERE = ("workers.count=0", "search.rounds=null")


def decided(*overrides: str) -> Spec:
    spec = load_spec(OPEN, (*HERE, *overrides))
    return resolve(spec, load_dataset(spec.data, spec.seed))


@pytest.mark.parametrize(
    ("most", "ladder"),
    [
        (8 * A_UNIT, LADDER),
        (8 * A_UNIT - 1, [3, 6, 12]),
        (6 * A_UNIT, [3, 6, 12]),
        (2 * A_UNIT, [1, 2, 4]),
        (A_UNIT, [1, 2, 4]),
    ],
)
def test_the_first_of_several_stages_takes_half_of_the_limit(most: int, ladder: list[int]) -> None:
    assert decided(f"goal.within={most}").space.ladder == ladder


@pytest.mark.parametrize("ladder", [[8], [8, 16]])
def test_a_ladder_that_somebody_has_named_is_not_changed(ladder: list[int]) -> None:
    with pytest.raises(SpecError, match=r"begin space\.ladder with something smaller than 8"):
        decided(f"goal.within={7 * A_UNIT}", f"space.ladder={ladder}")


def test_less_than_a_single_unit_is_refused() -> None:
    told = (
        rf"goal.within={A_UNIT - 1} FLOPs is less than the first student's {A_UNIT}; raise it, or "
    )
    with pytest.raises(SpecError, match=told + "choose another space.student"):
        decided(f"goal.within={A_UNIT - 1}")


def test_it_is_said_and_kept_where_the_run_goes_on(tmp_path: Path) -> None:
    heard = Heard()
    narrow = load_spec(OPEN, (*HERE, f"goal.within={3 * A_UNIT}", "search.fallback=best"))
    launch_search(narrow, tmp_path, reporter=heard)
    assert "ladder: [1, 2, 4], as a first student of width 8 would cost more" in heard.said
    wider = load_spec(OPEN, (*HERE, f"goal.within={100 * A_UNIT}", "search.fallback=best"))
    again = launch_search(wider, tmp_path)
    assert again.run.spec().space.ladder == [1, 2, 4]


def test_the_usual_ladder_is_kept_where_somebody_has_written_it() -> None:
    with pytest.raises(SpecError, match=r"begin space\.ladder with something smaller than 8"):
        decided(f"goal.within={7 * A_UNIT}", f"space.ladder={LADDER}")


def test_an_open_ladder_follows_the_run_and_a_written_one_does_not(tmp_path: Path) -> None:
    begun = (*HERE, "search.rounds=2", "search.fallback=best")
    with pytest.raises(KeyboardInterrupt):
        launch_search(
            load_spec(OPEN, (*begun, "space.ladder=[4, 8]")), tmp_path, reporter=StopAfterOne()
        )
    heard = Heard()
    open_ladder = load_spec(OPEN, begun)
    assert launch_search(open_ladder, tmp_path, reporter=heard).run.spec().space.ladder == [4, 8]
    assert "ladder" not in heard.said
    with pytest.raises(CheckpointError, match=r"holds another search \(space\.ladder"):
        launch_search(load_spec(OPEN, (*begun, f"space.ladder={LADDER}")), tmp_path)


@pytest.mark.parametrize(
    ("width", "remedy"),
    [(1, r"choose another space\.student"), (2, r"begin space\.ladder with something smaller")],
)
def test_too_little_time_names_a_remedy_that_there_is(width: int, remedy: str) -> None:
    with pytest.raises(SpecError, match=rf"of width {width}\) takes .*; raise it, or {remedy}"):
        decided("goal.within_time=1e-9", f"space.ladder=[{width}]", "space.connection=none")
