"""Nodes on which memory, the object store or the place to spill to is too small."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from faulty_searches import same_end, small_file_system
from ray import cloudpickle
from ray.cluster_utils import Cluster
from tally import tally
from tiny import command, tiny

import bdistil
from bdistil.cluster import ray_backend
from bdistil.cluster.launch import launch_search
from bdistil.errors import ClusterError, SearchError
from clusters import several_nodes

pytestmark = [pytest.mark.cluster, pytest.mark.nightly]

ROUNDS = 2
SPEC = (
    f"search.rounds={ROUNDS}",
    "search.select=best",
    "search.algorithm=random",
    "search.max_failures=0",
)
STORE = 80 * 2**20  # bytes; Ray takes no less than 75 MiB
FEATURES, ROWS = 4096, 12_000
Run = Callable[..., Any]


# --- memory --------------------------------------------------------------------------------------


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A node that ends whoever uses up what is left but some; the bytes that are then available."""
    memory = psutil.virtual_memory()
    margin = min(3 * 2**30, memory.available // 3)
    share = 1 - (memory.available - margin) / memory.total
    monkeypatch.setenv("RAY_memory_usage_threshold", f"{share:.4f}")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "50")
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import it
    with several_nodes(1):
        yield int((1 - share) * memory.total) - 2**29
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def greedy(run: Run, too_few: int, hungry: Callable[[], bool]) -> Run:
    """What trials are run by; some take memory, whatever others use, until too little is left."""

    def eats(cohort: Any, should_stop: Any, *saves: Any) -> Any:
        if cohort.round == 2 and hungry():
            pieces = []
            for _ in range(6000):  # looks at what is left; minutes
                if psutil.virtual_memory().available > too_few:
                    pieces.append(np.ones(2**25, np.uint8))
                else:
                    time.sleep(0.05)
            raise AssertionError(f"{len(pieces)} pieces fitted")
        return run(cohort, should_stop, *saves)

    return eats


@pytest.fixture
def hungry(narrow: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], bool]], None]:
    """Makes trials greedy as long as something says so."""

    def install(says: Callable[[], bool]) -> None:
        make = ray_backend.make_workbench

        def wrapped(material: Any) -> Any:
            bench = make(material)
            bench.run = greedy(bench.run, narrow, says)
            return bench

        monkeypatch.setattr(ray_backend, "make_workbench", wrapped)

    return install


def test_a_trial_whose_worker_had_no_memory_runs_elsewhere(
    hungry: Callable[[Callable[[], bool]], None], tmp_path: Path
) -> None:
    marker = tmp_path / "eaten"

    def first() -> bool:
        try:
            marker.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    hungry(first)
    spec = tiny(*SPEC, "workers.count=1")
    try:
        launch_search(spec, tmp_path / "run")
    except ClusterError as error:  # where others use memory, too, Ray may end more than the trial
        if not re.search("ran out of memory .* the same command goes on", str(error)):
            raise
        launch_search(spec, tmp_path / "run")
    assert marker.exists()
    whole = bdistil.search(tiny(*SPEC, "workers.count=0"), tmp_path / "whole").directory
    assert same_end(tmp_path / "run", whole)
    tally("workers out of memory")


def test_a_trial_that_never_fits_says_what_to_change(
    hungry: Callable[[Callable[[], bool]], None], tmp_path: Path
) -> None:
    hungry(lambda: True)
    sentence = r"it cost 3 workers: .*memory.*workers\.cpus"
    with pytest.raises(SearchError, match=sentence):
        launch_search(tiny(*SPEC, "workers.count=1"), tmp_path / "run")
    tally("workers out of memory", 3)


# --- the object store ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data that are more than twice the store, as a search space."""
    folder = tmp_path_factory.mktemp("wide")
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=ROWS)
    x = rng.standard_normal((ROWS, FEATURES), dtype=np.float32) + y[:, None] / 8
    np.savez(folder / "wide.npz", x=x.astype(np.float32), y=y)
    spec = tiny(*SPEC, "space.epochs=1", "space.connection=none", "teacher.epochs=1")
    whole = spec.model_dump(mode="json", exclude_unset=True)
    whole["data"] = {"path": str(folder / "wide.npz")}
    (folder / "wide.yaml").write_text(json.dumps(whole))
    return folder / "wide.yaml"


@pytest.fixture(scope="module")
def uninterrupted(wide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    return bdistil.search(wide, out, overrides=["workers.count=0"]).directory


@contextmanager
def small_store(spill: Path) -> Iterator[Cluster]:
    """A node with a small object store that spills to a folder; this process is not in it."""
    place = json.dumps({"type": "filesystem", "params": {"directory_path": str(spill)}})
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1,
            "include_dashboard": False,
            "object_store_memory": STORE,
            "_system_config": {"object_spilling_config": place},
        },
    )
    yield cluster
    cluster.shutdown()


def searched(wide: Path, run: Path, cluster: Cluster) -> subprocess.CompletedProcess[str]:
    """The command on a cluster."""
    arguments = ("--out", run, "--address", cluster.address, "workers.count=1")
    return subprocess.run(
        command("search", wide, *arguments), check=False, capture_output=True, text=True
    )


def test_data_that_are_more_than_the_object_store_are_spilled(
    wide: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    spill = tmp_path / "spill"
    spill.mkdir()
    with small_store(spill) as cluster:
        done = searched(wide, tmp_path / "run", cluster)
    assert done.returncode == 0, done.stderr
    assert same_end(tmp_path / "run", uninterrupted)
    tally("object stores too small for the data")


def test_a_full_place_to_spill_to_is_one_sentence_and_another_goes_on(
    wide: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    with small_file_system(tmp_path / "spill") as mounted:
        if not mounted:
            pytest.skip("mounting a small file system takes root")
        with small_store(tmp_path / "spill") as cluster:
            done = searched(wide, tmp_path / "run", cluster)
    assert done.returncode == 2, done.stderr
    (line,) = re.findall(r"^Error: .*$", done.stderr, flags=re.MULTILINE)
    assert re.search(r"object store|disk", line), line
    assert "Traceback" not in done.stderr
    bdistil.search(wide, tmp_path / "run", overrides=["workers.count=0"])
    assert same_end(tmp_path / "run", uninterrupted)
    tally("places to spill to that are full")
