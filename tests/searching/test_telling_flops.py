"""Where FLOPs say too little of the time: fewer of them, decided once and coarsely."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_clock import clock
from reporters import Heard
from tiny import tiny

from bdistil.cluster.launch import launch_search
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import SpecError
from bdistil.searching.resolve import resolve
from bdistil.searching.telling_flops import coarse
from bdistil.spec import Spec

OPEN = ("goal.within_time=auto", "search.rounds=null", "space.ladder=[1]", "workers.count=0")


def decided(spec: Spec) -> float | None:
    goal = resolve(spec, load_dataset(spec.data, 0)).goal
    assert goal is not None
    assert goal.within_time is None
    return goal.within


@pytest.mark.parametrize(
    ("call", "each", "of_flops", "within", "expected"),
    [
        (0.1, 0.0, 1.8, 0.5, 0.2),  # 1.0 of the time for half of the FLOPs; half of it for .22
        (0.2, 0.0, 1.0, 0.5, 0.5),  # .7, which is near enough
        (0.0, 0.0, 3.0, 0.5, 0.2),  # .17 by the clock, but three of the smallest take .19
        (0.0, 0.0, 3.0, 0.2, 0.2),  # likewise, and no less than was asked for
        (0.6, 0.0, 2.0, 0.5, 0.5),  # overhead, which fewer FLOPs would not change
        (0.0, 0.3, 0.6, 0.5, 0.2),  # one student of half takes .6, two take .9
        (0.0, 0.2, 0.5, 0.5, 0.5),  # .65, and .45 of one
    ],
)
def test_fewer_flops_where_they_take_too_long(
    call: float,
    each: float,
    of_flops: float,
    within: float,
    expected: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock(monkeypatch, call, of_flops, each=each)
    assert decided(tiny(*OPEN, f"goal.within={within}")) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.163, 0.15), (0.18, 0.2), (0.0866, 0.1), (0.0012, 0.001), (0.00999, 0.01), (0.37, 0.3)],
)
def test_shares_are_coarse(share: float, expected: float) -> None:
    assert coarse(share) == expected


@pytest.mark.parametrize("noise", [0.96, 1.0, 1.04])
def test_a_clock_that_wavers_decides_the_same(
    noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch, 0.1 * noise, 1.8 * noise)
    assert decided(tiny(*OPEN, "goal.within=0.5")) == 0.2


def test_without_being_asked_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = clock(monkeypatch, 0.1, 9.0)
    for limit in ("goal.within_time=null", "goal.within=null"):
        spec = tiny(*OPEN, "goal.keep=0.9", "goal.within=0.5", limit)
        resolve(spec, load_dataset(spec.data, 0))
    assert not asked


def test_a_teacher_that_cannot_be_timed_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, 0.1, 9.0, teacher=None)
    assert decided(tiny(*OPEN, "goal.within=0.5")) == 0.5


def test_a_search_says_so_and_goes_on_elsewhere_as_it_began(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock(monkeypatch, 0.1, 1.8)
    spec = tiny(*OPEN, "goal.within=0.5", "search.rounds=2", "space.epochs=1")
    heard = Heard()
    first = launch_search(spec, tmp_path / "run", reporter=heard)
    assert [text for text in heard.messages if "goal.within: 0.2 of" in text]
    assert "goal.within_time" not in (first.ended.reason if first.ended else "")
    asked = clock(monkeypatch, 0.0, 9.0)
    journal = tmp_path / "run" / "rounds.jsonl"
    journal.write_bytes(journal.read_bytes().splitlines(keepends=True)[0])
    for goes_on in (spec, first.run.spec()):
        again = launch_search(goes_on, tmp_path / "run")
        assert again.run.spec().goal == first.run.spec().goal
    assert not asked


def test_it_is_no_limit_for_a_runtime() -> None:
    with pytest.raises(SpecError, match="give within_time"):
        tiny(*OPEN, "goal.runtime=onnxruntime")
