"""The teacher as the last stage: asked about the examples that the ensemble is not sure of."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import FOREIGN, SpecError, TeacherError, told
from bdistil.names import TEACHER_OUTPUTS, TeacherOutputs
from bdistil.runtime.confidence import Floats
from bdistil.runtime.exits import OperatingPoint, cheapest, confidence
from bdistil.runtime.manifest import Manifest
from bdistil.runtime.onnx_runner import OnnxRunner

TEACHER_FOLDER, TEACHER_FILE = "teacher", "teacher.onnx"
"""Where ``bdistil export --with-teacher`` writes the teacher's graph."""
MARGIN = 0.003
"""Of the metric that a cascade may lose against the teacher alone, unless told otherwise."""
LEAST = 1e-12  # of a probability, before its logarithm
NEVER_UNSURE = "is a regression, whose answers do not say how sure they are"
ROUNDING = 1e-3  # by which probabilities of one example may miss a sum of one

Answers = Callable[[NDArray[np.float32]], Any]


class Cascade:
    """When to ask the teacher, and what it answers.

    Args:
        manifest: of the ensemble, calibrated with its teacher at hand.
        folder: of the ensemble.
        teacher: of raw examples, float32 (B, ...): True for the one that was exported with it, the
            path of an ONNX graph, a torch module, an estimator with ``predict_proba``, or a
            function, which may ask over a network.
        outputs: what graph, module or function give, (B, L): ``logits`` (if left out) or
            ``probabilities``.
        margin: how much below the teacher's metric on validation is good enough, a standard error
            left over.

    Attributes:
        point: the policy and what it did on validation; its `cost` is the share of the examples
            that the teacher was asked about.

    Raises:
        SpecError: for regression, or if the ensemble was saved without its teacher or the
            teacher's answers.
        CheckpointError: if the exported teacher is damaged.
    """

    def __init__(
        self,
        manifest: Manifest,
        folder: Path,
        teacher: Any,
        outputs: TeacherOutputs | None = None,
        margin: float = MARGIN,
    ) -> None:
        if outputs not in (None, *TEACHER_OUTPUTS):
            raise SpecError(
                f"teacher_outputs is {outputs!r}; choose {' or '.join(TEACHER_OUTPUTS)}."
            )
        points = () if manifest.calibration is None else manifest.calibration.asks
        if manifest.regression:
            raise SpecError(f"{manifest.name!r} {NEVER_UNSURE}; do not ask its teacher.")
        if not points:
            raise SpecError(
                f"{manifest.name!r} knows nothing of its teacher; do not ask it, or export the "
                "ensemble anew."
            )
        if outputs is not None and (teacher is True or hasattr(teacher, "predict_proba")):
            raise SpecError(
                f"teacher_outputs is {outputs!r}, which is for graphs, modules and functions; what "
                "this teacher answers is known, so leave it out."
            )
        self.manifest = manifest
        self.answers, self.outputs = _answers_of(teacher, manifest, folder, outputs)
        alone = max(points, key=lambda point: point.cost)
        self.point: OperatingPoint = cheapest(points, alone.metric - margin)

    def unsure(self, probabilities: NDArray[np.floating]) -> NDArray[np.intp]:
        """Rows of the ensemble's answers, (B, L), that go to the teacher.

        None where asking was of no use on validation, however unsure the ensemble is.
        """
        if self.point.cost == 0:
            return np.zeros(0, np.intp)
        seen = _as_questions(probabilities, self.manifest.task)
        return np.flatnonzero(confidence([seen]) < self.point.policy.threshold)

    def ask(self, examples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The teacher's logits over the ensemble's temperature, float32 (B, L).

        Raises:
            TeacherError: if it fails or answers in another shape.
        """
        try:
            found = np.asarray(self.answers(examples), np.float32)
        except FOREIGN as error:  # foreign code, or a network, may raise anything
            raise TeacherError(f"the teacher cannot be asked: {told(error)}.") from error
        shape = len(examples), self.manifest.outputs
        if found.shape != shape or not np.isfinite(found).all():
            raise TeacherError(
                f"the teacher answers in shape {found.shape}, or with what is no number; it must "
                f"give finite {self.outputs}, {shape}."
            )
        if self.outputs == "logits" and _are_probabilities(found):
            raise SpecError(
                "the teacher's answers look like probabilities; say teacher_outputs='probabilities'"
                " (or 'logits' does not fit)."
            )
        if self.outputs == "probabilities":
            found = _log_odds(found, self.manifest.task)
        calibration = self.manifest.calibration
        return found / np.float32(calibration.teacher_temperature if calibration else 1.0)


def _answers_of(
    teacher: Any, manifest: Manifest, folder: Path, outputs: TeacherOutputs | None
) -> tuple[Answers, TeacherOutputs]:
    if teacher is True:
        place, weights = folder / TEACHER_FOLDER, manifest.weights_hash
        if not (place / TEACHER_FILE).is_file():
            raise SpecError(
                f"{manifest.name!r} was exported without its teacher; run `bdistil export "
                "--with-teacher`, or give the teacher itself."
            )
        runner = OnnxRunner(place, manifest.outputs, weights=weights)
        runner.open(TEACHER_FILE)
        return runner.graph(TEACHER_FILE), "logits"
    if hasattr(teacher, "predict_proba"):
        return _probabilities_of(teacher, manifest), "probabilities"
    if isinstance(teacher, str | PathLike) and Path(teacher).suffix == ".onnx":
        return _graph_at(Path(teacher), manifest), outputs or "logits"
    if not callable(teacher):
        raise SpecError(
            f"teacher is {teacher!r}; give True for the exported one, the path of a .onnx file, a "
            "torch module, an estimator with predict_proba or a function of examples."
        )
    return partial(_of_module, teacher) if _is_module(teacher) else teacher, outputs or "logits"


def _graph_at(path: Path, manifest: Manifest) -> Answers:
    if not path.is_file():
        raise SpecError(f"teacher is {str(path)!r}, and there is no such file; correct the path.")
    runner = OnnxRunner(path.parent, manifest.outputs)
    runner.open(path.name)
    return runner.graph(path.name)


def _is_module(teacher: Any) -> bool:
    """Whether it is torch's, of which nobody has one without having imported torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(teacher, torch.nn.Module)


def _of_module(module: Any, examples: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a torch module answers on its device, as in evaluation."""
    torch, training = sys.modules["torch"], module.training
    first = next(module.parameters(), None)
    module.eval()
    try:
        with torch.inference_mode():
            x = torch.tensor(examples, device=None if first is None else first.device)
            found: NDArray[np.float32] = module(x).float().cpu().numpy()
            return found
    finally:
        module.train(training)


def _probabilities_of(teacher: Any, manifest: Manifest) -> Answers:
    """An estimator's, in the ensemble's order of classes."""
    if not hasattr(teacher, "classes_"):
        raise SpecError(
            f"the teacher, {type(teacher).__name__}, has no classes_, as before a fit; fit it "
            "first."
        )
    known = {str(label): place for place, label in enumerate(manifest.names)}
    own = [str(label) for label in np.asarray(teacher.classes_).tolist()]
    unknown = [label for label in own if label not in known]
    if unknown:
        raise SpecError(f"the teacher knows class {unknown[0]!r}, but there are {list(known)}.")

    def probabilities(examples: NDArray[np.float32]) -> Floats:
        found = np.zeros((len(examples), len(known)), np.float32)
        table = examples.reshape(len(examples), -1)
        found[:, [known[label] for label in own]] = teacher.predict_proba(table)
        return found

    return probabilities


def _are_probabilities(found: NDArray[np.float32]) -> bool:
    sums = found.sum(axis=1)
    return bool((found >= 0).all() and (abs(sums - 1) < ROUNDING).all())


def _log_odds(probabilities: NDArray[np.float32], task: str) -> NDArray[np.float32]:
    """Logits of which the probabilities are softmax, or sigmoid for several labels."""
    logs = np.log(np.maximum(probabilities, LEAST))
    if task != "multilabel":
        return logs
    opposite: NDArray[np.float32] = np.log(np.maximum(1 - probabilities, LEAST))
    return logs - opposite


def _as_questions(probabilities: NDArray[np.floating], task: str) -> Floats:
    """As exits see them: (B, L), or of no and yes (B, L, 2)."""
    if task != "multilabel":
        return probabilities
    return np.stack([1 - probabilities, probabilities], axis=-1)
