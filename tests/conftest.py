"""Fixtures of all tests, and how they run."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import settings

from bdistil.cli.app import main

# Ray lets its workers yield to everything else, so beside other work they would hardly start.
os.environ.setdefault("RAY_worker_niceness", "0")
torch.set_num_threads(1)  # tiny networks run fastest on one thread; more only wait for each other
# The same cases in every run, unless fuzzing asks for others: what lands does not hang on chance.
settings.register_profile(
    "without timings", deadline=None, derandomize="BDISTIL_FUZZ" not in os.environ
)
settings.load_profile("without timings")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked ``nightly``, unless -m speaks of it; what takes long goes first.

    In addopts, -m would be lost as soon as a command line had one of its own.
    """
    if "nightly" not in config.option.markexpr:
        nightly = [item for item in items if item.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=nightly)
        items[:] = [item for item in items if item not in set(nightly)]
    for item in items:
        if item.get_closest_marker("cluster") and item.path.parent.name != "cluster":
            raise pytest.UsageError(f"{item.nodeid} starts Ray; it belongs into tests/cluster/.")
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path.parent.name != "cluster", item.path not in slow))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A worker takes a whole file, or all of tests/cluster/: one Ray at a time, beside the rest."""
    from xdist.scheduler import LoadFileScheduling

    class Rooms(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            room = "tests/cluster/"
            return room if nodeid.startswith(room) else super()._split_scope(nodeid)

    return Rooms(config, log)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Leave the Ray that tests share after the last of them."""
    marked = [each is not None and each.get_closest_marker("cluster") for each in (item, nextitem)]
    if marked[0] and not marked[1]:
        import ray

        ray.shutdown()


@pytest.fixture(scope="module")
def local_ray() -> None:
    """Ray on this machine with two CPUs, shared with other modules."""
    from clusters import share_local_ray

    share_local_ray()


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished tiny search; copy it before changing it (see `run`)."""
    from tiny import tiny

    import bdistil

    out = tmp_path_factory.mktemp("finished") / "run"
    return bdistil.search(tiny("search.rounds=3", "workers.count=0"), out).directory


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


class Answer(NamedTuple):
    """What a command ended with."""

    status: int
    printed: str
    errors: str


Command = Callable[..., Answer]


@pytest.fixture
def bdistil(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """The command line, called in this process and in an empty folder."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def call(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["bdistil", *map(str, arguments)])
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        return Answer(status, *capsys.readouterr())

    return call
