"""Running a saved ensemble: to a stage, to a deadline, until sure, or within a budget.

Needs numpy and what the backend asks for: onnxruntime for exported graphs, else torch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import SpecError
from bdistil.names import TeacherOutputs
from bdistil.runtime.anytime import AnytimeRun, seconds
from bdistil.runtime.backends import AUTO, open_runner
from bdistil.runtime.budget import stage_counts
from bdistil.runtime.cascade import Cascade
from bdistil.runtime.confidence import no_or_yes, softmax
from bdistil.runtime.exits import SCORES, ExitPolicy, OperatingPoint, best_within, cheapest
from bdistil.runtime.manifest import Manifest, ensemble_folder
from bdistil.runtime.pace import Pace
from bdistil.runtime.partial_batch import PartialBatch
from bdistil.runtime.runner import Progress
from bdistil.runtime.values import as_text


@dataclass(frozen=True)
class Answer:
    """Answers for a batch.

    Attributes:
        values: names of the classes (B,), labels 0 and 1, int64 (B, L), or predictions (B, L) for
            regression.
        probabilities: calibrated, float32 (B, L); None for regression.
        stages: students that each example was shown to, int (B,).
        asked: which examples the teacher answered, bool (B,); None if there is none to ask.
    """

    values: NDArray[Any]
    probabilities: NDArray[np.floating] | None
    stages: NDArray[np.intp]
    asked: NDArray[np.bool_] | None = None


Found = tuple[NDArray[np.float32], int | NDArray[np.intp]]
"""Logits (B, L), and the stage that they are from or that each example reached."""
STRAIGHT = 0  # of a pace: to the last stage
SLACK = 4.0  # times what all stages take must be left for going straight through them
TOLERANCE = 0.001  # of the metric that early exit may lose on validation, unless told otherwise


class Predictor:
    """A saved ensemble, ready to answer.

    Args:
        source: a folder that ``bdistil export`` wrote, or a finished run.
        backend: ``torch``, ``onnx``, ``int8`` (ONNX with 8-bit weights), one that another package
            registers, or ``auto``: ONNX where the folder has graphs and onnxruntime is installed,
            else torch.
        threads: independent students that run at the same time when a stage is gone to straight.
        teacher: the last stage, asked about examples that the ensemble is not sure of; see
            :class:`~bdistil.runtime.cascade.Cascade`. Not with `stages` or a `deadline`.
        teacher_outputs: likewise.

    Raises:
        CheckpointError: if files are missing or damaged.
        SpecError: if the backend is unknown.
        MissingDependencyError: if the backend's package is not installed.

    Example:
        >>> predictor = Predictor("runs/digits")                   # doctest: +SKIP
        >>> predictor.predict(images, stages=2)                    # doctest: +SKIP
        >>> predictor.predict(images, deadline="5ms")              # doctest: +SKIP
        >>> predictor.predict(images, exit="confidence")           # doctest: +SKIP
    """

    def __init__(
        self,
        source: str | Path,
        *,
        backend: str = AUTO,
        threads: int = 1,
        teacher: Any = None,
        teacher_outputs: TeacherOutputs | None = None,
    ) -> None:
        check_count("threads", threads)
        folder = ensemble_folder(source)
        self.manifest = Manifest.read(folder)
        self.runner = open_runner(backend, folder, self.manifest, threads)
        self.cascade: Cascade | None = None
        if teacher is not None:
            self.cascade = Cascade(self.manifest, folder, teacher, teacher_outputs)
        self._pace = Pace()
        self._loaded = False

    def __len__(self) -> int:
        return self.manifest.stages

    def predict(
        self,
        x: Any,
        *,
        stages: int | None = None,
        deadline: float | str | None = None,
        exit: ExitPolicy | OperatingPoint | str | None = None,
    ) -> NDArray[Any]:
        """Labels of the classes (B,), labels or predictions (B, L); see :meth:`answer`."""
        if self.cascade is None:  # nobody asks for probabilities
            return self.manifest.values(self._found(x, stages, deadline, exit)[0])
        return self.answer(x, stages=stages, deadline=deadline, exit=exit).values

    def predict_proba(
        self,
        x: Any,
        *,
        stages: int | None = None,
        deadline: float | str | None = None,
        exit: ExitPolicy | OperatingPoint | str | None = None,
    ) -> NDArray[np.floating]:
        """Calibrated probabilities, float32 (B, L); see :meth:`answer`.

        Raises:
            SpecError: for regression.
        """
        answer = self.answer(x, stages=stages, deadline=deadline, exit=exit)
        if answer.probabilities is None:
            raise SpecError(f"{self.manifest.name!r} is a regression; use predict.")
        return answer.probabilities

    def answer(
        self,
        x: Any,
        *,
        stages: int | None = None,
        deadline: float | str | None = None,
        exit: ExitPolicy | OperatingPoint | str | None = None,
    ) -> Answer:
        """Answer raw examples: an array (B, ...), or a table if trained on one.

        Args:
            x: the examples.
            stages: go straight to this stage; all of them if nothing else is asked for.
            deadline: seconds, or such as ``"5ms"``, from now: the best answer finished by then.
                The first stage is always waited for, and the first call loads the graphs before
                its time runs; :meth:`warm_up` does so earlier.
            exit: let each example leave as soon as it is sure: a policy, or the name of a score,
                whose threshold then is the cheapest that kept the full accuracy on validation.

        Raises:
            DataError: if the examples do not fit, or there is no such stage.
            SpecError: if more than one of `stages`, `deadline` and `exit` is given.
        """
        answer = self._answered(*self._found(x, stages, deadline, exit))
        if self.cascade is None or stages is not None or deadline is not None:
            return answer
        return self._with_teacher(self.cascade, self.manifest.as_examples(x), answer)

    def _found(
        self,
        x: Any,
        stages: int | None,
        deadline: float | str | None,
        exit: ExitPolicy | OperatingPoint | str | None,
    ) -> Found:
        """What :meth:`answer` answers, as logits."""
        if deadline is None and exit is None:
            stage = self._stage(stages)
            return self._straight(self.manifest.as_examples(x), stage), stage
        started = time.perf_counter()
        if sum(each is not None for each in (stages, deadline, exit)) > 1:
            raise SpecError("give one of stages, deadline and exit, not several.")
        examples = self.manifest.as_examples(x)
        if deadline is not None:
            return self._until(examples, started, seconds(deadline))
        assert exit is not None
        return self._until_sure(examples, self._policy(exit))

    def warm_up(self, examples: int = 1) -> None:
        """Load everything and answer such a batch in every way, so that later calls are fast."""
        check_count("examples", examples)
        x = np.zeros((examples, *self.manifest.input_shape), np.float32)
        self._load()
        for _ in range(2):  # the first time is slower
            list(self._steps(x))
            begun = time.perf_counter()
            self._straight(x, len(self))
            self._pace.note(STRAIGHT, examples, time.perf_counter() - begun)

    def stages(self, x: Any) -> Iterator[Answer]:
        """One answer after another, each better than the last; leave when you like."""
        for progress in self._steps(self.manifest.as_examples(x)):
            yield self._answered(progress.logits, progress.stage)

    def start(self, x: Any) -> AnytimeRun:
        """Begin to answer in another thread: ``run.wait(...)`` for it, ``run.stop()`` to end it.

        :meth:`finished` turns what ``wait`` gives into an answer.
        """
        return AnytimeRun(self._steps(self.manifest.as_examples(x)))

    def finished(self, progress: Progress) -> Answer:
        """The answer of a run's latest stage."""
        return self._answered(progress.logits, progress.stage)

    def predict_batch(self, x: Any, budget: float | str) -> Answer:
        """Answer a whole batch within a budget, spending more stages on the hard examples.

        Args:
            x: the examples, as for :meth:`answer`.
            budget: mean FLOPs of an example, or such as ``"50%"`` of the full ensemble's. The
                first stage runs for all, whatever the budget is.

        Raises:
            SpecError: if the budget cannot be read, or the ensemble has no figures.
        """
        costs = self._costs()
        increments = np.diff([0.0, *costs]).tolist()
        examples = self.manifest.as_examples(x)
        if len(examples) == 0:
            return self._answered(self._no_logits(), 1)
        progress = self.runner.begin(examples)
        counts = stage_counts(len(progress.logits), increments, _budget(budget, costs[-1]))
        run = PartialBatch(self.runner, progress, self._seen)
        for fewer in [*counts[1:], 0]:
            run.advance()
            run.keep(
                run.least_sure(fewer, "stability" if self.manifest.regression else "confidence")
            )
        return self._answered(run.logits, run.stages)

    def policy(
        self,
        score: str | None = None,
        *,
        at_least: float | None = None,
        budget: float | str | None = None,
    ) -> OperatingPoint:
        """An early-exit policy with what it did on validation.

        Args:
            score: of those in ``exits.SCORES``; the best of all if left out.
            at_least: wanted accuracy (or micro F1, or R²) on validation, a standard error of its
                difference from the full ensemble's left over; the full ensemble's, less .001, if
                neither this nor a budget is given.
            budget: mean FLOPs of an example, or such as ``"50%"`` of the full ensemble's.

        If nothing is good enough for `at_least` it is the best there is, and if all cost more than
        the budget the cheapest; look at the point's `metric` and `cost`.

        Raises:
            SpecError: if the ensemble was exported without such points, or both `at_least` and a
                budget are given.
        """
        if at_least is not None and budget is not None:
            raise SpecError("give at_least or a budget, not both.")
        if at_least is not None and not _is_finite(at_least):
            raise SpecError(f"at_least is {as_text(at_least)}; give an accuracy such as 0.95.")
        if score is not None and score not in tuple(SCORES):
            raise SpecError(f"exit score {score!r} is unknown; choose {', '.join(SCORES)}.")
        points = [p for p in self.manifest.exits if score in (None, p.policy.score)]
        if not points:
            kind = "early exits" if score is None else f"early exits by {score!r}"
            raise SpecError(f"{self.manifest.name!r} was exported without {kind}; export it anew.")
        if budget is not None:
            return best_within(points, _budget(budget, self._costs()[-1]))
        if at_least is None:
            full = max(points, key=lambda point: point.cost)
            at_least = full.metric - TOLERANCE
        return cheapest(points, at_least)

    def _with_teacher(
        self, cascade: Cascade, examples: NDArray[np.float32], answer: Answer
    ) -> Answer:
        """The teacher's answers where the whole ensemble is not sure."""
        assert answer.probabilities is not None
        rows = cascade.unsure(answer.probabilities)
        rows = rows[answer.stages[rows] == len(self)]
        asked = np.zeros(len(examples), bool)
        asked[rows] = True
        if len(rows) == 0:
            return replace(answer, asked=asked)
        logits = cascade.ask(examples[rows])
        values, probabilities = answer.values.copy(), answer.probabilities.copy()
        values[rows] = self.manifest.values(logits)
        probabilities[rows] = self._probabilities(logits)
        return Answer(values, probabilities, answer.stages, asked)

    def _probabilities(self, scaled: NDArray[np.float32]) -> NDArray[np.floating]:
        """Of logits over their temperature, (B, L)."""
        return softmax(no_or_yes(scaled))[..., 1] if self._multilabel else softmax(scaled)

    def _policy(self, exit: ExitPolicy | OperatingPoint | str) -> ExitPolicy:
        if isinstance(exit, OperatingPoint):
            return exit.policy
        return exit if isinstance(exit, ExitPolicy) else self.policy(exit).policy

    def _straight(self, examples: NDArray[np.float32], stage: int) -> NDArray[np.float32]:
        return self.runner.straight(examples, stage) if len(examples) else self._no_logits()

    def _until(self, examples: NDArray[np.float32], started: float, duration: float) -> Found:
        if not self._loaded:
            self._load()
            started = time.perf_counter()
        end, expected = started + duration, self._expected(len(examples))
        if expected is not None and time.perf_counter() + SLACK * expected < end:
            begun = time.perf_counter()
            logits = self._straight(examples, len(self))
            self._pace.note(STRAIGHT, len(examples), time.perf_counter() - begun)
            return logits, len(self)
        run = AnytimeRun(self._steps(examples, end))
        try:
            progress = run.wait(end - time.perf_counter())
            return progress.logits, progress.stage
        finally:
            run.stop(wait=False)  # the stage at hand may take longer than there is time

    def _load(self) -> None:
        """Whatever a runner loads, so that this is not taken for the pace of a stage."""
        load = getattr(self.runner, "load", None)
        if load is not None:
            load(len(self))
        self._loaded = True

    def _expected(self, examples: int) -> float | None:
        """Seconds that all stages take at most, if something recent is known of them."""
        straight = self._pace.expected(STRAIGHT, examples)
        if straight is not None:
            return straight
        steps = [self._pace.expected(stage, examples) for stage in range(1, len(self) + 1)]
        known = [step for step in steps if step is not None]
        return sum(known) if len(known) == len(steps) else None

    def _until_sure(self, examples: NDArray[np.float32], policy: ExitPolicy) -> Found:
        if len(examples) == 0:
            return self._no_logits(), 1
        run = PartialBatch(self.runner, self.runner.begin(examples), self._seen)
        while len(run.rows) and run.progress.stage < len(self):
            run.advance()
            run.keep(np.flatnonzero(~policy.leaves(run.trace)))
        return run.logits, run.stages

    def _steps(self, examples: NDArray[np.float32], end: float | None = None) -> Iterator[Progress]:
        """Stage after stage; none that by its latest times would not be done by `end`."""
        if len(examples) == 0:
            yield from (Progress(t, self._no_logits(), None) for t in range(1, len(self) + 1))
            return
        progress = self.runner.begin(examples)
        while progress.stage < len(self):
            started, stage = time.perf_counter(), progress.stage + 1
            expected = self._pace.expected(stage, len(examples)) if end is not None else None
            if expected is not None and stage > 1 and started + expected > (end or 0.0):
                return
            progress = self.runner.advance(progress)
            self._pace.note(stage, len(examples), time.perf_counter() - started)
            yield progress

    def _no_logits(self) -> NDArray[np.float32]:
        return np.zeros((0, self.manifest.outputs), np.float32)

    def _seen(self, progress: Progress) -> NDArray[np.floating]:
        """What policies look at: calibrated probabilities, or predictions for regression."""
        logits, temperature = progress.logits, self.manifest.temperatures[progress.stage - 1]
        if self.manifest.regression:
            return logits
        return softmax(no_or_yes(logits) if self._multilabel else logits, temperature)

    def _answered(self, logits: NDArray[np.float32], stage: int | NDArray[np.intp]) -> Answer:
        values, temperatures = self.manifest.values(logits), self.manifest.temperatures
        stages = np.full(len(logits), stage, np.intp)
        if self.manifest.regression:
            return Answer(values, None, stages)
        if isinstance(stage, int):
            scaled = logits / np.float32(temperatures[stage - 1])
        else:
            scaled = logits / np.array(temperatures, np.float32)[stages - 1, None]
        return Answer(values, self._probabilities(scaled), stages)

    @property
    def _multilabel(self) -> bool:
        return self.manifest.task == "multilabel"

    def _stage(self, stages: int | None) -> int:
        stage = len(self) if stages is None else stages
        self.manifest.check_stage(stage)
        return int(stage)

    def _costs(self) -> tuple[float, ...]:
        if self.manifest.costs is None:
            raise SpecError(f"{self.manifest.name!r} was saved without figures; export it anew.")
        return self.manifest.costs


def check_count(name: str, value: Any) -> None:
    """Refuse an argument that is no number of things.

    Raises:
        SpecError: naming it.
    """
    if type(value) is bool or not isinstance(value, int | np.integer) or value < 1:
        raise SpecError(f"{name} is {value!r}; give a whole number from 1 on.")


def _is_finite(value: Any) -> bool:
    try:
        return type(value) is not bool and math.isfinite(value)
    except (TypeError, OverflowError):
        return False


def _budget(budget: float | str, full: float) -> float:
    """Mean FLOPs of an example."""
    text = as_text(budget).strip()
    try:
        value = float(text[:-1]) / 100 * full if text.endswith("%") else float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise SpecError(f"a budget of {text!r} cannot be read; give FLOPs, or such as '50%'.")
    return value
