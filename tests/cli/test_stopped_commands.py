"""Interrupts in each phase of each command, and streams that are closed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bdistil.interrupt import remembered, signals

Command = Callable[..., Any]
WORK = "bdistil.cli.inspect_command.import_modules"
ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _not_under_nohup() -> Iterator[None]:
    """The suite may have been started so, with SIGHUP ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", ALL)
def test_every_command_ends_in_a_sentence(
    bdistil: Command, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    before = [signal.getsignal(each) for each in ALL]
    monkeypatch.setattr(WORK, lambda _: os.kill(os.getpid(), number))
    assert bdistil("students") == (130, "", "Stopped.\n")
    assert [signal.getsignal(each) for each in ALL] == before


def test_what_a_library_makes_of_an_interrupt_is_no_fault(
    bdistil: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(_: Any) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        raise ImportError("cannot import name 'half' from a partially initialized module")

    monkeypatch.setattr(WORK, work)
    assert bdistil("students") == (130, "", "Stopped.\n")


@pytest.mark.parametrize("number", ALL)
@pytest.mark.parametrize("module", ["typer", "torch"])
def test_an_interrupt_of_an_import_is_no_traceback(module: str, number: signal.Signals) -> None:
    code = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}" and "bdistil.cli.app" in sys.modules:
            os.kill(os.getpid(), {int(number)})
sys.meta_path.insert(0, Interrupting())
sys.argv = ["bdistil", "students"]
from bdistil.cli.entry import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Stopped.\n")


def test_a_terminal_that_is_closed_does_not_stop_what_nohup_started() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with remembered():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signals() == [signal.SIGINT, signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before)


def test_files_do_not_get_the_numbers_of_closed_streams(tmp_path: Path) -> None:
    """Or what a library writes to its error stream would be in the journal."""
    code = "\n".join(
        (
            "import os",
            "from bdistil.cli.entry import hold_streams",
            "hold_streams()",
            f"with open({str(tmp_path / 'journal')!r}, 'w') as file:",
            "    file.write(str(file.fileno()))",
            "os.write(2, b'a warning of a library')",
        )
    )
    shell = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code]
    assert subprocess.run(shell, check=False).returncode == 0
    assert int((tmp_path / "journal").read_text()) > 2


def test_a_report_is_written_before_what_nobody_may_read(
    bdistil: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unread(_: Any) -> None:
        raise ConnectionResetError("nobody reads")

    monkeypatch.setattr("bdistil.cli.search_command.print_evaluation", unread)
    monkeypatch.setattr("tempfile.tempdir", str(run))
    assert bdistil("resume", run).status == 3
    assert (run / "report.html").is_file()
