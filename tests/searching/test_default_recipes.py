"""Which recipes compete where nobody names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bdistil.datasets.catalogue import load_dataset
from bdistil.searching.resolve import resolve
from bdistil.spec import load_spec

EASY = ("accurate", "faithful", "paper")


@pytest.mark.parametrize(
    ("channels", "given", "recipes"),
    [
        (3, "auto", (*EASY, "auxiliary")),
        (1, "auto", EASY),
        (3, "paper", ("paper",)),
        (3, "[accurate, paper]", ("accurate", "paper")),
    ],
)
def test_auxiliary_heads_are_for_colour_photographs(
    tmp_path: Path, channels: int, given: str, recipes: tuple[str, ...]
) -> None:
    random = np.random.default_rng(0)
    x, y = random.random((60, channels, 16, 16), np.float32), np.arange(60) % 2
    np.savez(tmp_path / "x.npz", x=x, y=y)
    spec = load_spec(
        {"name": "x", "data": {"path": str(tmp_path / "x.npz")}, "workers": {"count": 0}},
        [f"space.recipe={given}"],
    )
    decided = resolve(spec, load_dataset(spec.data, spec.seed))
    assert decided.recipes == recipes
    assert spec.as_decided_in(decided).identity() == decided.identity()


def test_a_table_has_the_others_though_nobody_says_so() -> None:
    spec = load_spec({"data": {"name": "cube"}})
    assert resolve(spec, load_dataset(spec.data, spec.seed)).recipes == EASY


@pytest.mark.parametrize(
    ("space", "growth"),
    [
        ({"student": "mlp"}, 1.25),
        ({"student": "mlp", "growth": 2}, 2),
        ({"student": "mlp", "growth": 0}, 0),
        ({"student": "mlp", "recipe": "faithful"}, None),
        ({"student": "mlp", "recipe": ["accurate", "faithful"]}, None),
    ],
)
def test_recipes_that_compete_do_so_at_equal_costs(
    space: dict[str, Any], growth: float | None
) -> None:
    spec = load_spec({"data": {"name": "cube"}, "space": space})
    decided = resolve(spec, load_dataset(spec.data, spec.seed))
    assert decided.space.growth == growth
    assert spec.as_decided_in(decided).identity() == decided.identity()


def test_a_goal_plans_their_stages_instead() -> None:
    """Up to its limit, whatever the student class's own growth is."""
    spec = load_spec({"data": {"name": "cube"}, "goal": {"keep": 0.9, "within": 0.9}})
    growth = resolve(spec, load_dataset(spec.data, spec.seed)).space.growth
    assert growth is not None
    assert growth > 1.6
