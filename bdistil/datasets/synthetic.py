"""Synthetic classification problems in 16 dimensions that small networks find hard."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bdistil.data.assemble import assemble
from bdistil.data.dataset import Dataset
from bdistil.data.split import split_indices
from bdistil.datasets.catalogue import register_dataset

DIMENSIONS = 16
CORNERS = 16
CLASSES = 4

Examples = Annotated[int, Field(ge=12, le=10_000_000)]
Geometry = Annotated[int, Field(ge=0)]


@register_dataset(
    "cube",
    domain="tabular",
    input_shape=(DIMENSIONS,),
    classes=CLASSES,
    examples=5000,
    source="synthetic: nearest of 16 corners of a cube, modulo 4",
)
def cube(
    seed: int, validation: float, test: float, examples: Examples = 5000, geometry: Geometry = 0
) -> Dataset:
    """Points uniform in [-1, 1]^16, labelled by the nearest of 16 random corners, modulo 4.

    Args:
        seed: of the points and the split.
        validation: share kept for validation.
        test: share kept for test.
        examples: number of points in all.
        geometry: seed of the corners.
    """
    corners = _random_corners(np.random.default_rng(geometry))
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (examples, DIMENSIONS)).astype(np.float32)
    y = (x @ corners.T).argmax(axis=1) % CLASSES
    return _assemble("cube", x, y, seed, validation, test)


@register_dataset(
    "ellipsoid",
    domain="tabular",
    input_shape=(DIMENSIONS,),
    classes=CLASSES,
    examples=5000,
    source="synthetic: quartile of a quadratic form",
)
def ellipsoid(
    seed: int, validation: float, test: float, examples: Examples = 5000, geometry: Geometry = 0
) -> Dataset:
    """Standard normal points, labelled by the quartile of a random positive quadratic form.

    Args:
        seed: of the points and the split.
        validation: share kept for validation.
        test: share kept for test.
        examples: number of points in all.
        geometry: seed of the form's axes.
    """
    shape_rng = np.random.default_rng(geometry)
    form = _random_form(shape_rng)
    reference = shape_rng.standard_normal((100_000, DIMENSIONS))
    quartiles = np.quantile(_quadratic(form, reference), [0.25, 0.5, 0.75])
    x = np.random.default_rng(seed).standard_normal((examples, DIMENSIONS)).astype(np.float32)
    y = np.searchsorted(quartiles, _quadratic(form, x))
    return _assemble("ellipsoid", x, y, seed, validation, test)


def _random_corners(rng: np.random.Generator) -> NDArray[np.floating]:
    """Distinct corners of {-1, 1}^16, shape (16, 16)."""
    codes = rng.choice(2**DIMENSIONS, CORNERS, replace=False)
    return 2.0 * ((codes[:, None] >> np.arange(DIMENSIONS)) & 1) - 1


def _random_form(rng: np.random.Generator) -> NDArray[np.floating]:
    """A with random axes and eigenvalues from 1/2 to 2: far from a sphere, not nearly flat."""
    axes, _ = np.linalg.qr(rng.standard_normal((DIMENSIONS, DIMENSIONS)))
    form: NDArray[np.floating] = (axes * np.geomspace(0.5, 2, DIMENSIONS)) @ axes.T
    return form


def _quadratic(form: NDArray[np.floating], x: NDArray[Any]) -> NDArray[np.floating]:
    values: NDArray[np.floating] = np.einsum("nj,nj->n", x @ form, x)
    return values


def _assemble(
    name: str,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    seed: int,
    validation: float,
    test: float,
) -> Dataset:
    names = tuple(str(label) for label in range(CLASSES))
    indices = split_indices(y, names, validation=validation, test=test, seed=seed)
    return assemble(name, "tabular", x, y, indices, class_names=names)
