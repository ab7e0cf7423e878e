"""Searches by the command, each with a fault at some moment (see faulty_driver.py)."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tiny import students, winners, write_spec

from bdistil.runs.run_directory import RunDirectory

DRIVER = Path(__file__).with_name("faulty_driver.py")

KILLS = (
    ("kill", "before config.json"),  # the teacher's card, after its weights
    ("kill", "before 001.safetensors"),
    ("kill", "after 001.safetensors"),
    ("kill", "after record 1"),
    ("tear", "before record 2"),
    ("kill", "before round 3"),
    ("kill", "after round 4"),
    ("kill", "before evaluation.json"),  # all rounds are accepted
    ("kill", "before model.safetensors"),  # of the exported ensemble
)

FULL_DISKS = (
    ("after spec.yaml", "data.json"),
    ("after data.json", "teacher/model.safetensors"),
    ("after round 1", "students/001.safetensors"),
    ("after 001.safetensors", "rounds.jsonl"),
    ("after trials.parquet", "optuna.journal"),
    ("before evaluation.json", "ensemble/model.safetensors"),
)


class Ended(NamedTuple):
    """What became of a command; `trained` counts candidates that trained in its own process."""

    status: int
    printed: str
    trained: int


Search = Callable[..., Ended]


@contextmanager
def faulty_searches(
    folder: Path,
    overrides: Sequence[str],
    *arguments: str,
    keeps: bool = False,
    checkpoints: bool = False,
) -> Iterator[Search]:
    """``search(run, fault, moment, *overrides)``: the command in a process of its own.

    `keeps`: whether trials are kept that take less than a second, as all do here; `checkpoints`:
    whether each epoch leaves one.
    """
    driver = subprocess.Popen(
        [sys.executable, DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert driver.stdin is not None
    assert driver.stdout is not None
    requests, answers = driver.stdin, driver.stdout
    spec, log = write_spec(folder, *overrides), folder / "log"

    def call(run: Path, fault: str, moment: str, *more: str) -> Ended:
        command = ["search", str(spec), *more, "--out", str(run), *arguments]
        request = {"arguments": command, "log": str(log), "fault": fault, "moment": moment}
        request |= {"trained": str(folder / "trained"), "keeps": keeps}
        request |= {"checkpoints": checkpoints}
        print(json.dumps(request), file=requests, flush=True)
        status, trained = map(int, answers.readline().split())
        return Ended(status, log.read_text(), trained)

    yield call
    driver.stdin.close()
    driver.wait()


@contextmanager
def small_file_system(disk: Path) -> Iterator[bool]:
    """A file system of its own with little room at `disk`; False where mounting is not allowed."""
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", disk], check=True)


def check_kills(
    search: Search, folder: Path, kills: Sequence[tuple[str, str]], uninterrupted: Path
) -> None:
    """After each kill what was accepted is there, also where the run was moved; then it goes on."""
    run, accepted = folder / "0" / "run", 0
    run.parent.mkdir()
    for number, (fault, moment) in enumerate(kills, start=1):
        done = search(run, fault, moment)
        assert done.status == -signal.SIGKILL, f"{moment}: {done.printed}"
        kept = winners(run)
        assert kept == winners(uninterrupted)[: len(kept)], moment
        assert len(kept) >= accepted, moment
        accepted = len(kept)
        assert_files_are_whole(run)
        run = Path(shutil.move(run.parent, folder / str(number))) / "run"
    if kills == KILLS:
        assert accepted == len(winners(uninterrupted))  # the last of them came after all rounds
    done = search(run, "kill", "never")
    assert done.status == 0, done.printed
    assert same_end(run, uninterrupted)
    assert sorted(names(run)) == sorted(names(uninterrupted) | {"report.html"})


def check_full_disk(
    search: Search, disk: Path, moments: Sequence[tuple[str, str]], uninterrupted: Path
) -> None:
    """At each moment the disk fills: one sentence names the file, and with room it goes on."""
    for moment, file in moments:
        done = search(disk / "run", "fill", moment)
        assert done.status == 2, f"{moment}: {done.printed}"
        assert f"{file} cannot be written: No space left on device" in done.printed
        assert "Traceback" not in done.printed
        (disk / "filler").unlink()
    done = search(disk / "run", "fill", "never")
    assert done.status == 0, done.printed
    assert same_end(disk / "run", uninterrupted)


def same_end(run: Path, uninterrupted: Path) -> bool:
    """Whether a run chose the same students, to the bit, and so has the same margin."""
    return winners(run) == winners(uninterrupted) and students(run) == students(uninterrupted)


def assert_files_are_whole(run: Path) -> None:
    """What the journal names is there, as it was accepted."""
    for record in RunDirectory(run).journal.read():
        assert hashlib.sha256((run / record.file).read_bytes()).hexdigest() == record.sha256


def names(run: Path) -> set[str]:
    """Every file of a folder."""
    return {str(file.relative_to(run)) for file in run.rglob("*") if file.is_file()}
