"""Which recipes compete where nobody names them."""

from __future__ import annotations

from pathlib import Path

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


def test_a_table_has_the_others() -> None:
    spec = load_spec({"data": {"name": "cube"}, "space": {"recipe": "auto"}})
    assert resolve(spec, load_dataset(spec.data, spec.seed)).recipes == EASY
