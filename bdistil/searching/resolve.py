"""From a spec as written to the spec as run: every ``auto`` decided, every name checked."""

from __future__ import annotations

from typing import Any

import torch

from bdistil.core.examples import Measure
from bdistil.core.game import Rules, log_entries, step_size
from bdistil.core.recipes import recipe
from bdistil.data.dataset import Dataset
from bdistil.errors import SpecError
from bdistil.names import Task
from bdistil.searching.problem import Problem
from bdistil.spec import SpaceSpec, Spec
from bdistil.spec.user_modules import UserModule
from bdistil.zoo.registry import default_student, student_class


def resolve(spec: Spec, dataset: Dataset) -> Spec:
    """The spec with student classes chosen and paths of data and teacher made absolute.

    Raises:
        SpecError: if a student class is unknown or does not take the data's input, or a dimension
            of the loss makes no sense for the task.
    """
    check_losses(spec.space, dataset.task)
    space = spec.space
    if space.student == "auto":
        space = space.model_copy(update={"student": default_student(dataset.domain)})
    for name in space.values("student"):
        with torch.device("meta"):
            student_class(name).build(dataset.input_shape, space.ladder[0])
    changes: dict[str, Any] = {
        "space": space,
        "teacher": spec.teacher.absolute(),
        "modules": [UserModule.of(name).name for name in spec.modules],
    }
    if spec.data.path is not None:
        changes["data"] = spec.data.model_copy(update={"path": spec.data.path.resolve()})
    return spec.model_copy(update=changes)


def check_losses(space: SpaceSpec, task: Task) -> None:
    """Refuse losses of probabilities for a task that has none.

    Raises:
        SpecError: if the task is regression.
    """
    if task != "regression":
        return
    for name, plain in (("correction", "none"), ("distillation", "kl")):
        for value in space.values(name):
            if value != plain:
                raise SpecError(
                    f"space.{name} is {value!r}, which is about probabilities of classes, but the "
                    f"data's targets are numbers (regression); remove space.{name}."
                )


def game_rules(spec: Spec, problem: Problem) -> Rules:
    """The run's constants: η = sqrt(ln(2NL)/T) / (2 max|g|), with 2N instead if per label."""
    normalisation = spec.search.normalisation or recipe(spec.recipes[0]).normalisation
    entries = log_entries(problem.examples, problem.outputs, normalisation)
    step = step_size(2 * problem.bound, spec.search.rounds, entries)
    return Rules(step, normalisation, problem.bound, problem.scale)


def comparison_measure(spec: Spec, problem: Problem) -> Measure:
    """The loss that decides on gains: labels count as much as in the space's recipes.

    A corrected loss aims at the truth and no longer at the teacher, so with a correction in the
    space labels alone count.
    """
    if any(name != "none" for name in spec.space.values("correction")):
        return Measure(problem.task, 1.0)
    recipes = [recipe(name).label_share for name in spec.recipes]
    shares = spec.space.values("label_share") or recipes
    return Measure(problem.task, max(shares))
