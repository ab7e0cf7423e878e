"""A wall clock that jumps by days, forwards and backwards, as often as anyone looks at it."""

from __future__ import annotations

import itertools
import random
import time
from pathlib import Path

import numpy as np
import pytest
from faulty_searches import same_end
from tally import tally
from tiny import tiny

import bdistil
from bdistil.errors import CheckpointError
from bdistil.store import lease
from bdistil.store.lease import Lease
from bdistil.store.scratch import ScratchFolder

SPEC = ("workers.count=0", "search.select=best")
DAY = 24 * 3600.0


@pytest.fixture
def jumping(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times that were told so far; each is days from the one before."""
    draw, now, told = random.Random(0), time.time(), list[float]()

    def jump() -> float:
        told.append(now + draw.uniform(-400, 400) * DAY)
        return told[-1]

    monkeypatch.setattr(time, "time", jump)
    monkeypatch.setattr(time, "time_ns", lambda: int(jump() * 1e9))
    return told


def test_a_search_with_a_time_budget_ends_as_ever(tmp_path: Path, jumping: list[float]) -> None:
    one = bdistil.search(tiny(*SPEC, "search.time_budget=3600"), tmp_path / "one")
    assert one.complete
    time.time()
    assert jumping  # the clock does jump
    two = bdistil.search(tiny(*SPEC), tmp_path / "two")
    assert same_end(one.directory, two.directory)
    seconds = [record.seconds for record in one.rounds]
    assert all(0 <= each < 3600 for each in seconds)
    tally("searches under a clock that jumps", 2)


def test_a_deadline_is_kept(finished_run: Path, jumping: list[float]) -> None:
    predictor = bdistil.Predictor(finished_run, backend="torch")
    x = np.zeros((1, 16), np.float32)
    predictor.warm_up()
    for _ in range(20):
        assert predictor.answer(x, deadline="60min").stages == len(predictor)
        assert predictor.answer(x, deadline=1e-9).stages == 1
    time.time()
    assert jumping


class Memory:
    """A place for a lease."""

    uri = "memory://here"

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def read(self, name: str) -> bytes | None:
        return self.files.get(name)

    def write(self, name: str, content: bytes) -> None:
        self.files[name] = content

    def delete(self, name: str) -> None:
        self.files.pop(name, None)


@pytest.mark.filterwarnings("ignore:a search has left a lease")
def test_a_lease_is_neither_lost_nor_taken(
    jumping: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    place = Memory()
    held = Lease(place)
    for _ in range(3):
        with pytest.raises(CheckpointError, match=r"another search is running"):
            Lease(place)
    held.check()
    held.release()
    assert not place.files
    Lease(place).release()  # and free for the next
    time.time()
    assert jumping


def test_folders_in_use_stay(jumping: list[float]) -> None:
    folders = [ScratchFolder("clock") for _ in range(5)]
    assert all(folder.path.is_dir() for folder in folders)
    for one, other in itertools.pairwise(folders):
        one.close()
        assert other.path.is_dir()
    folders[-1].close()
