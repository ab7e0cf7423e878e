"""What a search on Ray shows on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

import pytest
from tiny import command, write_spec

COLUMNS = 100


def on_a_terminal(arguments: list[str]) -> tuple[int, str]:
    """Run a command whose output is a terminal; its exit status and what it wrote there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color"}
    with subprocess.Popen(arguments, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        written = b""
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # the terminal was closed at the other end
                break
            written += chunk
    os.close(ours)
    return process.returncode, written.decode()


@pytest.mark.cluster
def test_a_search_on_a_terminal_shows_a_live_table_and_nothing_of_ray(tmp_path: Path) -> None:
    spec = write_spec(tmp_path, "search.rounds=2", "teacher.epochs=30")
    status, written = on_a_terminal(command("search", spec, "--out", tmp_path / "run"))
    assert status == 0, written
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written).replace("\r", "\n")
    assert max(map(len, text.split("\n"))) <= COLUMNS
    for words in (
        "teacher: epoch 30/30",
        "Making ready for the first round",
        "round 1/2: ",
        "2 rounds in ",
    ):
        assert words in text
    last = text[text.rindex("round  student") :]
    assert re.search(r"\n1 +mlp-3 .*\n+2 +mlp-\d+ ", last)
    assert re.search(r"\nteacher +0\.\d{4} ±\.\d+ +100\.0%", last)
    assert not re.search(r"\bray\b|tune|info|warn|traceback", text, re.IGNORECASE)
    assert "\x1b[?25h" in written[-20_000:], "the cursor comes back"
