"""From a spec as written to the spec as run: every ``auto`` decided, every name checked."""

from __future__ import annotations

from typing import Any

import torch

from bdistil.core.connections import connection_class
from bdistil.core.correction import BOUNDS
from bdistil.core.cost import parameters
from bdistil.core.examples import Measure
from bdistil.core.game import ASSUMED_GAP, Rules, log_entries, step_size
from bdistil.core.recipes import recipe
from bdistil.data.dataset import Dataset
from bdistil.errors import SpecError, is_ours
from bdistil.names import Normalisation, RecipeName, Task
from bdistil.searching.cohort_size import cohort_of, worth_stacking
from bdistil.searching.cost_limits import CostLimits, check_counted
from bdistil.searching.goal_metric import check_metric
from bdistil.searching.problem import Problem
from bdistil.searching.stage_plan import (
    check_first_student,
    flops_to_plan,
    narrowed,
    plan_stages,
)
from bdistil.searching.telling_flops import with_telling_flops
from bdistil.searching.time_limit import with_time_as_flops
from bdistil.searching.views import COLOURS, with_views
from bdistil.searching.warm_start import absolute_places
from bdistil.searching.worker_count import count_workers, tries_of
from bdistil.spec import GoalSpec, SearchSpec, SpaceSpec, Spec, TeacherSpec
from bdistil.spec.goal import is_count
from bdistil.spec.space import LADDER
from bdistil.spec.user_modules import UserModule
from bdistil.teachers.select import teacher_source
from bdistil.teachers.source import TeacherSource, network_of
from bdistil.teachers.trained import TrainedSource, model_name
from bdistil.zoo.defaults import default_student
from bdistil.zoo.dry_run import check_connection_runs, check_student_runs
from bdistil.zoo.registry import student_class


def suiting_recipes(dataset: Dataset) -> list[RecipeName]:
    """What ``space.recipe: auto`` stands for: nobody can know beforehand which is best.

    Students of colour photographs stay far from their teacher, and there ``auxiliary`` is worth two
    points; elsewhere another recipe only takes candidates from the others
    (results/2026-11-30-hard-recipes).
    """
    recipes: list[RecipeName] = ["accurate", "faithful", "paper"]
    if dataset.domain == "image" and dataset.input_shape[0] == COLOURS:
        recipes.append("auxiliary")
    return recipes


def with_recipes(space: SpaceSpec, recipes: list[RecipeName], planned: bool) -> SpaceSpec:
    """The space with recipes that compete at equal costs, which the recipes themselves differ in.

    Args:
        space: whose recipe is ``auto``.
        recipes: what it stands for.
        planned: whether a goal decides how stages grow.
    """
    growth = space.growth
    if growth is None and not planned:
        growth = max(student_class(kind).growth for kind in space.students)
    return space.model_copy(update={"recipe": recipes, "growth": growth})


def resolve(spec: Spec, dataset: Dataset) -> Spec:
    """The spec with student classes, tries, workers and so on chosen, and with absolute paths.

    Raises:
        SpecError: if a connection or a student class is unknown, breaks its contract or does not
            take the data's input,
            a dimension of the loss makes no sense for the task, or a class can never be reached.
    """
    for name in spec.space.values("connection"):
        if not is_ours(connection_class(name)):
            check_connection_runs(name)
    check_losses(spec.space, dataset.task)
    check_metric(None if spec.goal is None else spec.goal.metric, dataset.task)
    space = spec.space
    if space.students == ("auto",):
        student = default_student(dataset.domain, dataset.input_shape, dataset.is_recorded)
        space = space.model_copy(update={"student": student})
    check_students(space, dataset)
    if space.recipe == "auto":
        space = with_recipes(space, suiting_recipes(dataset), planned=spec.goal is not None)
    spec = spec.model_copy(update={"space": space})
    stacked = worth_stacking(spec, dataset)
    search = spec.search.model_copy(update={"tries_per_class": tries_of(spec, stacked)})
    if spec.goal is None:
        search = search.model_copy(update={"rounds": search.most_rounds})
    check_classes(search, len(space.rungs))
    places = absolute_places(spec.search.warm_start)
    changes: dict[str, Any] = {
        "search": search.model_copy(update={"warm_start": places}),
        "data": spec.data.absolute(),
        "teacher": with_model(spec, dataset).absolute(),
        "modules": [UserModule.of(name).name for name in spec.modules],
    }
    spec = with_time_as_flops(spec.model_copy(update=changes), dataset)
    spec = with_telling_flops(spec, dataset)
    if spec.goal is not None and None in (search.rounds, spec.space.growth):
        spec = with_stages(spec, dataset)
    spec = with_views(spec, dataset)
    if spec.workers.count is None:
        count = count_workers(spec, dataset, stacked)
        workers = spec.workers.model_copy(update={"count": count})
        spec = spec.model_copy(update={"workers": workers})
    cohort = cohort_of(spec) if stacked else spec.search.together
    search = spec.search.model_copy(update={"cohort": cohort})
    space = spec.space.model_copy(update={"ladder": spec.space.ladder or [*LADDER]})
    return spec.model_copy(update={"search": search, "space": space})


def with_model(spec: Spec, dataset: Dataset) -> TeacherSpec:
    """The teacher with its network named, if it is to be trained here.

    Another version may choose another one, and a run keeps its own.

    Raises:
        SpecError: if it answers otherwise than a network that is trained here does.
    """
    settings = spec.teacher
    if settings.is_foreign or not isinstance(teacher_source(dataset, spec), TrainedSource):
        return settings
    if settings.outputs != "logits":
        raise SpecError(
            f"teacher.outputs is {settings.outputs}, which is about columns or your own model, but "
            f"the teacher is one of the zoo; remove it, or name the columns in teacher.columns."
        )
    if settings.model != "auto":
        return settings
    return settings.model_copy(update={"model": model_name(settings, dataset)})


def with_stages(spec: Spec, dataset: Dataset) -> Spec:
    """The spec with stages planned up to its goal's limits of cost.

    Raises:
        SpecError: if a limit cannot be kept or told.
    """
    goal = spec.goal
    assert goal is not None
    source = teacher_source(dataset, spec)
    flops = None if goal.within is None else source.known_flops()
    limits = CostLimits.of(goal, flops, known_parameters(goal, source))
    spec = narrowed(spec, dataset, limits)
    check_first_student(spec, dataset, limits)
    return plan_stages(spec, flops_to_plan(spec, dataset, limits), dataset)


def known_parameters(goal: GoalSpec, source: TeacherSource) -> int | None:
    """The teacher's parameters, if the goal is about a share of them.

    Raises:
        SpecError: if they cannot be counted.
    """
    if goal.within_parameters is None or is_count(goal.within_parameters):
        return None
    network = network_of(source)
    found = None if network is None else parameters(network)
    check_counted(goal, found, source.kind)
    return found


def check_students(space: SpaceSpec, dataset: Dataset) -> None:
    """Build every architecture of the space, without memory, and ask those of users' own.

    Raises:
        SpecError: if a class, an option or its value is unknown, does not take the data's input or
            breaks the contract of bodies.
    """
    for name in space.options.keys() - set(space.students):
        raise SpecError(
            f"space.options is about student {name!r}, which the space has not; add it to "
            f"space.student or space.ladder, or remove its options."
        )
    for name in space.students:
        width = next(width for own, width in space.rungs if own in (None, name))
        for options in space.variants(name):
            entry = student_class(name).with_options(options)
            with torch.device("meta"):
                body = entry.build(dataset.input_shape, width)
            if not is_ours(type(body)):
                check_student_runs(entry.name, body, dataset.input_shape)


def check_classes(search: SearchSpec, classes: int) -> None:
    """Refuse a ladder that ends in classes without a trial.

    Raises:
        SpecError: with the arithmetic.
    """
    reached = search.reached_classes(classes)
    if reached < classes:
        raise SpecError(
            f"search.trials_per_round={search.trials_per_round} with search.tries_per_class="
            f"{search.tries} reaches {reached} of the {classes} classes of space.ladder; raise the "
            f"first to {search.tries * classes} (null does), lower the second to "
            f"{max(1, (search.trials_per_round or 1) // classes)}, or shorten the ladder."
        )


def check_losses(space: SpaceSpec, task: Task) -> None:
    """Refuse losses of probabilities for a task that has none, and bounds of no correction.

    Raises:
        SpecError: if the task is regression, or `correction_bound` has no effect.
    """
    if task == "regression":
        _check_without_probabilities(space)
    corrections = space.values("correction") or ("none",)
    if space.values("correction_bound") and not BOUNDS.keys() & set(corrections):
        raise SpecError(
            f"space.correction_bound is {as_given(space, 'correction_bound')}, which has no effect "
            f"with space.correction={' or '.join(corrections)}; remove it, or add one of "
            f"{', '.join(BOUNDS)} to space.correction."
        )


def as_given(space: SpaceSpec, dimension: str) -> str:
    """The value, choices or range of a dimension, for people."""
    return repr(getattr(space, dimension))


def _check_without_probabilities(space: SpaceSpec) -> None:
    for name, plain in (("correction", "none"), ("distillation", "kl")):
        for value in space.values(name):
            if value != plain:
                raise SpecError(
                    f"space.{name} is {value!r}, which is about probabilities of classes, but the "
                    f"data's targets are numbers (regression); remove space.{name}."
                )
    if space.values("temperature"):
        raise SpecError(
            f"space.temperature is {as_given(space, 'temperature')}, which softens probabilities "
            f"of classes, but the data's targets are numbers (regression); remove it."
        )


def normalisation_of(spec: Spec) -> Normalisation:
    """Of K+ and K-: the search's, or that of the first recipe."""
    return spec.search.normalisation or recipe(spec.recipes[0]).normalisation


def game_rules(spec: Spec, problem: Problem) -> Rules:
    """The run's constants: η = sqrt(ln(2NL)/T) / (2 max|g|), with 2N instead if per label."""
    normalisation = normalisation_of(spec)
    entries = log_entries(problem.examples, problem.outputs, normalisation)
    step = step_size(ASSUMED_GAP * problem.bound, spec.search.most_rounds, entries)
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
