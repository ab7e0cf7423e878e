"""Running a saved ensemble: to a stage, to a deadline, until sure, or within a budget.

Needs numpy and either torch or, for exported graphs, onnxruntime.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import DataError, SpecError
from bdistil.names import BACKENDS, Backend
from bdistil.runtime.anytime import AnytimeRun, seconds
from bdistil.runtime.budget import stage_counts
from bdistil.runtime.confidence import no_or_yes, softmax
from bdistil.runtime.exits import (
    ExitPolicy,
    OperatingPoint,
    best_within,
    cheapest,
)
from bdistil.runtime.manifest import Manifest, ensemble_folder
from bdistil.runtime.onnx_runner import INT8_FOLDER, ONNX_FOLDER, OnnxRunner, prefix_file
from bdistil.runtime.partial_batch import PartialBatch
from bdistil.runtime.runner import Progress, Runner


@dataclass(frozen=True)
class Answer:
    """Answers for a batch.

    Attributes:
        values: names of the classes (B,), labels 0 and 1, int64 (B, L), or predictions (B, L) for
            regression.
        probabilities: calibrated, float32 (B, L); None for regression.
        stages: students that each example was shown to, int (B,).
    """

    values: NDArray[Any]
    probabilities: NDArray[np.floating] | None
    stages: NDArray[np.intp]


TOLERANCE = 0.001  # of the metric that early exit may lose on validation, unless told otherwise


class Predictor:
    """A saved ensemble, ready to answer.

    Args:
        source: a folder that ``bdistil export`` wrote, or a finished run.
        backend: ``torch``, ``onnx``, ``int8`` (ONNX with 8-bit weights), or ``auto``: ONNX where
            the folder has graphs, else torch.
        threads: independent students that run at the same time when a stage is gone to straight.

    Raises:
        CheckpointError: if files are missing or damaged.
        MissingDependencyError: if the backend's package is not installed.

    Example:
        >>> predictor = Predictor("runs/digits")                   # doctest: +SKIP
        >>> predictor.predict(images, stages=2)                    # doctest: +SKIP
        >>> predictor.predict(images, deadline="5ms")              # doctest: +SKIP
        >>> predictor.predict(images, exit="confidence")           # doctest: +SKIP
    """

    def __init__(self, source: str | Path, *, backend: Backend = "auto", threads: int = 1) -> None:
        folder = ensemble_folder(source)
        self.manifest = Manifest.read(folder)
        self.runner = _runner(folder, self.manifest, backend, threads)
        self._pace: dict[tuple[int, int], float] = {}

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
        """Names of the classes (B,), labels or predictions (B, L); see :meth:`answer`."""
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
                The first stage is always waited for.
            exit: let each example leave as soon as it is sure: a policy, or the name of a score,
                whose threshold then is the cheapest that kept the full accuracy on validation.

        Raises:
            DataError: if the examples do not fit, or there is no such stage.
            SpecError: if more than one of `stages`, `deadline` and `exit` is given.
        """
        started = time.perf_counter()
        if sum(each is not None for each in (stages, deadline, exit)) > 1:
            raise SpecError("give one of stages, deadline and exit, not several.")
        examples = self._examples(x)
        if deadline is not None:
            return self._until(examples, started + seconds(deadline))
        if exit is not None:
            return self._until_sure(examples, self._policy(exit))
        stage = self._stage(stages)
        return self._answered(self.runner.straight(examples, stage), stage)

    def stages(self, x: Any) -> Iterator[Answer]:
        """One answer after another, each better than the last; leave when you like."""
        for progress in self._steps(self._examples(x)):
            yield self._answered(progress.logits, progress.stage)

    def start(self, x: Any) -> AnytimeRun:
        """Begin to answer in another thread: ``run.wait(...)`` for it, ``run.stop()`` to end it.

        :meth:`finished` turns what ``wait`` gives into an answer.
        """
        return AnytimeRun(self._steps(self._examples(x)))

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
        progress = self.runner.begin(self._examples(x))
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

    def _policy(self, exit: ExitPolicy | OperatingPoint | str) -> ExitPolicy:
        if isinstance(exit, OperatingPoint):
            return exit.policy
        return exit if isinstance(exit, ExitPolicy) else self.policy(exit).policy

    def _until(self, examples: NDArray[np.float32], end: float) -> Answer:
        run = AnytimeRun(self._steps(examples, end))
        try:
            return self.finished(run.wait(end - time.perf_counter()))
        finally:
            run.stop()

    def _until_sure(self, examples: NDArray[np.float32], policy: ExitPolicy) -> Answer:
        run = PartialBatch(self.runner, self.runner.begin(examples), self._seen)
        while len(run.rows) and run.progress.stage < len(self):
            run.advance()
            run.keep(np.flatnonzero(~policy.leaves(run.trace)))
        return self._answered(run.logits, run.stages)

    def _steps(self, examples: NDArray[np.float32], end: float | None = None) -> Iterator[Progress]:
        """Stage after stage; none that by its best time so far would not be done by `end`."""
        progress = self.runner.begin(examples)
        while progress.stage < len(self):
            started = time.perf_counter()
            key = (progress.stage, len(examples))
            hopeless = end is not None and started + self._pace.get(key, 0.0) > end
            if hopeless and progress.stage > 0:
                return
            progress = self.runner.advance(progress)
            spent = time.perf_counter() - started
            self._pace[key] = min(spent, self._pace.get(key, spent))  # a slow moment is forgiven
            yield progress

    def _seen(self, progress: Progress) -> NDArray[np.floating]:
        """What policies look at: calibrated probabilities, or predictions for regression."""
        logits, temperature = progress.logits, self.manifest.temperatures[progress.stage - 1]
        if self.manifest.regression:
            return logits
        return softmax(no_or_yes(logits) if self._multilabel else logits, temperature)

    def _answered(self, logits: NDArray[np.float32], stage: int | NDArray[np.intp]) -> Answer:
        stages = np.broadcast_to(stage, len(logits))
        if self.manifest.regression:
            return Answer(logits, None, stages)
        scaled = logits / np.array(self.manifest.temperatures, np.float32)[stages - 1, None]
        if self._multilabel:
            probabilities = softmax(no_or_yes(scaled))[..., 1]
            return Answer((logits > 0).astype(np.int64), probabilities, stages)
        names = self.manifest.class_names or tuple(map(str, range(self.manifest.outputs)))
        return Answer(np.array(names)[logits.argmax(axis=1)], softmax(scaled), stages)

    @property
    def _multilabel(self) -> bool:
        return self.manifest.task == "multilabel"

    def _stage(self, stages: int | None) -> int:
        stage = len(self) if stages is None else stages
        if not 1 <= stage <= len(self):
            raise DataError(
                f"stages is {stage}; {self.manifest.name!r} has stages 1 to {len(self)}."
            )
        return stage

    def _costs(self) -> tuple[float, ...]:
        if self.manifest.costs is None:
            raise SpecError(f"{self.manifest.name!r} was saved without figures; export it anew.")
        return self.manifest.costs

    def _examples(self, x: Any) -> NDArray[np.float32]:
        if self.manifest.columns is not None and hasattr(x, "keys"):
            from bdistil.data.columns import TableColumns

            x = TableColumns(**self.manifest.columns).encode(x)
        examples: NDArray[np.float32] = np.asarray(x, np.float32)
        if examples.shape[1:] != self.manifest.input_shape:
            raise DataError(
                f"an example has shape {examples.shape[1:]}, but {self.manifest.name!r} takes "
                f"{self.manifest.input_shape}; give a batch of such examples."
            )
        if not np.isfinite(examples).all():
            raise DataError("an example holds NaN or infinity; correct it or leave it out.")
        return examples


def _runner(folder: Path, manifest: Manifest, backend: Backend, threads: int) -> Runner:
    if backend not in BACKENDS:
        raise SpecError(f"backend {backend!r} is unknown; choose {', '.join(BACKENDS)}.")
    graphs = folder / (INT8_FOLDER if backend == "int8" else ONNX_FOLDER)
    if backend in ("onnx", "int8") or (backend == "auto" and (graphs / prefix_file(1)).exists()):
        return OnnxRunner(graphs, manifest.outputs, manifest.stages, threads)
    from bdistil.export.ensemble import Ensemble
    from bdistil.export.torch_runner import TorchRunner

    return TorchRunner(Ensemble.from_pretrained(folder), threads)


def _budget(budget: float | str, full: float) -> float:
    """Mean FLOPs of an example."""
    text = str(budget).strip()
    try:
        value = float(text[:-1]) / 100 * full if text.endswith("%") else float(text)
    except ValueError:
        value = 0.0
    if value <= 0:
        raise SpecError(f"a budget of {budget!r} cannot be read; give FLOPs, or such as '50%'.")
    return value
