"""The search space as typed, validated models, read from YAML with ``key=value`` overrides.

A *dimension* of the space is a constant (``lr: 0.02``), a list of choices
(``connection: [dense, gru]``) or, for numbers, a range (``{low: 0.01, high: 0.03, log: true}``).
A dimension left out takes the value of the recipe.
"""

from bdistil.spec.data import DataSpec
from bdistil.spec.goal import GoalSpec
from bdistil.spec.load import load_spec
from bdistil.spec.search import SearchSpec, WorkerSpec
from bdistil.spec.section import Range
from bdistil.spec.space import SpaceSpec
from bdistil.spec.teacher import TeacherSpec
from bdistil.spec.tracking import CallbackSpec, TrackingSpec
from bdistil.spec.whole import Spec

__all__ = [
    "CallbackSpec",
    "DataSpec",
    "GoalSpec",
    "Range",
    "SearchSpec",
    "SpaceSpec",
    "Spec",
    "TeacherSpec",
    "TrackingSpec",
    "WorkerSpec",
    "load_spec",
]
