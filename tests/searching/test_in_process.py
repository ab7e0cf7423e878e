"""Searches without Ray, in the caller's process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import bdistil, students, tiny, winners, write_spec

import bdistil as package
from bdistil.cluster.launch import launch_search
from bdistil.errors import SearchError, SpecError
from bdistil.interrupt import remembered
from bdistil.runs.run_directory import RunDirectory

HERE = "workers.count=0"
VIEWS = "data.views={copies: 3, noise: 0.2, mixup: 0.2}"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return launch_search(tiny(HERE, VIEWS), tmp_path_factory.mktemp("here") / "run").run.path


@pytest.mark.cluster
def test_it_writes_the_bits_that_one_worker_on_ray_writes(here: Path, tmp_path: Path) -> None:
    on_ray = launch_search(tiny("workers.count=1", VIEWS), tmp_path / "run").run.path
    assert winners(here) == winners(on_ray)
    assert students(here) == students(on_ray)


def test_a_run_is_whole(here: Path) -> None:
    run = RunDirectory.existing(here)
    assert len(package.Ensemble.from_pretrained(here)) == 4
    assert run.trials_file.exists()
    assert run.evaluation_file.exists()


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_it_goes_on_after_the_accepted_rounds(here: Path, tmp_path: Path, kept: int) -> None:
    run = RunDirectory(launch_search(tiny(HERE, VIEWS), tmp_path / "run").run.path)
    lines = run.journal.path.read_text().splitlines(keepends=True)
    run.journal.path.write_text("".join(lines[:kept]))
    launch_search(tiny(HERE, VIEWS), run.path)
    assert winners(run.path) == winners(here)
    assert students(run.path) == students(here)


def test_cohorts_and_grace_work_too(tmp_path: Path) -> None:
    spec = tiny(HERE, "search.cohort=2", "search.grace=0.1", "space.connection=dense")
    run = launch_search(spec, tmp_path / "run").run
    assert {t.cohort for record in run.journal.read() for t in record.trials} == {2}


def test_a_time_budget_ends_it_within_a_batch(tmp_path: Path) -> None:
    spec = tiny(HERE, "space.epochs=100000", "search.time_budget=1")
    run = launch_search(spec, tmp_path / "run").run
    assert run.journal.read() == []


def test_trials_that_always_fail_end_it_with_their_reason(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"lower space\.lr"):
        launch_search(tiny(HERE, "space.lr=1e30", "search.max_failures=2"), tmp_path / "run")


def test_ray_is_not_even_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from bdistil.cluster.launch import launch_search; from tiny import tiny;"
        f"launch_search(tiny({HERE!r}, 'search.rounds=1'), {str(tmp_path / 'run')!r});"
        "sys.exit('ray' in sys.modules)"
    )
    tests = Path(__file__).parents[1] / "helpers"
    assert subprocess.run([sys.executable, "-c", code], cwd=tests, check=False).returncode == 0


def test_from_the_command_line(tmp_path: Path) -> None:
    answer = bdistil("search", write_spec(tmp_path, HERE), "--out", tmp_path / "run")
    assert answer.returncode == 0, answer.stderr
    assert "Ensemble:" in answer.stderr


def test_loggers_of_ray_need_workers() -> None:
    with pytest.raises(SpecError, match=r"need workers\.count of at least 1"):
        tiny(HERE, "tracking.callbacks=[tensorboard]")


def test_an_interrupt_that_a_library_swallows_is_not_lost(tmp_path: Path) -> None:
    with remembered():
        with contextlib.suppress(KeyboardInterrupt):  # as a library's destructor would
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            launch_search(tiny(HERE), tmp_path / "run")
    launch_search(tiny(HERE, "search.rounds=1"), tmp_path / "other")  # and it does not linger
