"""Trials of the open round that outlive the driver: whoever resumes does not train them again.

What answers is written down with how many trials had been asked for and had answered by then. On
resuming, trials are asked for and answered in that order again, whatever workers there are now. So
the sampler, which learns from each answer, asks for the same values, and the answers fit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from bdistil.core.student import Student
from bdistil.errors import BdistilWarning, CheckpointError
from bdistil.runs.open_round import KeptCohort, OpenRoundFiles
from bdistil.runs.run_directory import RunDirectory
from bdistil.runs.trial import Cohort, TrialResult
from bdistil.searching.backend import Played, ShouldStop, TrialBackend, Work
from bdistil.searching.kept_training import MOST_WRITING, KeptTrainings
from bdistil.spec.user_modules import UserModule
from bdistil.version import __version__
from bdistil.words import counted

SECONDS_WORTH_KEEPING = 1.0
"""Of training; what takes less is trained again about as soon as it is flushed to disk."""


def worth_keeping(seconds: float, writing: float, workers: int) -> bool:
    """Whether an answer is written down.

    Args:
        seconds: that its trials have trained.
        writing: seconds that it would take, by the last one.
        workers: as many such answers may come in that time.
    """
    return seconds >= max(SECONDS_WORTH_KEEPING, workers * writing / MOST_WRITING)


def result_identity(work: Work, run: RunDirectory) -> str:
    """Hash of what the outcome of a request hangs on, but for the students before it.

    Beside what decides whether a run may be resumed these are the limits of cost, the user's code
    and bdistil's version, which may all change between two rounds.
    """
    sources = [UserModule.of(name).source for name in work.spec.modules]
    parts = [work.spec.identity(), work.limits, sources, __version__]
    card = run.teacher.card().content
    return hashlib.sha256(json.dumps([*parts, card], sort_keys=True).encode()).hexdigest()


class KeptTrials:
    """A backend that keeps what its trials find, and answers from it what was found before.

    Of trials that are still in training it keeps checkpoints (:mod:`.kept_training`).

    Args:
        backend: runs the trials that are not kept.
        run: the run directory.
        tell: takes a message for people.
    """

    def __init__(
        self, backend: TrialBackend, run: RunDirectory, tell: Callable[[str], None]
    ) -> None:
        self.backend = backend
        self.run = run
        self.files = OpenRoundFiles(run)
        self.trainings = KeptTrainings(run, tell, self._unkept_is_told)
        self.tell = tell
        self.warned = False
        self.workers, self.writing = 1, 0.0
        self.played = hashlib.sha256()
        self._forget()

    def _forget(self) -> None:
        self.kept: dict[int, KeptCohort] = {}  # not asked for yet, by their first numbers
        self.ready: list[tuple[KeptCohort, Cohort]] = []  # asked for, not answered yet
        self.recalled: dict[int, KeptCohort] = {}  # answered, by the numbers of their trials
        self.waiting: deque[Cohort] = deque()  # for the backend
        self.running: dict[int, Cohort] = {}  # there or waiting for it, by the numbers of trials
        self.asked = self.answered = 0

    @property
    def idle(self) -> int:
        """Above 0 while a cohort is wanted.

        Before a kept answer, until as many trials are asked for as were when it came; where the
        next answer is not a kept one, as long as the backend has room.
        """
        for cohort in (*(found for found, _ in self.ready), *self.kept.values()):
            if cohort.answered == self.answered:
                return cohort.asked - self.asked
        return self.backend.idle - len(self.waiting) - len(self.ready)

    def start(self, work: Work) -> None:
        """Take in the search."""
        self.workers = work.spec.workers.trials
        self.played = hashlib.sha256(result_identity(work, self.run).encode())
        self.backend.start(dataclasses.replace(work, checkpoints=self.trainings))

    def open_round(self, number: int) -> None:
        """Begin a round with what is kept of it; the files of others go."""
        self.backend.open_round(number)
        self._forget()
        self.round, self.identity = number, self.played.hexdigest()
        self.trainings.open_round(number, self.identity, self.workers)
        there = self.files.read()
        kept = [cohort for cohort in there if cohort.identity == self.identity]
        self.kept = {cohort.numbers[0]: cohort for cohort in kept}
        with self._unkept_is_told():
            self.files.clear(but=kept)
        others = [c for c in there if c not in kept and c.results[0].request.round == number]
        fates = ((kept, "kept"), (others, "had other settings and must run again"))
        for cohorts, fate in fates:
            if count := sum(len(cohort.results) for cohort in cohorts):
                trials = counted(count, "trial")
                self.tell(f"Round {number}: {trials} of an earlier start {fate}.")

    def submit(self, cohort: Cohort) -> None:
        """Answer a cohort by what is kept of the same one, else hand it on."""
        self.asked += len(cohort.requests)
        numbers = [request.number for request in cohort.requests]
        found = self.kept.get(numbers[0])
        for number in numbers:
            self.kept.pop(number, None)
        if found is not None and asked_for(found) == cohort.model_dump_json():
            self.ready.append((found, cohort))
            return
        self.waiting.append(cohort)
        self.running |= dict.fromkeys(numbers, cohort)
        self._hand_on()

    def recall(self, results: Sequence[TrialResult]) -> None:
        """Let a cohort count that an earlier start has run."""
        self.backend.recall(results)

    def wait(self, until: float | None, should_stop: ShouldStop) -> list[TrialResult]:
        """The results that came in next: a kept cohort's in its turn, or when nothing else runs."""
        self._hand_on()
        following = min(self.ready, key=lambda pair: pair[0].answered, default=None)
        if following and (following[0].answered <= self.answered or not self.running):
            self.ready.remove(following)
            return self._recall(*following)
        results = self.backend.wait(until, should_stop)
        for cohort, answers in itertools.groupby(results, self._cohort_of):
            if cohort is not None:
                self._take(cohort, list(answers))
        return results

    def candidate(self, number: int) -> bytes:
        """The safetensors of a trial of the open round that has finished.

        Raises:
            CheckpointError: if the file of a kept one was changed since the round opened.
        """
        if number in self.recalled:
            return self.files.weights(self.recalled[number], number)
        return self.backend.candidate(number)

    def close_round(self) -> None:
        """End the open round and all of its trials; its files stay until the next one opens."""
        self._forget()
        self.trainings.close_round()
        self.backend.close_round()

    def play(self, student: Student, weights: bytes) -> Played:
        """Take an accepted student into the margin."""
        self.played.update(hashlib.sha256(weights).digest())
        return self.backend.play(student, weights)

    def now(self) -> float:
        """Seconds of the backend's clock."""
        return self.backend.now()

    def clear(self) -> None:
        """Delete what is kept, once no round is open any more."""
        with self._unkept_is_told():
            self.files.clear()
            self.trainings.files.clear()

    def _hand_on(self) -> None:
        while self.waiting and self.backend.idle > 0:
            self.backend.submit(self.waiting.popleft())

    def _cohort_of(self, result: TrialResult) -> Cohort | None:
        """The cohort that a result is of; None if its round is closed."""
        request = result.request
        return self.running.get(request.number) if request.round == self.round else None

    def _recall(self, kept: KeptCohort, cohort: Cohort) -> list[TrialResult]:
        pairs = zip(kept.results, cohort.requests, strict=True)
        results = [result.model_copy(update={"request": request}) for result, request in pairs]
        self.backend.recall(results)
        self.recalled |= dict.fromkeys(kept.sha256, kept)
        self.answered += len(results)
        return results

    def _take(self, cohort: Cohort, answers: list[TrialResult]) -> None:
        """Write down a cohort that has answered, if that is worth it."""
        answered, self.answered = self.answered, self.answered + len(answers)
        for answer in answers:
            del self.running[answer.request.number]
        seconds = sum(answer.seconds for answer in answers)
        whole = len(answers) == len(cohort.requests) and {"finished", "cut"}.issuperset(
            answer.status for answer in answers
        )
        if whole and worth_keeping(seconds, self.writing, self.workers):
            began = time.monotonic()
            self._write(answers, answered)
            self.writing = time.monotonic() - began
        else:
            self.writing /= 2  # it may have been slow by chance, so it is tried again some time
        self.trainings.drop(cohort)

    def _write(self, answers: list[TrialResult], answered: int) -> None:
        numbers = [each.request.number for each in answers if each.status == "finished"]
        weights = {number: self.backend.candidate(number) for number in numbers}
        kept = KeptCohort(
            identity=self.identity,
            asked=self.asked,
            answered=answered,
            results=tuple(answers),
            sha256={n: hashlib.sha256(blob).hexdigest() for n, blob in weights.items()},
        )
        with self._unkept_is_told():
            self.files.write(kept, weights)

    @contextlib.contextmanager
    def _unkept_is_told(self) -> Iterator[None]:
        """Warn, once, where files cannot be written that only save time."""
        try:
            yield
        except CheckpointError as error:
            self.run.check_there()
            if not self.warned:
                self.warned = True
                warnings.warn(
                    f"trials of the open round are not kept: {error} Should this search be "
                    "interrupted, they run again.",
                    BdistilWarning,
                    stacklevel=2,
                )


def asked_for(kept: KeptCohort) -> str:
    """The cohort that was run, as JSON, as which values read from a file equal those asked for."""
    return Cohort(requests=tuple(each.request for each in kept.results)).model_dump_json()
