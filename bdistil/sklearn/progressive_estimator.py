"""What the estimators share: split, teacher, search and answers stage by stage."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from bdistil.core.tensors import as_tensor
from bdistil.data.assemble import assemble, with_teacher_outputs
from bdistil.data.labels import Labels
from bdistil.data.split import SplitIndices
from bdistil.data.weights import weighed
from bdistil.errors import BdistilWarning
from bdistil.runtime.columns import FeatureColumn, TableColumns
from bdistil.sklearn.features import IN_PREDICT, as_float32, check_numbers
from bdistil.sklearn.parameters import check_teacher, check_validation_fraction, widths_of
from bdistil.spec import Spec, load_spec
from bdistil.teachers.answers import seconds_of
from bdistil.teachers.estimator import fit_weighted, seed_estimator

if TYPE_CHECKING:
    from bdistil.export.ensemble import Ensemble

Array = NDArray[Any]


class ProgressiveEstimator(BaseEstimator):  # type: ignore[misc]
    """What classifier and regressor share.

    Args:
        teacher: an estimator that is cloned and fitted on the training rows (wrap a fitted one in
            ``sklearn.frozen.FrozenEstimator`` to keep it as it is), or None for a network that is
            trained here.
        rounds: T, the most students; fewer if no further one helps, or once a goal is reached.
            None leaves them to the goal (6 without one).
        student: the student class.
        ladder: widths of the growing classes F_1, F_2, ...; None takes 8, 16 and 32, or narrower
            ones where a goal allows less.
        recipe: of FIND_WL: ``accurate``, ``faithful``, ``auxiliary`` or ``paper``; ``auto`` lets
            those compete that suit the data.
        connection: of each student to those before it; None lets the recipe decide.
        trials: of each class in a round.
        validation_fraction: share of the examples that selects students.
        overrides: any other field of a search, such as ``{"search.algorithm": "random"}``, or a
            goal: ``{"goal.keep": 0.99, "goal.within_time": "25%"}``. A network of one's own comes
            as ``{"teacher.model": "mine.py:build", "teacher.weights": "mine.safetensors"}`` with
            `teacher` left out.
        random_state: seed of split, teacher and search.

    ``sample_weight`` follows scikit-learn's metadata routing: ``set_fit_request``.
    """

    def __init__(
        self,
        teacher: Any = None,
        *,
        rounds: int | None = 6,
        student: str = "mlp",
        ladder: tuple[int, ...] | None = None,
        recipe: str = "auto",
        connection: str | None = None,
        trials: int = 4,
        validation_fraction: float = 0.2,
        overrides: Mapping[str, Any] | None = None,
        random_state: Any = None,
    ) -> None:
        self.teacher = teacher
        self.rounds = rounds
        self.student = student
        self.ladder = ladder
        self.recipe = recipe
        self.connection = connection
        self.trials = trials
        self.validation_fraction = validation_fraction
        self.overrides = overrides
        self.random_state = random_state

    def save_pretrained(self, directory: str) -> None:
        """Write the ensemble as ``config.json`` and safetensors, for ``Ensemble`` and `Predictor`.

        Raises:
            CheckpointError: if the folder cannot be written.
        """
        check_is_fitted(self)
        self.ensemble_.with_fastest_ways().save_pretrained(directory)

    def _forget(self) -> None:
        """Drop an earlier fit, whose ensemble would answer with the labels of one that failed."""
        for name in ("ensemble_", "_network"):
            if hasattr(self, name):
                delattr(self, name)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_network")

    def _search(self, given: Any, x: Array, y: Array, labels: Labels, weights: Any) -> None:
        """Distil into ``ensemble_``; `x`, `y` are what was `given`, checked."""
        from bdistil.searching.run import search_dataset

        if weights is not None:
            weights = _check_sample_weight(weights, x, dtype=np.float32, ensure_non_negative=True)
        check_validation_fraction(self.validation_fraction)
        check_teacher(self.teacher)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        spec = self._spec(seed)
        rows = _split(labels.y, labels.class_names, self.validation_fraction, seed)
        dataset = assemble(
            "the data of fit",
            "tabular",
            as_float32(x, getattr(self, "feature_names_in_", None)),
            labels.y,
            rows,
            class_names=labels.class_names,
            class_type=labels.class_type,
            weights=weights,
            columns=_named_columns(self),
        )
        dataset = weighed(dataset, spec.data)
        if self.teacher is not None:
            learnt = dataset.train.weights
            features = given if hasattr(given, "columns") else x
            outputs = self._teach(features, y, rows, learnt, seed)
            seconds = self._teacher_seconds(features) if _timed(spec) else None
            dataset = with_teacher_outputs(dataset, outputs, rows, seconds)
        self.ensemble_: Ensemble = search_dataset(spec, dataset)
        self._network: Ensemble = copy.deepcopy(self.ensemble_).double()

    def _spec(self, seed: int) -> Spec:
        source: dict[str, Any] = {
            "name": type(self).__name__,
            "seed": seed,
            "data": {"name": "the data of fit", "class_weight": self._class_weight()},
            "teacher": {} if self.teacher is None else {"outputs": "probabilities"},
            "space": {
                "recipe": self.recipe,
                "student": self.student,
                "ladder": widths_of(self.ladder),
                "connection": self.connection,
            },
            "search": {"rounds": self.rounds, "tries_per_class": self.trials},
            "workers": {"count": 0},
        }
        if not isinstance(self.overrides, Mapping | None):
            raise ValueError(
                f"overrides are a dict such as {{'space.epochs': 40}}, not {self.overrides!r}."
            )
        given = self.overrides or {}
        if of_data := [key for key in given if str(key).partition(".")[0] == "data"]:
            raise ValueError(
                f"overrides set {of_data[0]}, but the data are those of fit; use "
                "validation_fraction, sample_weight or class_weight, or remove it."
            )
        overrides = [f"{key}={json.dumps(value, default=_plain)}" for key, value in given.items()]
        spec = load_spec(source, overrides)
        if spec.workers.count:
            raise ValueError("overrides set workers.count, but estimators search without Ray.")
        if self.teacher is not None and spec.teacher.is_foreign:
            raise ValueError(
                f"overrides set teacher.model={spec.teacher.model!r}, but teacher is given too; "
                f"remove one of both."
            )
        return spec if self.teacher is None else _without_training(spec)

    def _class_weight(self) -> Any:
        """Of the classes, as ``data.class_weight`` takes it; a regressor has none."""
        return None

    def _teach(
        self, x: Any, y: Array, rows: SplitIndices, weights: Any, seed: int
    ) -> NDArray[np.float32]:
        """The given teacher's answers on all rows, float32 (N, L); `x` is a frame if given so."""
        self.teacher_ = clone(self.teacher)
        self._check_teacher()
        if not isinstance(self.teacher_, FrozenEstimator):
            seed_estimator(self.teacher_, seed)
            fit_weighted(self.teacher_, _safe_indexing(x, rows.train), y[rows.train], weights)
        return np.asarray(self._teacher_outputs(x), np.float32)

    def _teacher_seconds(self, x: Any) -> float:
        """What the teacher takes to answer about one example."""
        one = _safe_indexing(x, [0])
        name = "predict_proba" if hasattr(self, "classes_") else "predict"
        answer = getattr(self.teacher_, name)
        return seconds_of(lambda: answer(one))

    def _stages(self, x: Any) -> Iterator[Array]:
        """Cumulative outputs float64 (N, L) of each stage.

        In double precision, so that an example's answer does not depend on the rest of its batch.
        """
        check_is_fitted(self)
        known = getattr(self, "feature_names_in_", None)
        if known is not None and list(getattr(x, "columns", ())) == list(known):
            check_numbers(x, IN_PREDICT)
        features = validate_data(self, x, reset=False, dtype=np.float64)
        with torch.no_grad():
            for outputs in self._network.stages(as_tensor(features)):
                yield outputs.numpy()

    def _last(self, x: Any) -> Array:
        *_, last = self._stages(x)
        return last


def _plain(value: Any) -> Any:
    """A number of numpy's, as a grid of parameters has, as JSON knows it."""
    if isinstance(value, np.generic):
        return value.item()
    raise ValueError(f"overrides hold {value!r}; give numbers, text, lists and dicts.")


def _without_training(spec: Spec) -> Spec:
    """Without settings of a training that a given teacher does not go through; says which."""
    given = spec.teacher
    fields = type(given).model_fields
    usual = {name: fields[name].default for name in ("epochs", "lr", "weight_decay")}
    idle = [f"teacher.{name}" for name in usual if getattr(given, name) != usual[name]]
    if not idle:
        return spec
    warnings.warn(
        f"overrides set {', '.join(idle)}, which {'has' if len(idle) == 1 else 'have'} no effect "
        "beside a teacher that is given; leave it out, or set the teacher's own parameters.",
        BdistilWarning,
        stacklevel=2,
    )
    return spec.model_copy(update={"teacher": given.model_copy(update=usual)})


def _named_columns(estimator: ProgressiveEstimator) -> TableColumns | None:
    """The columns by which tables are read, of a frame that had names."""
    names = getattr(estimator, "feature_names_in_", None)
    return None if names is None else TableColumns(tuple(map(FeatureColumn, names)), "y")


def _timed(spec: Spec) -> bool:
    """Whether the search has a limit of time."""
    return spec.goal is not None and spec.goal.limits_time


def _split(
    y: Array, class_names: tuple[str, ...] | None, validation: float, seed: int
) -> SplitIndices:
    """Rows to train on and to select by, stratified where the classes are large enough.

    There is no test split: what stands in its place is never looked at.
    """
    rows = np.arange(len(y))
    stratify = None
    if class_names and np.bincount(y).min() > 1 and validation * len(y) >= len(class_names):
        stratify = y
    train, held_out = train_test_split(
        rows, test_size=validation, random_state=seed, stratify=stratify
    )
    return SplitIndices(np.sort(train), np.sort(held_out), np.sort(held_out))
