"""What a search shows: a live table on a terminal, and what it says at each moment."""

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
from records import record
from tiny import command, write_spec

from bdistil.cli.display import advice_without_weak_learner, open_round_line
from bdistil.searching.progress import Snapshot

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
    spec = write_spec(tmp_path, "search.rounds=2")
    status, written = on_a_terminal(command("search", spec, "--out", tmp_path / "run"))
    assert status == 0, written
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written).replace("\r", "\n")
    assert max(map(len, text.split("\n"))) <= COLUMNS
    for words in ("teacher: epoch 5/5", "Starting workers", "round 1/2: ", "2 rounds in "):
        assert words in text
    last = text[text.rindex("round  student") :]
    assert re.search(r"\n1 +mlp-3 .*\n+2 +mlp-\d+ ", last)
    assert re.search(r"\nteacher +0\.\d{4} ±\.\d+ +100\.0%", last)
    assert not re.search(r"\bray\b|tune|info|warn|traceback", text, re.IGNORECASE)
    assert "\x1b[?25h" in written[-20_000:], "the cursor comes back"


def snapshot(accepted: int, best_edge: float | None = None) -> Snapshot:
    return Snapshot(
        round=min(accepted + 1, 3),
        rounds=3,
        running=2,
        done=1,
        best_edge=best_edge,
        records=[record(number + 1) for number in range(accepted)],
        seconds=75,
    )


def test_the_line_below_the_table() -> None:
    first = "round 1/3: 2 running, 1 done, best edge none yet; 1:15 elapsed"
    assert open_round_line(snapshot(0)) == first
    second = "round 2/3: 2 running, 1 done, best edge -0.250; 1:15 elapsed, about 1:00 left"
    assert open_round_line(snapshot(1, -0.25)) == second
    assert open_round_line(snapshot(3)) == "3 rounds in 1:15\n"


def test_advice_names_the_labels_whose_edges_failed() -> None:
    advice = advice_without_weak_learner(record(1, edge=-0.3, edges=(0.1, -0.02, -0.3, -0.1, -0.2)))
    assert "the edges of 4 labels are negative, worst: 2 (-0.3), 4 (-0.2), 3 (-0.1)" in advice
    advice = advice_without_weak_learner(record(1, edge=0.1, edges=(0.1,), gain=0.05))
    assert "the least edge is +0.1, below search.min_edge" in advice
    advice = advice_without_weak_learner(record(1, edge=0.1, edges=(0.1,), gain=-0.05))
    assert "the edges hold, but validation loss did not fall (gain -0.050)" in advice
