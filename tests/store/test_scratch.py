"""Temporary folders of processes that were killed go away with the next one."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bdistil.store.scratch import ScratchFolder

USER = """
import sys, time
from bdistil.store.scratch import ScratchFolder
print(ScratchFolder("test").path, flush=True)
kept = ScratchFolder("test")
print(kept.path, flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_it_is_there_while_it_is_used() -> None:
    with ScratchFolder("test") as folder:
        (folder / "file").write_bytes(b"content")
        with ScratchFolder("test") as other:
            assert folder.exists()
            assert other != folder
    assert not folder.exists()
    forgotten = ScratchFolder("test").path
    gc.collect()
    assert not forgotten.exists()


def test_the_next_process_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    left = tmp_path / "bdistil-other-kind"
    left.mkdir()
    user = subprocess.Popen([sys.executable, "-c", USER], stdout=subprocess.PIPE, text=True)
    assert user.stdout is not None
    forgotten, folder = (Path(user.stdout.readline().strip()) for _ in range(2))
    assert not forgotten.exists()
    with ScratchFolder("test"):
        assert folder.exists()  # its process lives
    user.send_signal(signal.SIGKILL)
    user.wait()
    assert folder.exists()
    with ScratchFolder("test"):
        assert not folder.exists()
    assert left.exists()


def test_old_folders_without_a_lock_go_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    old, new = tmp_path / "bdistil-test-old", tmp_path / "bdistil-test-new"
    for folder in (old, new):
        (folder / "search").mkdir(parents=True)
    os.utime(old, (0, 0))
    ScratchFolder("test").close()
    assert not old.exists()
    assert new.exists()


def test_a_fork_that_ends_leaves_its_parents_folder() -> None:
    folder = ScratchFolder("test")
    child = os.fork()
    if child == 0:
        folder.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert folder.path.exists()
    folder.close()
    assert not folder.path.exists()
