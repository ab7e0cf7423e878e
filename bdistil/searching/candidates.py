"""The students that trials train: their class, their options and how wide they are."""

from __future__ import annotations

import dataclasses
from functools import partial

import torch

from bdistil.core.connections import connection_of_stage
from bdistil.core.growth import folded_flops, folded_parameters, widest
from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.core.recipes import Recipe
from bdistil.core.student import Student, StudentConfig
from bdistil.export.checkpoint import build_student
from bdistil.runs.trial import TrialRequest
from bdistil.searching.cost_limits import CostLimits, parameters_of
from bdistil.searching.dimensions import distributions
from bdistil.searching.problem import Problem
from bdistil.spec import SpaceSpec, Spec
from bdistil.zoo.registry import student_class


class Candidates:
    """Builds candidates of the next stage of an ensemble.

    Args:
        problem: whose examples they take.
        spec: the resolved search.
        limits: of what the ensemble may cost with them.
        ensemble: that they shall join.
    """

    def __init__(
        self, problem: Problem, spec: Spec, limits: CostLimits, ensemble: ProgressiveEnsemble
    ) -> None:
        self.problem = problem
        self.spec = spec
        self.limits = limits
        self.ensemble = ensemble
        self.costs: dict[tuple[StudentConfig, int], int] = {}

    def draw(self, request: TrialRequest, recipe: Recipe) -> Student:
        """The fresh student that a request asks for, its weights drawn from the request's seed."""
        kind = student_of(request, self.spec.space)
        width = self.width(kind, recipe, request.rung)
        torch.manual_seed(request.seed)
        return self.build(self.config(kind, width, recipe))

    def config(self, kind: str, width: int, recipe: Recipe) -> StudentConfig:
        """A candidate of the next stage as its recipe wants it."""
        connection = connection_of_stage(recipe.connection, len(self.ensemble) + 1)
        return StudentConfig(kind, width, connection, recipe.skip)

    def build(self, config: StudentConfig) -> Student:
        """A student of the next stage."""
        shape, outputs = self.problem.input_shape, self.problem.outputs
        return build_student(config, shape, outputs, self.ensemble.features)

    def width(self, kind: str, recipe: Recipe, rung: int) -> int:
        """Width of the next student: the ladder's, or what growth rule and limit leave room for."""
        rungs, limits = self.spec.space.rungs, self.limits
        cost, width = partial(self.cost, kind, recipe), rungs[rung][1]
        fitting = partial(widest, kind=kind)
        grows = bool(self.ensemble.students and recipe.growth)
        costs: list[int] = []
        if grows or limits.flops is not None:  # else nothing hangs on them
            costs = [self.cost_at(n, s.config, s) for n, s in enumerate(self.ensemble)]
        total = sum(costs)
        if grows:
            assert recipe.growth is not None
            # A larger class may have gone beyond the plan; the next stage grows from there.
            room = max(costs[0] * recipe.growth ** len(costs), total * recipe.growth) - total
            if rungs[0][0] is None:
                width = round(fitting(cost, room) * width / rungs[0][1])
            else:
                width = fitting(cost, room * self.first_cost(rung) / self.first_cost(0))
        elif "(" in kind:  # as dear as the class's own architecture
            width = fitting(cost, self.cost(kind.partition("(")[0], recipe, width))
        widths = [max(1, width)]
        if limits.flops is not None:
            widths.append(fitting(cost, limits.flops - total))
        if limits.parameters is not None:
            counted = partial(self.parameters, kind, recipe)
            widths.append(fitting(counted, limits.parameters - parameters_of(self.ensemble)))
        return min(widths)

    def cost(self, kind: str, recipe: Recipe, width: int) -> int:
        """FLOPs that a candidate would add to the folded ensemble."""
        config = self.config(kind, width, recipe)
        return self.cost_at(len(self.ensemble), config)

    def cost_at(self, place: int, config: StudentConfig, student: Student | None = None) -> int:
        """FLOPs that a student adds to the folded ensemble there, built without memory if need be.

        Counted once: that takes ten milliseconds, and building a large network longer.
        """
        key = config, place
        if key not in self.costs:
            earlier = self.ensemble.features[:place]
            student = student or self.unmade(config)
            self.costs[key] = folded_flops(student, self.problem.input_shape, earlier)
        return self.costs[key]

    def parameters(self, kind: str, recipe: Recipe, width: int) -> int:
        """Likewise, its parameters."""
        return folded_parameters(self.unmade(self.config(kind, width, recipe)))

    def unmade(self, config: StudentConfig) -> Student:
        """A candidate without memory."""
        with torch.device("meta"):
            return self.build(config)

    def first_cost(self, rung: int) -> int:
        """FLOPs of a first student of a rung that names its class."""
        kind, width = self.spec.space.rungs[rung]
        shape, outputs = self.problem.input_shape, self.problem.outputs
        assert kind is not None
        with torch.device("meta"):
            student = build_student(StudentConfig(kind, width, "none", False), shape, outputs, ())
        return folded_flops(student, shape, ())


def student_of(request: TrialRequest, space: SpaceSpec) -> str:
    """The student class of a request, with the options that the space sets or its trial drew."""
    name, params = request.params["student"], request.params
    choices = space.choices_of(name)
    chosen = {key: params.get(f"{name}.{key}", values[0]) for key, values in choices.items()}
    return student_class(name).with_options(chosen).name


def resolved_recipe(request: TrialRequest, spec: Spec) -> Recipe:
    """The request's recipe with the search's precision and what is the student class's own.

    Where γ is sampled it does not decay from try to try too: it acts as the sampler says.
    """
    recipe, student = request.recipe(), student_class(request.params["student"])
    growth = spec.space.growth if spec.space.growth is not None else recipe.growth
    return dataclasses.replace(
        recipe,
        lr=student.lr if recipe.lr is None else recipe.lr,
        growth=student.growth if growth is None else growth,
        gamma_decay=1.0 if "gamma" in distributions(spec.space) else recipe.gamma_decay,
        precision=spec.search.precision,
    )
