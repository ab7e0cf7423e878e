"""Verdicts say no more than their figures, and methods that do not fit are told beforehand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_ablation import SETS, made_up
from tiny import tiny

from bdistil.cli import compare_command
from bdistil.cli.experiment_options import Lines
from bdistil.experiments.ablation import areas, curves
from bdistil.experiments.design import Run
from bdistil.experiments.figures import Figures
from bdistil.experiments.reproduction import reproduction, verdict
from bdistil.experiments.statistics import share_of

SCATTERED = [0.3, -0.3, 0.25, -0.25]
"""What seeds add to the metric of a data set that tells nothing."""


def scattered(seeds: int, data: tuple[str, ...] = ("two",)) -> list[Figures]:
    found = made_up(0.0, seeds=seeds)
    for each in found:
        for stage in each.stages if each.data in data else ():
            stage["metric"] += SCATTERED[each.seed]
    return found


def test_an_allowed_difference_that_allows_anything_tells_nothing() -> None:
    table = reproduction(curves(scattered(2)), curves(scattered(4)), SETS, range(2))
    answer = verdict(table)
    assert table.seeds.tolist() == [2] * 4
    assert answer.startswith(
        "Cannot tell: for 2 of 4 means, seeds may explain more than 0.1 of the teacher's metric: "
        "recipe=a on two "
    )
    row = table[(table.data == "two") & (table.cell == "recipe=a")].iloc[0]
    figures = f"{row.ours:.4f} beside {row.committed:.4f} (± {row.allowed:.4f} with 2 seeds); "
    assert f"recipe=a on two {figures}" in answer
    assert "; more seeds would tell. The 2 other means lie within what seeds explain (" in answer
    whole = reproduction(curves(scattered(2, SETS)), curves(scattered(4, SETS)), SETS, range(2))
    assert verdict(whole).startswith("Cannot tell: for 2 of 4 means")
    assert "The 2 other means lie" in verdict(whole)  # which are equal, whatever is allowed
    same = reproduction(curves(scattered(2, SETS)), curves(scattered(2, SETS)), SETS, range(2))
    assert verdict(same).startswith("Reproduces: all 4 means lie")


def test_what_differs_is_told_whatever_else_cannot_be() -> None:
    ours = curves(scattered(2))
    ours.loc[ours.data == "one", "metric"] -= 0.3
    answer = verdict(reproduction(ours, curves(scattered(4)), SETS, range(2)))
    assert answer.startswith("Does not reproduce: 2 of 4 means differ: recipe=a on one")


def test_a_share_of_a_teacher_hardly_better_than_guessing_is_none() -> None:
    """A student's R² of .04 beside a teacher's of .02 was a share of 2."""
    shares = share_of([0.04, 0.04, 0.5], [0.02, 0.05, 1.0])
    assert shares[1:].tolist() == pytest.approx([0.8, 0.5])
    assert shares[0] != shares[0]
    found = made_up(0.0, seeds=2)
    for each in found:
        each.teacher = 0.02 if each.data == "two" else 1.0
    scores = areas(curves(found))
    assert scores.share.isna().tolist() == (scores.data == "two").tolist()


@pytest.fixture
def carried_out(monkeypatch: pytest.MonkeyPatch) -> list[list[Run]]:
    """Runs that commands would carry out."""
    found: list[list[Run]] = []

    def carry_out(_: Any, runs: list[Run], *__: Any) -> None:
        found.append(runs)

    monkeypatch.setattr(compare_command, "carry_out", carry_out)
    return found


def sources(folder: Path, *data: str) -> list[Path]:
    for name in data:
        (folder / f"{name}.yaml").write_text(
            tiny(f"name={name}", f"data={{name: {name}}}").to_yaml()
        )
    return [folder / f"{name}.yaml" for name in data]


@pytest.mark.parametrize("method", ["cascade", "ours-cascade", "reweighted"])
def test_a_named_method_runs_where_it_fits(
    method: str, tmp_path: Path, bdistil: Callable[..., Any], carried_out: list[list[Run]]
) -> None:
    both, asked = sources(tmp_path, "cube", "diabetes"), ("--method", method, "--seeds", 1)
    answer = bdistil("compare", *both, *asked, "--method", "single")
    assert answer.status == 0, answer.errors
    assert (
        f"Left out: {method}, which is for data of one class an example, which diabetes "
        "(regression) has not." in answer.errors
    )
    [runs] = carried_out
    assert [run.data for run in runs if run.cell["method"] == method] == ["cube"]
    assert len(runs) == 4 + 3


def test_a_comparison_of_which_nothing_is_left_is_refused(
    tmp_path: Path, bdistil: Callable[..., Any], carried_out: list[list[Run]]
) -> None:
    answer = bdistil("compare", *sources(tmp_path, "diabetes"), "--method", "cascade")
    assert answer.status == 2
    assert "nothing is left of --method cascade" in answer.errors
    assert not carried_out


def test_methods_left_out_by_default_are_those_that_were_in(
    tmp_path: Path, bdistil: Callable[..., Any], carried_out: list[list[Run]]
) -> None:
    answer = bdistil("compare", *sources(tmp_path, "diabetes"))
    assert "Left out: reweighted, which is for" in answer.errors
    assert "has not; --method names what to compare." in answer.errors
    assert "cascade" not in answer.errors


def test_a_reason_ends_before_what_follows_it(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run("tiny", {"method": "cascade"}, 0, tiny())
    failed = Figures("tiny", dict(run.cell), 0, failed="leave the method out.")
    Lines().done(run, failed, 1, 2)
    assert "leave the method out, 0 s; about" in capsys.readouterr().err
