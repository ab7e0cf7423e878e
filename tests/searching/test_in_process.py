"""Searches without Ray, in the caller's process.

That one worker on Ray writes the same bits is seen in tests/cluster/test_search_on_ray.py.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import students, tiny, winners, write_spec

import bdistil as package
from bdistil.cluster.launch import launch_search
from bdistil.errors import CheckpointError, SearchError, SpecError
from bdistil.interrupt import remembered
from bdistil.runs.run_directory import RunDirectory
from bdistil.store.lease import LEASE

HERE = "workers.count=0"
VIEWS = "data.views={copies: 3, noise: 0.2, mixup: 0.2}"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return launch_search(tiny(HERE, VIEWS), tmp_path_factory.mktemp("here") / "run").run.path


def test_another_seed_gives_other_students(here: Path, tmp_path: Path) -> None:
    other = launch_search(tiny(HERE, "seed=1", "search.rounds=1"), tmp_path / "run").run.path
    assert students(other)["001.safetensors"] != students(here)["001.safetensors"]


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


def test_a_run_at_a_uri_goes_on_elsewhere(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, keep = tmp_path / "bucket" / "run", RunDirectory.keep

    def torn_off(run: RunDirectory) -> None:
        keep(run)
        if len(run.journal.read()) == 2:
            raise CheckpointError("the network is gone")

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "keep", torn_off)
        with pytest.raises(CheckpointError, match="the network is gone"):
            launch_search(tiny(HERE, VIEWS), bucket.as_uri())
    assert winners(bucket) == winners(here)[:2]
    result = package.search(tiny(HERE, VIEWS), bucket.as_uri())
    assert winners(bucket) == winners(here)
    assert students(bucket) == students(here)
    assert len(result.ensemble) == 4
    assert not (bucket / LEASE).exists()
    assert winners(result.directory) == winners(here)


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


def test_from_the_command_line(tmp_path: Path, bdistil: Callable[..., Any]) -> None:
    answer = bdistil("search", write_spec(tmp_path, HERE), "--out", tmp_path / "run")
    assert answer.status == 0, answer.errors
    assert "Ensemble:" in answer.errors


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


def test_a_least_edge_asks_nothing_of_round_1_where_every_edge_is_zero(tmp_path: Path) -> None:
    asking = tiny(HERE, "search.min_edge=0.001", "search.rounds=1", "search.fallback=none")
    launch_search(asking, tmp_path / "asking")
    launch_search(tiny(HERE, "search.rounds=1"), tmp_path / "free")
    assert winners(tmp_path / "asking") == winners(tmp_path / "free")
