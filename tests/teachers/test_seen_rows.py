"""Teachers that came trained are said to have, and given away by what they know too well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import bdistil
from bdistil.report.report import render
from bdistil.spec import load_spec
from bdistil.teachers.seen import standard_errors


def outputs_of(labels: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Logits whose greatest is the label's where they are right."""
    answered = np.where(right, labels, (labels + 1) % 3)
    return (
        4 * np.eye(3)[answered] + np.random.default_rng(1).normal(size=(len(labels), 3)) / 4
    ).astype(np.float32)


def searched(folder: Path, known: tuple[float, float], **teacher: object) -> bdistil.SearchResult:
    """A search whose teacher knows so much of validation and of test."""
    random = np.random.default_rng(0)
    x = random.normal(size=(1200, 4)).astype(np.float32)
    y = np.argmax(x[:, :3], axis=1)
    part = np.repeat(["train", "validation", "test"], 400)
    share = np.repeat([0.8, *known], 400)
    arrays = {"x": x, "y": y, "part": part}
    if not teacher:
        arrays["teacher"] = outputs_of(y, random.random(1200) < share)
    np.savez(folder / "a.npz", **arrays)
    spec = load_spec(
        {
            "name": "seen",
            "data": {"path": str(folder / "a.npz"), "split": "part"},
            "teacher": teacher,
        },
        ["search.rounds=1", "search.tries_per_class=1", "space.epochs=5", "workers.count=0"],
    )
    return bdistil.search(spec, folder / "run")


def test_a_teacher_that_came_trained_is_said_to_have(tmp_path: Path) -> None:
    result = searched(tmp_path, (0.8, 0.8))
    (note,) = result.evaluation.notes
    assert note.startswith("The teacher came trained")
    assert "very likely" not in note
    assert "The teacher came trained" in render(result)
    assert "The teacher came trained" in (result.run.ensemble / "README.md").read_text()


@pytest.mark.parametrize("favourite", ["validation", "test"])
def test_one_that_knows_a_split_too_well_is_given_away(favourite: str, tmp_path: Path) -> None:
    result = searched(tmp_path, (0.98, 0.8) if favourite == "validation" else (0.8, 0.98))
    (note,) = result.evaluation.notes
    assert "It very likely has: its accuracy is" in note
    assert f"on {favourite} and" in note


def test_one_that_is_trained_here_has_seen_nothing_else(tmp_path: Path) -> None:
    assert searched(tmp_path, (0.8, 0.8), model="mlp", epochs=5).evaluation.notes == ()


def test_errors_are_those_of_two_proportions() -> None:
    ours = standard_errors((0.9, 0.85), (300, 500))
    table = [[270, 30], [425, 75]]
    expected = stats.chi2_contingency(table, correction=False).statistic ** 0.5
    assert ours == pytest.approx(expected)
    assert standard_errors((1.0, 1.0), (5, 5)) == 0
