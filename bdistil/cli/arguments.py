"""Arguments that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Modules = Annotated[
    list[str] | None,
    typer.Option(metavar="FILE", help="Your own .py file or installed module to import first."),
]
Run = Annotated[str, typer.Argument(help="The run directory, a path or URI.")]
