"""The command line with a fault built in; forked from here for each search, as imports take long.

Each line of the standard input is a JSON object: "arguments" of the command, "log" (a file for what
it prints), and "fault", which happens at the "moment". A moment is such as "before 001.safetensors"
(that file's name appears), "after record 2" (of the journal), "before round 3" (it is announced
to the workers), "write 7" (the seventh file or record of this process) or "after training 3" (the
third cohort that it trains). "kill" ends the process as a power cut would, "tear" first leaves half
a record in the journal, "fill" fills the disk on which the run lies. The answer is the exit status
and how many candidates were trained in this process; "keeps" has trials kept that train for less
than a second, too, "checkpoints" leaves one after each epoch.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import math
import os
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiny import tiny

from bdistil.cli.app import main
from bdistil.cluster import ray_backend
from bdistil.cluster.launch import launch_search
from bdistil.report.report import write_report
from bdistil.runs.journal import Journal
from bdistil.runs.trial import Cohort
from bdistil.searching import checkpointing, kept_training, kept_trials
from bdistil.searching.loop import SearchLoop
from bdistil.searching.workbench import Workbench


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


def search(request: dict[str, Any]) -> None:
    """The command, in a process of its own."""
    sys.argv = ["bdistil", *request["arguments"]]
    fault = {"kill": kill, "tear": tear, "fill": fill}[request["fault"]]

    def reached(moment: str) -> None:
        if moment == request["moment"]:
            fault()

    def watch(owner: Any, name: str, event: Callable[..., str]) -> None:
        call = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            happens = event(*arguments)
            reached(f"before {happens}")
            result = call(*arguments, **options)
            reached(f"after {happens}")
            return result

        setattr(owner, name, watched)

    writes = itertools.count(1)

    def counted(event: str) -> str:
        reached(f"write {next(writes)}")
        return event

    watch(os, "replace", lambda source, target: counted(Path(target).name))
    watch(Journal, "append", lambda journal, record: counted(f"record {record.round}"))
    watch(SearchLoop, "open_round", lambda loop: f"round {len(loop.ledger.records) + 1}")
    trainings = itertools.count(1)

    def trained(bench: Workbench, cohort: Cohort, *_: Any) -> str:
        with Path(request["trained"]).open("ab", buffering=0) as log:
            log.write(bytes(len(cohort.requests)))
        return f"training {next(trainings)}"

    watch(Workbench, "run", trained)
    if request["keeps"]:
        kept_trials.worth_keeping = lambda *_: True
    if request["checkpoints"]:
        kept_training.MOST_WRITING = math.inf
        checkpoints_after_each_epoch()
        ray_backend.make_workbench = functools.partial(patient_bench, ray_backend.make_workbench)
    main()


def checkpoints_after_each_epoch() -> None:
    checkpointing.SECONDS_BETWEEN, checkpointing.MOST_TAKING = 0.0, math.inf


def patient_bench(make: Callable[[Any], Workbench], material: Any) -> Workbench:
    """In a worker of Ray, which knows nothing of what was changed in the driver."""
    checkpoints_after_each_epoch()
    return make(material)


def forked(request: dict[str, Any]) -> int:
    """Exit status of the command; negative if a signal ended it."""
    child = os.fork()
    if child == 0:
        with open(request["log"], "wb", buffering=0) as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        try:
            search(request)
        except SystemExit as end:
            leave(end.code if isinstance(end.code, int) else 1)
        except BaseException:
            traceback.print_exc()
            leave(1)
        leave(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def leave(status: int) -> None:
    """Exit without what the parent registered for its own end."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def warm_up() -> None:
    """A whole search, which imports what its parts need only once they are called."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_report(launch_search(tiny("search.rounds=1", "workers.count=0"), folder))


if __name__ == "__main__":
    warm_up()
    for line in sys.stdin:
        request = json.loads(line)
        trained = Path(request["trained"])
        trained.write_bytes(b"")
        print(forked(request), trained.stat().st_size, flush=True)
