"""The whole spec: its sections, and rules that concern several of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, NonNegativeInt, field_validator, model_validator

from bdistil.names import RecipeName
from bdistil.spec.data import DataSpec
from bdistil.spec.goal import GoalSpec
from bdistil.spec.search import SearchSpec, WorkerSpec
from bdistil.spec.section import Range, Section
from bdistil.spec.space import SpaceSpec
from bdistil.spec.teacher import TeacherSpec
from bdistil.spec.tracking import TrackingSpec


class Spec(Section):
    """A whole search: data, teacher, space, search, workers and tracking."""

    name: str = "search"
    """of the run; names the default run directory `runs/<name>`"""
    seed: NonNegativeInt = 0
    """everything random derives from it: split, teacher, samples, students"""
    modules: list[str] = Field([])
    """your own code: installed modules or `.py` files, relative to the working directory, that
    register students, teachers or data sets (docs/students.md)
    """
    data: DataSpec
    teacher: TeacherSpec = TeacherSpec()
    space: SpaceSpec = SpaceSpec()
    goal: GoalSpec | None = None
    search: SearchSpec = SearchSpec()
    workers: WorkerSpec = WorkerSpec()
    tracking: TrackingSpec = TrackingSpec()

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, name: str) -> str:
        if name in ("", ".", "..") or not name.isprintable() or set(name) & set("/\\"):
            raise ValueError(
                f"must be fit for a folder, without slashes, not {name!r}; use --out for a path"
            )
        return name

    @model_validator(mode="after")
    def _grid_needs_lists(self) -> Spec:
        if self.search.algorithm == "grid":
            if self.search.together > 1:
                raise ValueError("search.cohort needs algorithm: tpe or random, not grid")
            for name, dimension in self.space:
                if isinstance(dimension, Range):
                    raise ValueError(f"space.{name} is a range; algorithm: grid needs a list")
        return self

    @model_validator(mode="after")
    def _loggers_need_workers(self) -> Spec:
        if self.tracking.callbacks and self.workers.count == 0:
            raise ValueError("tracking.callbacks are Ray's; they need workers.count of at least 1")
        return self

    @model_validator(mode="after")
    def _shared_training_needs_workers(self) -> Spec:
        if self.teacher.workers > 1 and self.workers.count == 0:
            raise ValueError(
                f"teacher.workers is {self.teacher.workers}, but without Ray (workers.count: 0) "
                f"there are none; leave out teacher.workers, or give workers.count of at least 1"
            )
        return self

    @property
    def recipes(self) -> tuple[RecipeName, ...]:
        """Every recipe of the space; the first one rules the game of the whole run."""
        return self.space.values("recipe")

    def identity(self) -> dict[str, Any]:
        """What decides a run's result; a run resumes only under the same identity.

        Where a file lies does not matter: data have a hash of their own in the run, and modules
        are told by the names that they register.
        """
        spec = self.model_dump(
            mode="json", exclude={"workers", "tracking", "name", "modules", "goal"}
        )
        spec["data"] |= dict.fromkeys(self.data.sources, "a file")
        spec["data"]["views"] = spec["data"]["views"] or False  # what older runs leave open is off
        if self.teacher.is_foreign:
            spec["teacher"]["model"] = Path(self.teacher.model).name
        if self.teacher.weights is not None:
            spec["teacher"]["weights"] = "a file"
        del spec["teacher"]["workers"]
        spec["search"]["cohort"] = self.search.together  # what older runs leave open is 1
        for key in ("time_budget", "grace", "max_failures", "warm_start"):
            del spec["search"][key]
        return spec

    def as_decided_in(self, stored: Spec) -> Spec:
        """With what this spec leaves open taken from the resolved one of a run that goes on."""
        search = self.search.model_copy(
            update={
                name: getattr(stored.search, name)
                for name in ("rounds", "tries_per_class")
                if getattr(self.search, name) is None
            }
            | {"cohort": self.search.cohort or stored.search.together}
        )
        space = self.space.model_copy(
            update={
                name: getattr(stored.space, name)
                for name in ("ladder", "growth", "lr", "views")
                if getattr(self.space, name) is None
            }
        )
        if space.student == "auto":
            space = space.model_copy(update={"student": stored.space.student})
        if space.recipe == "auto":
            space = space.model_copy(update={"recipe": stored.space.recipe})
        teacher = self.teacher if self.teacher.model != "auto" else stored.teacher
        teacher = self.teacher.model_copy(update={"model": teacher.model})
        data = self.data
        if data.views is None:
            data = data.model_copy(update={"views": stored.data.views or False})
        decided: dict[str, Any] = {
            "data": data,
            "teacher": teacher,
            "search": search,
            "space": space,
        }
        if self.goal is not None and stored.goal is not None:
            decided["goal"] = self.goal.as_decided_in(stored.goal)
        return self.model_copy(update=decided)

    def teacher_identity(self) -> dict[str, Any]:
        """What of the identity decides on the teacher."""
        return {key: self.identity()[key] for key in ("data", "teacher", "seed")}

    def to_yaml(self) -> str:
        """The resolved spec as YAML, readable by :func:`load_spec`."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
