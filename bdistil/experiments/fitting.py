"""Which methods of a comparison fit which data, before runs of the others fail one by one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from bdistil.errors import SpecError
from bdistil.experiments.design import METHOD, Run
from bdistil.experiments.plan import Plan
from bdistil.experiments.rivals.methods import OF_ONE_CLASS
from bdistil.names import Task


def unfit_spaces(plan: Plan) -> dict[str, Task]:
    """Search spaces whose examples have not one class each, if a method asks for that.

    The data are read for it.

    Raises:
        BdistilError: if they cannot be, or a module of the user's fails.
    """
    if not picky(plan):
        return {}
    return {name: task for name, task in plan.tasks().items() if task != "classification"}


def picky(plan: Plan) -> list[str]:
    """The methods that are for data of one class an example."""
    methods = [str(cell.get(METHOD)) for cell in plan.cells]
    return [name for name in methods if name in OF_ONE_CLASS]


def fitting(runs: Sequence[Run], unfit: Collection[str]) -> list[Run]:
    """The runs without those of methods that do not fit their data."""
    return [
        run for run in runs if run.data not in unfit or run.cell.get(METHOD) not in OF_ONE_CLASS
    ]


def check_something_left(named: Sequence[str], runs: Sequence[Run], note: str) -> None:
    """Refuse methods of which none has a run.

    Raises:
        SpecError: if that is so.
    """
    if not {run.cell[METHOD] for run in runs} & set(named):
        raise SpecError(f"nothing is left of --method {', '.join(named)}. {note}")


def left_out(plan: Plan, unfit: Mapping[str, Task]) -> str:
    """What does not fit, as a sentence; empty if all fits."""
    if not unfit:
        return ""
    names, have = picky(plan), "have" if len(unfit) > 1 else "has"
    are = "are" if len(names) > 1 else "is"
    spaces = ", ".join(f"{name} ({task})" for name, task in unfit.items())
    return (
        f"Left out: {', '.join(names)}, which {are} for data of one class an example, which "
        f"{spaces} {have} not"
    )
