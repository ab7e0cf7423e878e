"""The command line with a fault built in: ``faulty_driver.py FAULT MOMENT ARGUMENTS...``.

MOMENT is such as "before 001.safetensors" (that file's name appears), "after record 2" (of the
journal) or "before round 3" (it is announced to the workers); there the FAULT happens: "kill" ends
this process as a power cut would, "tear" first leaves half a record in the journal, "fill" fills
the disk on which the run lies.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bdistil.cli.app import main
from bdistil.distributed.experiment import Experiment
from bdistil.distributed.journal import Journal


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def tear() -> None:
    with (run_folder() / "rounds.jsonl").open("ab") as file:
        file.write(b'{"round":2,"student":{"kind":"ml')
    kill()


def fill() -> None:
    filler = (run_folder().parent / "filler").open("ab", buffering=0)
    with filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))


def run_folder() -> Path:
    return Path(sys.argv[sys.argv.index("--out") + 1])


def watch(owner: Any, name: str, event: Callable[..., str]) -> None:
    """Let the fault happen before or after a call."""
    call = getattr(owner, name)

    def watched(*arguments: Any, **options: Any) -> Any:
        reached(f"before {event(*arguments)}")
        result = call(*arguments, **options)
        reached(f"after {event(*arguments)}")
        return result

    setattr(owner, name, watched)


def reached(moment: str) -> None:
    if moment == MOMENT:
        FAULT()


if __name__ == "__main__":
    FAULT = {"kill": kill, "tear": tear, "fill": fill}[sys.argv[1]]
    MOMENT = sys.argv[2]
    del sys.argv[1:3]
    watch(os, "replace", lambda source, target: Path(target).name)
    watch(Journal, "append", lambda journal, record: f"record {record.round}")
    watch(Experiment, "open_round", lambda search: f"round {len(search.ledger.records) + 1}")
    main()
