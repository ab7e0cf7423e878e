"""A beam: several partial ensembles grow side by side, and the best of their extensions go on.

Every partial ensemble is a run directory of its own, ``branches/ROUND-PLACE``. In a round each is
extended by its best candidates; of all extensions, `search.beam` are kept, those first that no
other beats in both validation loss and FLOPs. At the end the best branch becomes the run's own
ensemble; ``bdistil pareto`` looks at all of them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bdistil.core.growth import folded_flops
from bdistil.datasets.catalogue import load_dataset
from bdistil.interrupt import check
from bdistil.runs.journal import RoundRecord
from bdistil.runs.run_directory import RunDirectory
from bdistil.runs.trial import Cohort, CohortResult, TrialResult
from bdistil.searching.announcement import Announcement
from bdistil.searching.controller import RoundController, Winner
from bdistil.searching.ledger import Ledger
from bdistil.searching.local import LocalMargin, prepared
from bdistil.searching.problem import build_problem, training_shards
from bdistil.searching.sampling import build_sampler
from bdistil.searching.trial_runner import answered
from bdistil.searching.workbench import stage_costs
from bdistil.spec import Spec
from bdistil.spec.user_modules import import_modules
from bdistil.store.durable import write_atomic
from bdistil.teachers.obtain import game_logits

FOLDER = "branches"


@dataclass(frozen=True)
class Extension:
    """A branch with one more student.

    Attributes:
        branch: folder of what was extended.
        record: of the round, as the journal would keep it.
        weights: safetensors of the student.
        flops: of one example through the folded ensemble.
    """

    branch: Path
    record: RoundRecord
    weights: bytes
    flops: int


Extend = Callable[[Spec, Sequence[Path]], Iterable[list[Extension]]]
"""Extends every branch: here, or as tasks of a cluster."""


class Beam:
    """The branches of a run.

    Args:
        run: the whole run; its teacher is there.
        spec: the resolved search.
    """

    def __init__(self, run: RunDirectory, spec: Spec) -> None:
        self.run = run
        self.spec = spec
        self.folder = run.path / FOLDER

    def generation(self) -> tuple[int, list[Path]]:
        """The last round that is whole, and its branches, best first."""
        whole = sorted(self.folder.glob("*.done"))
        if not whole:
            return 0, [self.seedling()]
        number = int(whole[-1].stem)
        return number, branches_of(self.folder, number)

    def seedling(self) -> Path:
        """The branch without students, from which the first round starts."""
        return self.new_branch(self.run.path, "000-00")

    def grow(self, extend: Extend, accepted: Callable[[RoundRecord], None]) -> None:
        """Play the missing rounds.

        Raises:
            SearchError: if every trial of a branch fails.
        """
        number, branches = self.generation()
        for this in range(number + 1, self.spec.search.rounds + 1):
            pool = [each for found in extend(self.spec, branches) for each in found]
            chosen = select(pool, self.spec.search.beam)
            branches = [self.plant(this, i, each) for i, each in enumerate(chosen)]
            write_atomic(self.folder / f"{this:03d}.done", b"")
            self.forget(this - 1)
            accepted(chosen[0].record)
        self.adopt(branches[0])

    def plant(self, number: int, place: int, extension: Extension) -> Path:
        """Write an extension as a branch of its own."""
        path = self.new_branch(extension.branch, f"{number:03d}-{place:02d}")
        branch = RunDirectory(path)
        write_atomic(path / extension.record.file, extension.weights)
        branch.journal.append(extension.record)
        return path

    def new_branch(self, source: Path, name: str) -> Path:
        """A copy of a run's spec, teacher, journal and students under another name.

        What a killed command left of it goes. Files are linked where the disk can.
        """
        target = self.folder / name
        shutil.rmtree(target, ignore_errors=True)
        for part in ("spec.yaml", "rounds.jsonl"):
            if (source / part).exists():
                write_atomic(target / part, (source / part).read_bytes())
        for part in ("teacher", "students"):
            for file in sorted((source / part).glob("*")):
                link(file, target / part / file.name)
        return target

    def forget(self, number: int) -> None:
        """Remove the branches of an earlier round."""
        for branch in branches_of(self.folder, number):
            shutil.rmtree(branch)
        (self.folder / f"{number:03d}.done").unlink(missing_ok=True)

    def adopt(self, best: Path) -> None:
        """Make a branch's students the run's own; the journal last."""
        for file in sorted((best / "students").glob("*")):
            write_atomic(self.run.path / "students" / file.name, file.read_bytes())
        write_atomic(self.run.journal.path, RunDirectory(best).journal.path.read_bytes())


def branches_of(folder: Path, number: int) -> list[Path]:
    """The branches of a round, best first."""
    return sorted(path for path in folder.glob(f"{number:03d}-*") if path.is_dir())


def link(source: Path, target: Path) -> None:
    """The same file at another place, or a copy where links are not to be had."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def select(pool: Sequence[Extension], count: int) -> list[Extension]:
    """The extensions that go on, the one with the least validation loss first.

    Weak learners alone, if there are any; of these, front by front, those that no other beats in
    both validation loss and FLOPs.
    """
    weak = [each for each in pool if each.record.result.weak]
    left = weak or list(pool)
    chosen: list[Extension] = []
    while left and len(chosen) < count:
        front = on_front([(each.record.result.loss, each.flops) for each in left])
        ahead = [each for each, best in zip(left, front, strict=True) if best]
        chosen += sorted(ahead, key=loss_of)[: count - len(chosen)]
        left = [each for each, best in zip(left, front, strict=True) if not best]
    return sorted(chosen, key=loss_of)


def on_front(costs: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    """Which rows no other row beats: no worse in both and better in one, bool (N,)."""
    values = np.array(costs)
    no_worse = (values[:, None] <= values[None]).all(axis=2)
    better = (values[:, None] < values[None]).any(axis=2)
    front: NDArray[np.bool_] = np.logical_not((no_worse & better).any(axis=0))
    return front


def loss_of(extension: Extension) -> float:
    """Validation loss of the extended ensemble."""
    return extension.record.result.loss


def extend_here(spec: Spec, branches: Sequence[Path]) -> Iterable[list[Extension]]:
    """Extend one branch after another in this process."""
    return (extend(spec, branch) for branch in branches)


def extend(spec: Spec, branch: Path) -> list[Extension]:
    """One round of a branch: its best candidates, at most `search.beam` of them."""
    import_modules(spec.modules)
    round_of = BranchRound(spec, branch)
    return round_of.play()


class BranchRound:
    """The next round of one branch, played in this process.

    Args:
        spec: the resolved search.
        branch: the folder of the partial ensemble.
    """

    def __init__(self, spec: Spec, branch: Path) -> None:
        self.spec = spec
        self.branch = branch
        run = RunDirectory(branch)
        dataset = load_dataset(spec.data, spec.seed, spec.teacher.columns)
        logits = game_logits(run.teacher.logits())
        self.problem = build_problem(dataset, logits)
        self.ledger = Ledger(run, self.problem)
        self.ledger.restore()
        self.margin, self.bench = prepared(spec, self.ledger, training_shards(dataset, logits))
        self.candidates: dict[int, bytes] = {}
        self.winner: Winner | None = None

    def play(self) -> list[Extension]:
        """Run the round's trials and keep the best of them.

        Raises:
            SearchError: if every trial fails.
        """
        started = time.monotonic()
        records, margin = self.ledger.records, self.margin
        self.bench.open_round(
            Announcement(len(records) + 1, self.ledger.blobs, margin.summary, margin.states)
        )
        sampler = build_sampler(self.spec, lambda: [t for r in records for t in r.trials])
        controller = RoundController(self.spec, sampler, self.take, rounds_done=len(records))
        while self.winner is None:
            cohort = controller.next_cohort()
            assert cohort is not None  # one at a time, and all of a class are waited for
            controller.answer(self.answer(cohort))
        seconds = time.monotonic() - started
        best = ranked(self.winner)[: self.spec.search.beam]
        return [self.extension(result, seconds) for result in best]

    def answer(self, cohort: Cohort) -> CohortResult:
        """The results of a cohort; weights are kept until the round is closed."""
        run = partial(self.bench.run, cohort, interrupted)
        return answered(cohort, run, self.candidates.__setitem__)

    def take(self, winner: Winner) -> None:
        """The controller has closed the round."""
        self.winner = winner

    def extension(self, result: TrialResult, seconds: float) -> Extension:
        """The branch with a candidate as its next student."""
        assert self.winner is not None
        weights = self.candidates[result.request.number]
        ensemble, shape = self.ledger.ensemble, self.problem.input_shape
        student = self.ledger.student(weights, "a candidate")
        after = LocalMargin(self.margin.parts, self.margin.rules)
        after.states, after.summary = self.margin.states, self.margin.summary
        after.play(weights)
        file = self.ledger.directory.student_file(len(self.ledger.records) + 1)
        record = RoundRecord(
            round=len(self.ledger.records) + 1,
            student=student.config,
            file=str(file.relative_to(self.branch)),
            sha256=hashlib.sha256(weights).hexdigest(),
            margin_sha256=after.sha256,
            result=result,
            trials=self.winner.trials,
            seconds=seconds,
        )
        flops = sum(stage_costs(ensemble, shape)) + folded_flops(student, shape, ensemble.features)
        return Extension(self.branch, record, weights, flops)


def interrupted() -> bool:
    """Asked before each batch: nobody closes a branch's round, but a person may end it all."""
    check()
    return False


def ranked(winner: Winner) -> list[TrialResult]:
    """A round's candidates from the winner on: weak learners by loss, then the winner alone."""
    weak = sorted((each for each in winner.trials if each.weak), key=lambda each: each.loss)
    return weak or [winner.result]
