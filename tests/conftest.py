"""Fixtures of all tests, and how they run."""

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)  # tiny networks run fastest on one thread; more only wait for each other
settings.register_profile("without timings", deadline=None)
settings.load_profile("without timings")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished tiny search; copy it before changing it (see `run`)."""
    from tiny import tiny

    import bdistil

    out = tmp_path_factory.mktemp("finished") / "run"
    return bdistil.search(tiny("search.rounds=3"), out).directory


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))
