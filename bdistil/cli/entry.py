"""Entry point of the console script ``bdistil``, with or without the packages of the extras."""

from __future__ import annotations

from importlib.util import find_spec

NEEDED = ("torch", "typer", "rich", "pydantic", "yaml", "safetensors")
"""By the command line with all of its commands; the extra ``torch`` brings them."""


def main() -> None:
    """Run the command line, or what of it a device has that only predicts."""
    missing = [package for package in NEEDED if find_spec(package) is None]
    if missing:
        from bdistil.cli.on_device import main as run
    else:
        from bdistil.cli.app import main as run
    run()
