"""Files of one export appear together, and what a killed writer leaves is swept."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bdistil.errors import CheckpointError
from bdistil.store.durable import replacing_files, sweep, write_atomic


def test_sweep_removes_files_and_folders_of_writers_that_died(tmp_path: Path) -> None:
    (tmp_path / "ensemble" / ".export.abc.partial" / "stages").mkdir(parents=True)
    (tmp_path / "ensemble" / ".export.abc.partial" / ".graph.x.partial").write_bytes(b"half")
    (tmp_path / ".rounds.jsonl.xyz.partial").write_bytes(b"half")
    (tmp_path / "ensemble" / "model.safetensors").write_bytes(b"whole")
    sweep(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == [
        "ensemble",
        "ensemble/model.safetensors",
    ]


def test_files_of_a_failed_body_never_appear_and_the_error_names_their_place(
    tmp_path: Path,
) -> None:
    target = tmp_path / "ensemble"
    write_atomic(target / "config.json", b"old")

    def export() -> None:
        with replacing_files(target, last="config.json") as aside:
            write_atomic(aside / "model.onnx", b"new")
            (aside / "config.json").mkdir()
            write_atomic(aside / "config.json", b"new")

    with pytest.raises(CheckpointError, match=r"ensemble/config\.json cannot be written"):
        export()
    assert [path.name for path in target.iterdir()] == ["config.json"]
    assert (target / "config.json").read_bytes() == b"old"


@pytest.mark.parametrize("name", ["pipe", "link"])
def test_a_pipe_or_device_is_never_replaced_by_a_file(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with pytest.raises(CheckpointError, match=rf"{name} cannot be written: it is a pipe"):
        write_atomic(tmp_path / name, b"content")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]
