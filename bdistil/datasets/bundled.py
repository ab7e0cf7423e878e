"""Small real data sets that come with scikit-learn, so nothing is downloaded."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from bdistil.data.assemble import assemble
from bdistil.data.dataset import Dataset
from bdistil.data.split import split_indices
from bdistil.datasets.catalogue import register_dataset
from bdistil.names import ClassType, Domain
from bdistil.optional import advice_if_missing, require

_advice = partial(advice_if_missing, "sklearn", "search")


@register_dataset(
    "digits",
    domain="image",
    input_shape=(1, 8, 8),
    classes=10,
    examples=1797,
    source="scikit-learn: handwritten digits",
    advice=_advice,
)
def digits(seed: int, validation: float, test: float) -> Dataset:
    """Handwritten digits as grey images (1, 8, 8) with values from 0 to 16."""
    bunch = _fetch("load_digits")
    images = bunch.images[:, None]
    return _classification("digits", "image", images, bunch, seed, validation, test)


@register_dataset(
    "breast_cancer",
    domain="tabular",
    input_shape=(30,),
    classes=2,
    examples=569,
    source="scikit-learn: Wisconsin breast cancer",
    advice=_advice,
)
def breast_cancer(seed: int, validation: float, test: float) -> Dataset:
    """Cell measurements of malignant and benign tumours."""
    bunch = _fetch("load_breast_cancer")
    return _classification("breast_cancer", "tabular", bunch.data, bunch, seed, validation, test)


@register_dataset(
    "wine",
    domain="tabular",
    input_shape=(13,),
    classes=3,
    examples=178,
    source="scikit-learn: chemical analysis of wines",
    advice=_advice,
)
def wine(seed: int, validation: float, test: float) -> Dataset:
    """Chemical analysis of wines from three growers."""
    bunch = _fetch("load_wine")
    return _classification("wine", "tabular", bunch.data, bunch, seed, validation, test)


@register_dataset(
    "diabetes",
    domain="tabular",
    input_shape=(10,),
    classes=None,
    examples=442,
    source="scikit-learn: progression of diabetes",
    advice=_advice,
)
def diabetes(seed: int, validation: float, test: float) -> Dataset:
    """Progression of diabetes after a year, a regression with targets from 25 to 346."""
    bunch = _fetch("load_diabetes")
    x, y = bunch.data.astype(np.float32), bunch.target.astype(np.float32)[:, None]
    indices = split_indices(y, None, validation=validation, test=test, seed=seed)
    return assemble("diabetes", "tabular", x, y, indices, class_names=None)


def _fetch(loader: str) -> Any:
    return getattr(require("sklearn.datasets", "search"), loader)()


def _classification(
    name: str, domain: Domain, x: Any, bunch: Any, seed: int, validation: float, test: float
) -> Dataset:
    y = bunch.target.astype(np.int64)
    names = tuple(str(label) for label in bunch.target_names)
    indices = split_indices(y, names, validation=validation, test=test, seed=seed)
    class_type: ClassType = "integer" if bunch.target_names.dtype.kind in "iu" else "text"
    features = x.astype(np.float32)
    return assemble(name, domain, features, y, indices, class_names=names, class_type=class_type)
