from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from bdistil.cli.app import main


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
