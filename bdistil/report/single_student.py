"""One student in the whole ensemble's place, trained as the search trains its candidates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from bdistil.core.growth import folded_flops, widest
from bdistil.core.student import StudentConfig
from bdistil.export.checkpoint import build_student
from bdistil.export.served import default_runtime, served
from bdistil.report.bench_peers import Peer
from bdistil.searching.local import LocalBackend
from bdistil.searching.progress import Silent
from bdistil.searching.result import SearchResult
from bdistil.searching.run import run_search
from bdistil.spec import load_spec
from bdistil.words import counted


class Telling(Silent):
    """Says what takes time while the candidates train."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say

    def message(self, text: str) -> None:
        """A line worth keeping."""
        self.say(text)


def train_single_student(
    result: SearchResult, folder: Path, say: Callable[[str], None]
) -> SearchResult:
    """A search of one round: the class of the first student, as wide as the last stage is dear.

    As many candidates as a round of the search has, from its space and with its teacher; which one
    is kept is decided on validation, as there.

    Args:
        result: of the search.
        folder: for the run.
        say: is told what takes time.
    """
    kind = result.rounds[0].student.kind.partition("(")[0]
    most = result.evaluation.stages[-1].flops
    width = widest(lambda width: flops_of(result, kind, width), most, kind=kind)
    changes = ("search.rounds=1", "search.fallback=best", "workers.count=0", "goal=null")
    own = (f"space.student={kind}", f"space.ladder=[{width}]", "space.connection=none")
    spec = load_spec(result.run.spec().model_dump(mode="json"), [*changes, *own])
    candidates = counted(spec.search.tries, "candidate")
    say(f"training {candidates} of {kind}-{width}, as dear as the last stage")
    backend, teacher = LocalBackend(), result.run.path
    return run_search(spec, folder, backend, reporter=Telling(say), teacher_dir=teacher)


def flops_of(result: SearchResult, kind: str, width: int) -> int:
    """FLOPs of a student alone."""
    shape, outputs = result.dataset.input_shape, result.dataset.outputs
    with torch.device("meta"):
        student = build_student(StudentConfig(kind, width, "none", False), shape, outputs, ())
    return folded_flops(student, shape, ())


def single_student_peer(
    result: SearchResult, folder: Path, say: Callable[[str], None]
) -> tuple[Peer, str]:
    """The student as it is served by default here, and a sentence about it.

    Args:
        result: of the search.
        folder: for what is trained and written.
        say: is told what takes time.
    """
    found = train_single_student(result, folder / "single", say)
    runtime, ensemble = default_runtime(), found.build_ensemble()
    examples = result.dataset.validation.x[:64].astype(np.float32)
    call = served(ensemble, None, runtime, folder / "graphs", examples).straight[0]
    [record], [stage] = found.rounds, found.evaluation.stages
    last, name = result.evaluation.stages[-1], f"{record.student.kind}-{record.student.width}"
    note = (
        f"single student: {name}, the best on validation of "
        f"{counted(len(record.compared), 'candidate')}, has {stage.metric:.4f} on the test split "
        f"with {stage.flops:,} FLOPs; stage {last.stage} has {last.metric:.4f} with {last.flops:,}."
    )
    return Peer(f"single {name}", stage.metric, call, runtime), note
