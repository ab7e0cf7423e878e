"""From a spec to its kind of teacher."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from bdistil.data.dataset import Dataset
from bdistil.errors import FOREIGN, BdistilError, TeacherError, told
from bdistil.spec import Spec
from bdistil.teachers.column_teacher import ColumnsSource, answers_are_given
from bdistil.teachers.estimator import EstimatorSource, is_estimator
from bdistil.teachers.exported import ExportedSource
from bdistil.teachers.factories import build
from bdistil.teachers.network import NetworkSource
from bdistil.teachers.onnx_graph import OnnxSource
from bdistil.teachers.source import TeacherSource
from bdistil.teachers.teacher_files import check_program
from bdistil.teachers.trained import TrainedSource

OpenSource = Callable[[Dataset, Spec], TeacherSource | None]
Opener = TypeVar("Opener", bound=OpenSource)

_USERS: list[OpenSource] = []


def register_teacher_source(opens: Opener) -> Opener:
    """Make another kind of teacher known: ``(dataset, spec) -> source``, None if not its spec.

    Kinds registered so are asked before bdistil's own, the last one first.
    """
    _USERS.insert(0, opens)
    return opens


def teacher_source(dataset: Dataset, spec: Spec) -> TeacherSource:
    """The source of the spec's teacher; imports and calls the user's code if the spec names some.

    Raises:
        TeacherError: if the user's code cannot be imported or called, or gives no teacher; or if a
            model file is of another type than programs are.
        SpecError: if a library does not know the model.
        MissingDependencyError: if the library is not installed.
    """
    for opens in _USERS:
        try:
            source = opens(dataset, spec)
        except BdistilError:
            raise
        except FOREIGN as error:  # foreign code may raise anything
            name = getattr(opens, "__name__", type(opens).__name__)
            raise TeacherError(
                f"the teacher source {name} fails: {told(error)}; correct it."
            ) from error
        if source is not None:
            return source
    settings = spec.teacher
    if not settings.is_foreign:
        given = answers_are_given(dataset, spec)
        return ColumnsSource(dataset, spec) if given else TrainedSource(dataset, spec)
    if ":" in settings.model:
        return _built(dataset, spec)
    check_program(settings.model)
    is_onnx = settings.model.endswith(".onnx")
    return OnnxSource(dataset, spec) if is_onnx else ExportedSource(dataset, spec)


def _built(dataset: Dataset, spec: Spec) -> TeacherSource:
    """A network or an estimator, by what the factory gives."""
    model = spec.teacher.model
    built = build(model, spec.teacher.options, dataset)
    if isinstance(built, nn.Module):
        return NetworkSource(dataset, spec, built)
    if is_estimator(built):
        return EstimatorSource(dataset, spec, built)
    raise TeacherError(
        f"teacher.model is {model!r}, which gives {type(built).__name__}; make it give a "
        f"torch.nn.Module or a scikit-learn estimator."
    )
