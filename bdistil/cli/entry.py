"""Entry point of the console script ``bdistil``, with or without the packages of the extras."""

from __future__ import annotations

import os
from importlib.util import find_spec

from bdistil.interrupt import end_at_once

NEEDED = ("torch", "typer", "rich", "pydantic", "yaml", "safetensors")
"""By the command line with all of its commands; the extra ``torch`` brings them."""


def main() -> None:
    """Run the command line, or what of it a device has that only predicts."""
    hold_streams()
    end_at_once()
    missing = [package for package in NEEDED if find_spec(package) is None]
    if missing:
        from bdistil.cli.on_device import main as run
    else:
        from bdistil.cli.app import main as run
    run()


def hold_streams() -> None:
    """Let what was started with closed streams have none of its files take their numbers.

    Whatever a library writes to its error stream would end up in a journal.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
