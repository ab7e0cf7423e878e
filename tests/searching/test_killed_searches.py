"""A search in the command's own process that is killed, or finds no room on the disk.

On a cluster it is tried in tests/cluster/test_faults.py.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_searches import (
    FULL_DISKS,
    KILLS,
    Search,
    check_full_disk,
    check_kills,
    faulty_searches,
    names,
    same_end,
    small_file_system,
)
from tiny import tiny, winners

import bdistil
from bdistil.runs.run_directory import RunDirectory

ROUNDS = 4
SPEC = (f"search.rounds={ROUNDS}", "search.select=best", "workers.count=0", "space.epochs=2")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bdistil.search(tiny(*SPEC), tmp_path_factory.mktemp("whole") / "run").directory


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Search]:
    with faulty_searches(tmp_path_factory.mktemp("driver"), SPEC) as call:
        yield call


def test_a_search_killed_at_every_boundary_loses_nothing_accepted(
    search: Search, uninterrupted: Path, tmp_path: Path
) -> None:
    check_kills(search, tmp_path, KILLS, uninterrupted)


@pytest.mark.parametrize("kills", [3, pytest.param(60, marks=pytest.mark.nightly)])
def test_a_search_killed_at_random_ends_as_if_it_had_not_been(
    search: Search, uninterrupted: Path, tmp_path: Path, kills: int
) -> None:
    """Each time at a file's name or a record, before or after it, so that some progress is made."""
    draw, killed, number = random.Random(kills), 0, 0
    run = tmp_path / "run"
    while killed < kills:
        done = search(run, "kill", f"write {draw.randint(1, 12)}")
        assert done.status in (0, -signal.SIGKILL), done.printed
        killed += done.status != 0
        kept = winners(run) if run.exists() else []
        assert kept == winners(uninterrupted)[: len(kept)]
        if done.status == 0 and killed < kills:  # it came through: once more from the start
            assert same_end(run, uninterrupted)
            number += 1
            run = tmp_path / f"run {number}"
    done = search(run, "kill", "never")
    assert done.status == 0, done.printed
    assert same_end(run, uninterrupted)
    assert not [file for file in run.rglob("*") if file.name.endswith(".partial")]


def test_a_full_disk_ends_the_search_in_one_sentence_and_room_lets_it_go_on(
    search: Search, uninterrupted: Path, tmp_path: Path
) -> None:
    with small_file_system(tmp_path / "disk") as mounted:
        if not mounted:
            pytest.skip("mounting a small file system takes root")
        check_full_disk(search, tmp_path / "disk", FULL_DISKS, uninterrupted)


def test_a_failed_export_leaves_the_earlier_one_as_it_was(
    search: Search, uninterrupted: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    saved = run / "ensemble"
    before = {name: (saved / name).read_bytes() for name in names(saved)}
    RunDirectory(run).evaluation_file.unlink()
    done = search(run, "kill", "before model.safetensors")
    assert done.status == -signal.SIGKILL
    for name, content in before.items():
        assert (saved / name).read_bytes() == content


KEEPING = ("search.rounds=2", "workers.count=0", "space.epochs=8", "search.tries_per_class=4")
PAIRS = [  # each two of the choices together
    ("first", 1, "null"),
    ("first", 3, "halving"),
    ("best", 1, "halving"),
    ("best", 3, "null"),
]
OTHERS = [
    (select, cohort, "halving" if pruner == "null" else "null") for select, cohort, pruner in PAIRS
]
KINDS = [*PAIRS, *(pytest.param(*kind, marks=pytest.mark.nightly) for kind in OTHERS)]


@pytest.fixture(scope="module")
def keeping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Search]:
    with faulty_searches(tmp_path_factory.mktemp("driver"), KEEPING, keeps=True) as call:
        yield call


@pytest.mark.parametrize(("select", "cohort", "pruner"), KINDS)
def test_what_the_open_round_had_trained_is_not_trained_again(
    keeping: Search, tmp_path: Path, select: str, cohort: int, pruner: str
) -> None:
    """Killed in mid-round until too little is left; no process trains what was written down."""
    dense = () if cohort == 1 else ("space.connection=dense",)  # which trains in cohorts
    choices = (f"search.select={select}", f"search.cohort={cohort}", f"search.pruner={pruner}")
    draw, trained = random.Random(f"{select} {cohort} {pruner}"), []
    whole, run, status = tmp_path / "whole", tmp_path / "run", -signal.SIGKILL
    once = keeping(whole, "kill", "never", *choices, *dense)
    assert once.status == 0, once.printed
    while status != 0:
        moment = f"after training {draw.randint(2, 4)}"
        done = keeping(run, "kill", moment, *choices, *dense)
        status = done.status
        assert status in (0, -signal.SIGKILL), done.printed
        trained.append(done.trained)
    lost = len(trained) - 1  # cohorts, each killed before it was written down
    assert lost
    assert once.trained + lost <= sum(trained) <= once.trained + lost * cohort
    assert same_end(run, whole)
    assert journal_without_times(run) == journal_without_times(whole)
    assert names(run) == names(whole)


def test_a_disk_that_fills_in_mid_round_costs_what_cannot_be_kept(
    keeping: Search, tmp_path: Path
) -> None:
    with small_file_system(tmp_path / "disk") as mounted:
        if not mounted:
            pytest.skip("mounting a small file system takes root")
        full = keeping(tmp_path / "disk" / "run", "fill", "after cohort-0001.json")
        assert full.status == 2, full.printed
        assert full.printed.count("are not kept") == 1
        assert "students/001.safetensors cannot be written: No space left" in full.printed
        (tmp_path / "disk" / "filler").unlink()
        with_room = keeping(tmp_path / "disk" / "run", "kill", "never")
        assert with_room.status == 0, with_room.printed
        assert "2 trials of an earlier start kept" in with_room.printed
        once = keeping(tmp_path / "whole", "kill", "never")
        assert with_room.trained == once.trained - 2
        assert same_end(tmp_path / "disk" / "run", tmp_path / "whole")


def journal_without_times(run: Path) -> list[Any]:
    """All that is known of the rounds and their trials, but for how long they took."""

    def timeless(found: Any) -> Any:
        if isinstance(found, dict):
            return {k: timeless(v) for k, v in found.items() if k != "seconds"}
        return [timeless(each) for each in found] if isinstance(found, list) else found

    return [
        timeless(json.loads(record.model_dump_json()))
        for record in RunDirectory(run).journal.read()
    ]
