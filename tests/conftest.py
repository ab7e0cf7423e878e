"""Fixtures of all tests, and how they run."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hypothesis import settings

from bdistil.cli.app import main

torch.set_num_threads(1)  # tiny networks run fastest on one thread; more only wait for each other
settings.register_profile("without timings", deadline=None)
settings.load_profile("without timings")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked ``nightly``, unless -m speaks of it.

    In addopts, -m would be lost as soon as a command line had one of its own.
    """
    if "nightly" not in config.option.markexpr:
        nightly = [item for item in items if item.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=nightly)
        items[:] = [item for item in items if item not in set(nightly)]


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
