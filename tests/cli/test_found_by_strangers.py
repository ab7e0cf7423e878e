"""What people have done to the commands that nobody had thought of, each case by its name."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny import command

from bdistil.cli.failures import printable
from bdistil.files.file_readers import name_of


def rows(folder: Path, width: int = 16) -> Path:
    path = folder / "rows.npz"
    np.savez(path, x=np.zeros((3, width), np.float32))
    return path


def test_predictions_go_through_a_link_and_never_wait_at_a_pipe(
    bdistil: Any, run: Path, tmp_path: Path
) -> None:
    data, target, link = rows(tmp_path), tmp_path / "answers.csv", tmp_path / "link.csv"
    link.symlink_to(target)
    assert bdistil("predict", run, data, "--out", link).status == 0
    assert link.is_symlink()
    assert target.read_text().count("\n") == 4
    os.mkfifo(tmp_path / "pipe")
    done = bdistil("predict", run, data, "--out", tmp_path / "pipe")
    assert done.status == 2
    assert "a pipe that nobody reads from; begin what reads it first" in done.errors
    assert (tmp_path / "pipe").is_fifo()


def test_links_that_lead_in_a_circle_are_no_data(bdistil: Any, tmp_path: Path) -> None:
    (tmp_path / "one.csv").symlink_to("two.csv")
    (tmp_path / "two.csv").symlink_to("one.csv")
    done = bdistil("search", "--data", tmp_path / "one.csv", "--label", "y")
    assert done.status == 2
    assert done.errors.startswith("Error: ")
    assert "one.csv: the file does not exist" in done.errors
    assert name_of(tmp_path / "one.csv") == "one"


def test_names_out_of_files_do_not_command_the_terminal(bdistil: Any, tmp_path: Path) -> None:
    rng, evil = np.random.default_rng(0), "no\x1b[31m\x07\u202e"
    x = rng.normal(size=(120, 2))
    frame = pd.DataFrame(
        {"a": x[:, 0], "b\x1b]0;x": x[:, 1], "y": np.where(x[:, 0] > 0, "é", evil)}
    )
    frame.to_csv(tmp_path / "evil.csv", index=False)
    spare = ("workers.count=0", "search.rounds=1", "space.epochs=1", "teacher.epochs=1")
    out = tmp_path / "run"
    done = bdistil("search", "--data", tmp_path / "evil.csv", "--label", "y", *spare, "--out", out)
    assert done.status == 0, done.errors
    shown = done.printed + done.errors + bdistil("status", out).printed
    missing = bdistil("search", "--data", tmp_path / "evil.csv", "--label", evil + "?")
    assert missing.status == 2
    shown += missing.errors
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)
    assert r"no\x1b[31m\x07\u202e" in shown
    assert "é" in shown


def test_a_teacher_that_may_not_be_read_is_not_to_be_deleted(
    bdistil: Any, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbid(path: Path) -> None:  # what root is allowed to read whatever its mode
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("bdistil.teachers.teacher_store.check_regular", forbid)
    done = bdistil("status", run)
    assert done.status == 2
    assert "config.json cannot be read: permission denied" in done.errors
    assert "delete" not in done.errors


def test_printable_text_stays_as_it_is() -> None:
    for text in ("", "a\tb\nc", "é 日本 😀 👩‍🔬 12\xa0%"):
        assert printable(text) == text
    assert printable("\r\x00\x9b") == r"\r\x00\x9b"


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no /dev/full")
def test_the_status_tells_where_no_sentence_can(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        assert subprocess.run(command("status", tmp_path), stderr=full, check=False).returncode == 2
