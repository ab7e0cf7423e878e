"""Whether candidates of a class train together, and how many."""

from __future__ import annotations

import torch

from bdistil.core.recipes import recipe
from bdistil.core.stacked import stacks
from bdistil.core.student import StudentConfig
from bdistil.data.dataset import Dataset
from bdistil.export.checkpoint import build_student
from bdistil.searching.dimensions import conditional_distributions, distributions
from bdistil.searching.views import may_compete
from bdistil.searching.worker_count import STEP_SECONDS, seconds_of_products, waves_of
from bdistil.spec import Spec
from bdistil.spec.space import COHORT_OWN
from bdistil.zoo.registry import student_class

GPU_SPEED = 1000  # times the products of a core in the same time; a guess, not measured
MOST = 32  # as many as benchmarks/cohort.py has tried


def cohort_of(spec: Spec) -> int:
    """Candidates that train together where that is open: all that a worker gets at once.

    Args:
        spec: with tries and workers decided; its candidates are worth stacking.
    """
    workers = spec.workers.count or 1
    return min(MOST, -(-spec.search.tries // (waves_of(workers) * workers)))


def worth_stacking(spec: Spec, dataset: Dataset) -> bool:
    """Whether candidates should train together though nobody has said so.

    Not where that gains nothing (students whose products take longer than their calls; recurrent
    ones), where trials differ in more than members of a cohort may, so that fewer choices would be
    tried, and where each answer counts as it comes.

    Args:
        spec: with student classes decided.
        dataset: its data.
    """
    search = spec.search
    if search.cohort is not None or search.select == "first" or search.algorithm == "grid":
        return False
    if may_compete(spec, dataset) or not differ_as_cohorts_may(spec):
        return False
    return train_sooner_stacked(spec, dataset)


def differ_as_cohorts_may(spec: Spec) -> bool:
    """Whether all that trials of a class may differ in is what members of a cohort may."""
    space = spec.space
    early = space.values("early_accept") or [recipe(name).early_accept for name in spec.recipes]
    shared = distributions(space).keys() - set(COHORT_OWN)
    return not (shared or conditional_distributions(space) or any(early))


def train_sooner_stacked(spec: Spec, dataset: Dataset) -> bool:
    """Whether steps of the smallest students are mostly calls, and torch can stack them."""
    speed = GPU_SPEED if spec.workers.gpus else 1
    if seconds_of_products(spec, dataset) > speed * STEP_SECONDS:
        return False
    return all(
        can_stack(student_class(kind).with_options(options).name, width, dataset)
        for kind, width in spec.space.first_students
        for options in spec.space.variants(kind)
    )


def can_stack(kind: str, width: int, dataset: Dataset) -> bool:
    """Whether torch knows how to run several students of a class as one."""
    config = StudentConfig(kind, width, "none", skip=False)
    pair = [build_student(config, dataset.input_shape, dataset.outputs, ()) for _ in range(2)]
    return stacks(pair, torch.zeros(2, *dataset.input_shape))


def told_cohorts(spec: Spec) -> str:
    """What was decided, in a sentence."""
    search = spec.search
    return (
        f"candidates: {search.tries} for each class, of which {search.together} train together, as "
        f"they are small (search.tries_per_class, search.cohort)"
    )
