"""What students a search has where nobody names them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bdistil.datasets.catalogue import load_dataset
from bdistil.searching.resolve import resolve
from bdistil.spec import load_spec
from bdistil.spec.space import LADDER


@pytest.mark.parametrize(
    ("channels", "given", "student", "ladder"),
    [
        (3, (), "convnet", LADDER),
        (3, ("space.student=separable",), "separable", LADDER),
        (3, ("space.student=[cnn, vit]",), ["cnn", "vit"], LADDER),
        (3, ("space.ladder=[4, 8]",), "convnet", [4, 8]),
        (1, (), "convnet(activation=relu)", LADDER),
    ],
)
def test_photographs_have_convolutions(
    tmp_path: Path, channels: int, given: tuple[str, ...], student: str, ladder: list[object]
) -> None:
    random = np.random.default_rng(0)
    x, y = random.random((60, channels, 16, 16), np.float32), np.arange(60) % 2
    np.savez(tmp_path / "x.npz", x=x, y=y)
    spec = load_spec(
        {"name": "x", "data": {"path": str(tmp_path / "x.npz")}, "workers": {"count": 0}}, given
    )
    space = resolve(spec, load_dataset(spec.data, spec.seed)).space
    assert (space.student, space.ladder) == (student, ladder)
