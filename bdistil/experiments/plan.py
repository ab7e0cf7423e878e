"""What an experiment is, kept in its folder so that anybody can run it again."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import SpecError
from bdistil.experiments.design import METHOD, Run, as_text, label_of, runs_of
from bdistil.experiments.plan_difference import difference
from bdistil.names import Task
from bdistil.spec import Spec, load_spec
from bdistil.spec.user_modules import import_modules
from bdistil.store.durable import read_file, write_atomic

PLAN_FILE = "experiment.json"
SET_BY_THE_EXPERIMENT = ("seed", "name", "workers", METHOD)
COMPILE = "workers.compile"
"""The one field of workers that a search without workers heeds."""
INSTEAD = "its options are --seeds, --first-seed, --cpus, --gpus and --autoscale"
NEED_WORKERS = ("teacher.workers", "tracking.callbacks")


class Plan(BaseModel):
    """Every cell on every search space.

    Attributes:
        kind: an ablation varies fields of the space, a comparison methods.
        question: for the README.
        spaces: the search spaces with all defaults, by name.
        cells: what varies.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["ablation", "comparison"]
    question: str
    spaces: dict[str, dict[str, Any]]
    cells: list[dict[str, Any]]

    @classmethod
    def of(
        cls,
        kind: Literal["ablation", "comparison"],
        question: str,
        sources: Sequence[str | Path],
        overrides: Sequence[str],
        cells: Sequence[Mapping[str, Any]],
    ) -> Plan:
        """From search spaces and overrides for all of them.

        Raises:
            SpecError: if a search space, an override or a cell is wrong.
        """
        if not sources:
            raise SpecError("give at least one search space, such as search_spaces/digits.yaml.")
        check_cells(kind, cells)
        check_overrides(overrides)
        specs = [load_spec(source, overrides) for source in sources]
        for spec in specs:
            check_alone(spec)
        names = [spec.name for spec in specs]
        if len(set(names)) < len(names):
            raise SpecError(f"two search spaces share a name ({', '.join(names)}); rename one.")
        spaces = {spec.name: spec.model_dump(mode="json") for spec in specs}
        plan = cls(kind=kind, question=question, spaces=spaces, cells=[dict(c) for c in cells])
        plan.runs([0])
        return plan

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """The plan of an experiment's folder.

        Raises:
            SpecError: if it is missing or damaged.
        """
        file = folder / PLAN_FILE
        try:
            return cls.model_validate_json(read_file(file))
        except FileNotFoundError:
            raise SpecError(
                f"{folder} holds no experiment (it has no {PLAN_FILE}); give the folder that "
                f"`bdistil ablate` or `bdistil compare` wrote."
            ) from None
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise SpecError(f"{file} is damaged: {reason}; restore it.") from None
        except OSError as error:
            raise SpecError(f"{file} cannot be read: {error.strerror}.") from None

    def as_begun_in(self, folder: Path, *, by_overrides: bool = True) -> Plan:
        """The plan with the search spaces and cells of a folder that holds the same experiment.

        It goes on with the fields that it began with, whatever a later version adds, so that its
        teachers keep their names. In a new folder the plan stays as it is.

        Args:
            folder: of the experiment.
            by_overrides: whether the command takes what would go on with another experiment there.

        Raises:
            SpecError: see :meth:`check`.
        """
        file = folder / PLAN_FILE
        if not file.exists():
            check_unused(folder)
            return self
        begun = Plan.read(folder)
        if other := difference(begun, self):
            remedy = f"{other.remedy}, or choose" if by_overrides else "choose"
            raise SpecError(
                f"{folder} holds another experiment ({other.what}); {remedy} another --out."
            )
        return begun.model_copy(update={"question": self.question})

    def check(self, folder: Path) -> None:
        """Refuse a folder of other things; one may be extended by seeds, not become another plan.

        Raises:
            SpecError: if it holds another experiment, or files and no experiment.
        """
        self.as_begun_in(folder)

    def keep(self, folder: Path) -> None:
        """Write it; where the experiment has begun, the words of the question alone change.

        Raises:
            SpecError: see :meth:`check`.
            CheckpointError: if it cannot be written.
        """
        plan = self.as_begun_in(folder)
        write_atomic(folder / PLAN_FILE, (plan.model_dump_json(indent=1) + "\n").encode())

    def runs(self, seeds: Sequence[int]) -> list[Run]:
        """All searches."""
        return runs_of(list(self.spaces.values()), self.cells, seeds)

    def tasks(self) -> dict[str, Task]:
        """The task of each search space's data, which are read for it.

        Raises:
            BdistilError: if they cannot be, or a module of the user's fails.
        """
        specs = {name: load_spec(space) for name, space in self.spaces.items()}
        return {name: task_of(spec) for name, spec in specs.items()}

    def without(self, methods: Collection[str]) -> Plan:
        """The comparison of the other methods."""
        return self.model_copy(
            update={"cells": [cell for cell in self.cells if cell[METHOD] not in methods]}
        )

    def only(self, names: Sequence[str]) -> Plan:
        """On some of the search spaces.

        Raises:
            SpecError: if there is no such space.
        """
        for name in names:
            if name not in self.spaces:
                raise SpecError(f"--data {name!r} is not among {', '.join(self.spaces)}.")
        return self.model_copy(update={"spaces": {name: self.spaces[name] for name in names}})


def task_of(spec: Spec) -> Task:
    """What the data of a search space are for."""
    if spec.data.task != "auto":
        return spec.data.task
    import_modules(spec.modules)
    return load_dataset(spec.data, spec.seed, spec.teacher.columns).task


def check_unused(folder: Path) -> None:
    """Refuse a folder of other things, whose README.md would be written over.

    Raises:
        SpecError: if it holds files that are not hidden.
    """
    if folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise SpecError(
            f"--out {folder} holds other files and no experiment; choose a new or an empty folder."
        )


def check_overrides(overrides: Sequence[str]) -> None:
    """Refuse what would be ignored; a file may have it, for searches of its own.

    Raises:
        SpecError: if one is of a field that the experiment itself sets.
    """
    for override in overrides:
        field = override.partition("=")[0]
        if field.partition(".")[0] in ("seed", "workers") and field != COMPILE:
            raise SpecError(f"{field} cannot be given, since an experiment sets it: {INSTEAD}.")


def check_alone(spec: Spec) -> None:
    """Refuse what needs workers of a search's own.

    Raises:
        SpecError: naming the field.
    """
    wanted = (spec.teacher.workers > 1, bool(spec.tracking.callbacks))
    for field in itertools.compress(NEED_WORKERS, wanted):
        raise SpecError(
            f"{field} of {spec.name} needs several workers, but each teacher and each search of an "
            f"experiment is one task; leave it out."
        )


def check_cells(kind: str, cells: Sequence[Mapping[str, Any]]) -> None:
    """Refuse cells that are the same search.

    Raises:
        SpecError: if two cells are alike, or one holds a field that the experiment itself sets.
    """
    seen: list[Mapping[str, str]] = []
    for cell in cells:
        for field in cell if kind == "ablation" else ():
            if field.partition(".")[0] in SET_BY_THE_EXPERIMENT or field in NEED_WORKERS:
                raise SpecError(
                    f"{field} cannot vary, since an experiment sets it: {INSTEAD}, and `bdistil "
                    f"compare` has methods."
                )
        written = as_text(cell)  # which names the folders of its runs
        if written in seen:
            raise SpecError(f"the cell {label_of(written)!r} is given twice; name it once.")
        seen.append(written)
