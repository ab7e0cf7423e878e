"""Running a saved ensemble: to a stage, to a deadline, until sure, or within a budget.

Needs numpy and what the backend asks for: onnxruntime for exported graphs, else torch.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import BdistilWarning, SpecError
from bdistil.names import TeacherOutputs
from bdistil.runtime.answer import Answer, answered, seen_by_policies, with_teacher
from bdistil.runtime.anytime import AnytimeRun, seconds
from bdistil.runtime.backends import AUTO, open_runner
from bdistil.runtime.budget import stage_counts
from bdistil.runtime.cascade import Cascade
from bdistil.runtime.choice import budget_of, check_count, check_score, choose, costs_of
from bdistil.runtime.clock import StageTimes, measure_times, timed_batch
from bdistil.runtime.config_file import ensemble_folder
from bdistil.runtime.deadlines import Deadlines, Found
from bdistil.runtime.exit_graph import exit_graph_of
from bdistil.runtime.exits import ExitPolicy, OperatingPoint, usual_score
from bdistil.runtime.fresh_rows import exits_on
from bdistil.runtime.manifest import Manifest
from bdistil.runtime.partial_batch import PartialBatch, stages_of_all, stages_of_one
from bdistil.runtime.product import ProductRunner, as_products
from bdistil.runtime.risk import RISK
from bdistil.runtime.runner import Progress
from bdistil.runtime.stream import Stream
from bdistil.runtime.values import as_text

Exit = ExitPolicy | OperatingPoint | str


class Predictor:
    """A saved ensemble, ready to answer.

    Args:
        source: a folder that ``bdistil export`` wrote, or a finished run.
        backend: ``torch``, ``onnx``, ``int8`` (ONNX with 8-bit weights), one that another package
            registers, or ``auto``: ONNX where the folder has graphs and onnxruntime is installed,
            else torch.
        threads: independent students that run at the same time when a stage is gone to straight.
        teacher: the last stage, asked about examples that the ensemble is not sure of; see
            :class:`~bdistil.runtime.cascade.Cascade`. :meth:`answer` and those that predict ask it,
            if neither `stages` nor a `deadline` is given; nobody else does.
        teacher_outputs: likewise.
        product: answer by products over the stages, which more time hardly turns from right to
            wrong (:mod:`~bdistil.runtime.product`), where classes are asked for. Probabilities are
            the product's, not calibrated, and early exits are measured anew, ``policy(on=(x, y))``.

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
        product: bool = False,
    ) -> None:
        check_count("threads", threads)
        if not isinstance(product, bool | np.bool_):
            raise SpecError(f"product is {as_text(product)!r}; give True or False.")
        folder = ensemble_folder(source)
        self.manifest = Manifest.read(folder)
        self._count = self.manifest.stages
        self.runner = open_runner(backend, folder, self.manifest, threads)
        if product and teacher is not None:
            raise SpecError(
                "product=True and a teacher do not go together, as it is asked by calibrated "
                "probabilities; leave one out."
            )
        if product:
            self.manifest, self.runner = as_products(self.manifest, self.runner)
        self.exit_graph = exit_graph_of(self.runner, self.manifest)
        self.cascade: Cascade | None = None
        if teacher is None and teacher_outputs is not None:
            raise SpecError(f"teacher_outputs is {teacher_outputs!r} of no teacher; give it, too.")
        if teacher is not None:
            self.cascade = Cascade(self.manifest, folder, teacher, teacher_outputs)
        self.deadlines = Deadlines(len(self), partial(answered, self.manifest))
        self._times: dict[int, StageTimes] = {}
        self._looked = self.manifest.largest_pixel is None

    def __len__(self) -> int:
        return self._count

    def predict(
        self,
        x: Any,
        *,
        stages: int | None = None,
        deadline: float | str | timedelta | None = None,
        exit: Exit | None = None,
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
        deadline: float | str | timedelta | None = None,
        exit: Exit | None = None,
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
        deadline: float | str | timedelta | None = None,
        exit: Exit | None = None,
    ) -> Answer:
        """Answer raw examples: an array (B, ...), or a table if trained on one.

        Args:
            x: the examples.
            stages: go straight to this stage; all of them if nothing else is asked for.
            deadline: seconds, ``"5ms"`` or a timedelta, from now: the best answer finished by then.
                The first stage is always waited for, and the first call loads and tries the graphs
                before its time runs; :meth:`warm_up` does so earlier. Of a large batch, some rows
                may get a stage further than others.
            exit: let each example leave as soon as it is sure: a policy, or the name of a score,
                whose threshold then is the fastest here, for a batch of about that size, that kept
                the full accuracy on validation.

        Raises:
            DataError: if the examples do not fit, or there is no such stage.
            SpecError: if more than one of `stages`, `deadline` and `exit` is given.
        """
        found = self._found(x, stages, deadline, exit, told=True)
        answer = answered(self.manifest, *found)
        if self.cascade is None or stages is not None or deadline is not None:
            return answer
        return with_teacher(self.manifest, self.cascade, self._examples(x), answer)

    def _found(
        self,
        x: Any,
        stages: int | None,
        deadline: float | str | timedelta | None,
        exit: Exit | None,
        *,
        told: bool = False,
    ) -> Found:
        """What :meth:`answer` answers, as logits; `told` leaves time of a deadline to tell it."""
        if deadline is None and exit is None:
            stage = self._count if stages is None else self._stage(stages)
            examples = self._examples(x)
            if len(examples) == 0:
                return self._no_logits(), stage
            return self.runner.straight(examples, stage), stage
        started = time.perf_counter()
        if sum(each is not None for each in (stages, deadline, exit)) > 1:
            raise SpecError("give one of stages, deadline and exit, not several.")
        examples = self._examples(x)
        if deadline is not None:
            return self._until(examples, started, seconds(deadline), told)
        assert exit is not None
        return self._until_sure(examples, self._policy(exit, len(examples)))

    def warm_up(self, examples: int = 1) -> None:
        """Load everything and answer such a batch in every way, so that later calls are fast.

        From here on the folder may be replaced by another export; before, graphs are read when they
        are first needed. Streams load theirs when they begin.
        """
        check_count("examples", examples)
        zeros = self._zeros(examples)
        for stage in range(1, len(self)):
            self.runner.straight(zeros, stage)
        self.deadlines.warm_up(self.runner, zeros)
        if self.exit_graph is not None:
            self.exit_graph.leave_at(zeros[:1], len(self))

    def stages(self, x: Any) -> Iterator[Answer]:
        """One answer after another, each better than the last; leave when you like.

        Examples are copied, so `x` may be written to meanwhile.
        """
        steps = self._steps(self._copied(x))
        return (answered(self.manifest, each.logits, each.stage) for each in steps)

    def stream(self, stages: int | None = None) -> Stream:
        """Begin with a sequence that comes in step by step.

        See :class:`~bdistil.runtime.stream.Stream`. The teacher is not asked.

        Args:
            stages: answers of stage 1 to this; of all if left out.

        Raises:
            DataError: if there is no such stage.
            SpecError: if the ensemble takes no sequences, or was exported without what streams
                need.

        Example:
            >>> stream = predictor.stream()                        # doctest: +SKIP
            >>> for steps in microphone:  # (1, some, inputs)      # doctest: +SKIP
            ...     answers = stream.push(steps)  # of stage 1, 2, ...
        """
        if isinstance(self.runner, ProductRunner):
            raise SpecError("products over the stages have no streams; leave product out.")
        return Stream(self.manifest, self.runner, len(self) if stages is None else stages)

    def start(self, x: Any) -> AnytimeRun[Progress]:
        """Begin to answer in another thread: ``run.wait(...)`` for it, ``run.stop()`` to end it.

        :meth:`finished` turns what ``wait`` gives into an answer. Examples are copied, so `x`, such
        as a camera's buffer, may be written to meanwhile.
        """
        return AnytimeRun(self._steps(self._copied(x)))

    def finished(self, progress: Progress) -> Answer:
        """The answer of a run's latest stage."""
        return answered(self.manifest, progress.logits, progress.stage)

    def predict_batch(self, x: Any, budget: float | str) -> Answer:
        """Answer a whole batch within a budget, spending more stages on the hard examples.

        Args:
            x: the examples, as for :meth:`answer`.
            budget: mean FLOPs of an example, or such as ``"50%"`` of the full ensemble's. The
                first stage runs for all, whatever the budget is; a warning tells of less.

        Raises:
            SpecError: if the budget cannot be read, the ensemble has no figures, or there is a
                teacher, whom no budget of FLOPs covers.
        """
        if self.cascade is not None:
            raise SpecError(
                "budgets are of the ensemble alone; open it without a teacher, or use answer()."
            )
        costs = costs_of(self.manifest)
        increments, limit = np.diff([0.0, *costs]).tolist(), budget_of(budget, costs[-1])
        examples = self._examples(x)
        if len(examples) == 0:
            return answered(self.manifest, self._no_logits(), 1)
        if limit < costs[0]:
            warnings.warn(
                f"the budget, {limit:,.4g} FLOPs an example, is less than the first stage takes, "
                f"{costs[0]:,.0f}, and that runs for all examples.",
                BdistilWarning,
                stacklevel=2,
            )
        progress = self.runner.begin(examples)
        counts = stage_counts(len(progress.logits), increments, limit)
        run = PartialBatch(self.runner, progress, self._seen)
        run.advance()
        for fewer in counts[1:]:
            run.keep_least_sure(fewer, usual_score(self.manifest.regression))
            run.advance()
        return answered(self.manifest, *run.found())

    def policy(
        self,
        score: str | None = None,
        *,
        at_least: float | None = None,
        budget: float | str | None = None,
        by: str = "time",
        batch: int = 1,
        risk: float = RISK,
        on: tuple[Any, Any] | None = None,
    ) -> OperatingPoint:
        """An early-exit policy with what it did on validation, chosen by the clock of this machine.

        What stages take, and finding out who leaves after each, is measured at the first call for a
        batch. Where that saves less than a tenth, the policy never leaves early.

        Args:
            score: of those in ``exits.SCORES``; the best of all if left out.
            at_least: promised accuracy (or micro F1, or R²) on unseen examples. If neither this nor
                a budget is given, there is no promise: the policy is within .001 of the full
                ensemble on validation, a standard error of the difference left over.
            budget: mean seconds of an example, such as ``"20us"``, or ``"50%"`` of the full
                ensemble's; by FLOPs mean FLOPs.
            by: ``time`` or ``flops``; the unit of the point's `cost`.
            batch: examples at once, for which the time is measured. Those of a batch that go on are
                taken to leave independently of each other.
            risk: chance that `at_least` does not hold, where unseen examples come as the measured
                ones did and these chose nothing else; exact for accuracy. The search chose students
                on the validation split, which flatters it.
            on: examples and labels of their classes, (x, y), to measure on instead.

        Raises:
            DataError: if `on` does not fit.
            SpecError: if the ensemble was exported without such points, both `at_least` and a
                budget are given, `batch` is no number of examples, or nothing keeps what is asked
                for.
        """
        check_count("batch", batch)
        if on is None and isinstance(self.runner, ProductRunner):
            raise SpecError(
                "early exits of products are not measured at the export; measure them on labelled "
                "examples, exit=predictor.policy(on=(x, y))."
            )
        exits = self.manifest.exits if on is None else self._exits_on(on)
        times = partial(self.times, batch)
        return choose(self.manifest, exits, times, score, at_least, budget, by, risk)

    def _exits_on(self, on: Any) -> tuple[OperatingPoint, ...]:
        if not isinstance(on, tuple | list) or len(on) != 2:
            raise SpecError(f"on is of type {type(on).__name__}; give a pair, on=(x, y).")
        x, y = on
        trace = [self._seen(progress) for progress in self._steps(self._examples(x))]
        return exits_on(self.manifest, trace, y)

    def times(self, batch: int = 1) -> StageTimes:
        """What stages take here for a batch, in seconds; measured at the first call for its size.

        Raises:
            SpecError: if there is no memory for such a batch.
        """
        if batch not in self._times:
            batches = [self._zeros(size) for size in dict.fromkeys((1, batch))]
            score = usual_score(self.manifest.regression)
            self._times[batch] = measure_times(
                self.runner, batches, len(self), self._seen, score, self.exit_graph
            )
        return self._times[batch]

    def _policy(self, exit: Exit, examples: int) -> ExitPolicy:
        policy = exit.policy if isinstance(exit, OperatingPoint) else exit
        if not isinstance(policy, ExitPolicy):
            return self.policy(policy, batch=timed_batch(examples)).policy
        check_score(self.manifest, policy.score)
        return policy

    def _until(
        self, examples: NDArray[np.float32], started: float, duration: float, told: bool
    ) -> Found:
        if len(examples) == 0:
            return self._no_logits(), len(self)
        if not self.deadlines.warm:
            self.deadlines.warm_up(self.runner, self._zeros(1))
            started = time.perf_counter()
        return self.deadlines.until(self.runner, examples, started + duration, told=told)

    def _until_sure(self, examples: NDArray[np.float32], policy: ExitPolicy) -> Found:
        if len(examples) == 0:
            return self._no_logits(), 1
        if policy.threshold == np.inf:
            return self.runner.straight(examples, len(self)), len(self)
        asked = self.runner, examples, len(self), self._seen, policy
        if len(examples) == 1:
            if self.exit_graph is not None and self.exit_graph.knows(policy.score):
                return self.exit_graph.until_sure(examples, policy)
            *_, reached = stages_of_one(*asked)
            return reached.logits, reached.stage
        *_, run = stages_of_all(*asked)
        return run.found()

    def _examples(self, x: Any) -> NDArray[np.float32]:
        """Raw examples; at the scale of the first images is looked."""
        examples = self.manifest.as_examples(x)
        if not self._looked and len(examples):
            self._looked = True
            self.manifest.note_scale(examples)
        return examples

    def _copied(self, x: Any) -> NDArray[np.float32]:
        """Raw examples that whoever gave them cannot change."""
        return np.array(self._examples(x))

    def _steps(self, examples: NDArray[np.float32]) -> Iterator[Progress]:
        """Stage after stage."""
        if len(examples) == 0:
            yield from (Progress(t, self._no_logits(), None) for t in range(1, len(self) + 1))
            return
        progress = self.runner.begin(examples)
        while progress.stage < len(self):
            progress = self.runner.advance(progress)
            yield progress

    def _zeros(self, examples: int) -> NDArray[np.float32]:
        try:
            return np.zeros((examples, *self.manifest.input_shape), np.float32)
        except (MemoryError, ValueError):  # numpy's, for sizes beyond any memory
            raise SpecError(
                f"no memory for such a batch, of {examples:,} examples; ask for fewer."
            ) from None

    def _no_logits(self) -> NDArray[np.float32]:
        return np.zeros((0, self.manifest.outputs), np.float32)

    def _seen(self, progress: Progress) -> NDArray[np.floating]:
        return seen_by_policies(self.manifest, progress)

    def _stage(self, stages: int) -> int:
        self.manifest.check_stage(stages)
        return int(stages)
