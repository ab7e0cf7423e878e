"""How much each example counts in training and selection: by a user's column, by class, or both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.dataset import Dataset, Split
from bdistil.errors import DataError, SpecError
from bdistil.files.wording import some
from bdistil.runtime.values import finite_numbers
from bdistil.spec import DataSpec

Weights = NDArray[np.float32]


def weights_named(values: Any, spec: DataSpec, noun: str) -> Weights | None:
    """The user's weights, float32 (N,), None if there are none.

    Args:
        values: columns by name.
        spec: that names one.
        noun: of columns.

    Raises:
        DataError: if one is missing, no number, or negative.
    """
    if spec.weight is None:
        return None
    what = f"data.weight, {noun} {spec.weight!r},"
    remedy = "correct or drop these rows"
    weights = finite_numbers(values[spec.weight], what, remedy)
    if (weights < 0).any():
        raise DataError(
            f"{what} holds {weights.min():g}; weights are 0 or more: {remedy} (0 leaves a row out "
            "of training)."
        )
    return weights


def weighed(dataset: Dataset, spec: DataSpec) -> Dataset:
    """A data set with the weights of its rows and classes multiplied, of mean 1 on training.

    Weights count where students and a teacher that is trained here are fitted and where candidates
    are compared; K±, edges and every reported figure are those of the rows as they are.

    Args:
        dataset: whose splits hold the user's weights, if there are any.
        spec: with the weights of the classes.

    Raises:
        SpecError: if classes are weighed that the data have not.
        DataError: if a split has no weight at all.
    """
    classes = None if spec.class_weight is None else class_weights(dataset, spec)
    if classes is None and dataset.train.weights is None:
        return dataset
    train, validation = (
        weights_of(split, classes, name)
        for split, name in ((dataset.train, "training"), (dataset.validation, "validation"))
    )
    unit = train.mean(dtype=np.float64)
    note = said(spec, dataset, classes)
    return replace(
        dataset,
        train=replace(dataset.train, weights=(train / unit).astype(np.float32)),
        validation=replace(dataset.validation, weights=(validation / unit).astype(np.float32)),
        test=replace(dataset.test, weights=None),
        card=dataset.card
        and dataset.card.model_copy(update={"notes": (*dataset.card.notes, note)}),
    )


def weights_of(split: Split, classes: Weights | None, name: str) -> Weights:
    """Weights of a split's examples, float32 (N,), not yet of mean 1."""
    own = np.ones(len(split), np.float32) if split.weights is None else split.weights
    product = own if classes is None else own * classes[split.y]
    if not product.any():
        raise DataError(f"all {len(split):,} {name} examples weigh 0; give some a weight.")
    return product


def class_weights(dataset: Dataset, spec: DataSpec) -> Weights:
    """Of each class, float32 (L,): as given, or such that all count alike on the training split.

    "Alike" counts a user's weights of the rows, as scikit-learn's "balanced" does rows.
    """
    names = dataset.class_names
    if dataset.task != "classification" or names is None:
        raise SpecError(
            f"data.class_weight is {spec.class_weight!r}, but the task is {dataset.task}; remove "
            "it, or weigh rows by data.weight."
        )
    given = spec.class_weight
    if isinstance(given, dict):
        unknown = [name for name in given if name not in names]
        if unknown:
            raise SpecError(
                f"data.class_weight names class {unknown[0]!r}, which is missing; there are "
                f"{some(list(names))}."
            )
        return np.array([given.get(name, 1.0) for name in names], np.float32)
    train = dataset.train
    totals = np.bincount(train.y, train.weights, len(names))
    balanced = totals.sum() / (len(names) * totals.clip(np.finfo(np.float32).tiny))
    return np.asarray(balanced, np.float32)


def said(spec: DataSpec, dataset: Dataset, classes: Weights | None) -> str:
    """What examples count, in words."""
    parts = []
    if dataset.train.weights is not None:
        parts.append(f"by column {spec.weight}" if spec.weight else "as given")
    if classes is not None:
        assert dataset.class_names is not None
        names = zip(dataset.class_names, classes, strict=True)
        way = "so that all count alike" if spec.class_weight == "balanced" else "as given"
        parts.append(f"by class, {way} ({some([f'{name}: {each:.3g}' for name, each in names])})")
    return (
        f"examples are weighed {' and '.join(parts)}: in training and in choosing students; "
        "figures are of the rows as they are"
    )
