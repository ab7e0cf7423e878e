"""Estimators with scikit-learn's conventions: fit a teacher, distil it, predict at any stage.

The search runs in the calling process (see ``workers.count=0``), on tabular data.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from bdistil.data.assemble import assemble, with_teacher_outputs
from bdistil.data.labels import Labels, class_type_of, regression_targets
from bdistil.data.split import SplitIndices
from bdistil.data.weights import weighed
from bdistil.errors import BdistilWarning, DataError
from bdistil.runtime.confidence import softmax
from bdistil.runtime.values import as_text
from bdistil.spec import Spec, load_spec
from bdistil.teachers.answers import seconds_of
from bdistil.teachers.estimator import fit_weighted

if TYPE_CHECKING:
    from bdistil.export.ensemble import Ensemble

__all__ = ["BDistilClassifier", "BDistilRegressor"]

Array = NDArray[Any]


class _ProgressiveEstimator(BaseEstimator):  # type: ignore[misc]
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
        if not 0 < self.validation_fraction < 1:
            raise ValueError(
                f"validation_fraction is {self.validation_fraction}; choose one between 0 and 1."
            )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        spec = self._spec(seed)
        rows = _split(labels.y, labels.class_names, self.validation_fraction, seed)
        dataset = assemble(
            "the data of fit",
            "tabular",
            x.astype(np.float32),
            labels.y,
            rows,
            class_names=labels.class_names,
            class_type=labels.class_type,
            weights=weights,
        )
        dataset = weighed(dataset, spec.data)
        if self.teacher is not None:
            learnt = dataset.train.weights
            features = given if hasattr(given, "columns") else x
            outputs = self._teach(features, y, rows, learnt)
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
                "ladder": None if self.ladder is None else list(self.ladder),
                "connection": self.connection,
            },
            "search": {"rounds": self.rounds, "tries_per_class": self.trials},
            "workers": {"count": 0},
        }
        if not isinstance(self.overrides, Mapping | None):
            raise ValueError(
                f"overrides are a dict such as {{'space.epochs': 40}}, not {self.overrides!r}."
            )
        overrides = [f"{key}={json.dumps(value)}" for key, value in (self.overrides or {}).items()]
        spec = load_spec(source, overrides)
        if spec.workers.count:
            raise ValueError("overrides set workers.count, but estimators search without Ray.")
        if self.teacher is not None and spec.teacher.is_foreign:
            raise ValueError(
                f"overrides set teacher.model={spec.teacher.model!r}, but teacher is given too; "
                f"remove one of both."
            )
        return spec

    def _class_weight(self) -> Any:
        """Of the classes, as ``data.class_weight`` takes it; a regressor has none."""
        return None

    def _teach(self, x: Any, y: Array, rows: SplitIndices, weights: Any) -> NDArray[np.float32]:
        """The given teacher's answers on all rows, float32 (N, L); `x` is a frame if given so."""
        self.teacher_ = clone(self.teacher)
        self._check_teacher()
        if not isinstance(self.teacher_, FrozenEstimator):
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
        features = validate_data(self, x, reset=False, dtype=np.float64)
        with torch.no_grad():
            for outputs in self._network.stages(torch.as_tensor(features)):
                yield outputs.numpy()

    def _last(self, x: Any) -> Array:
        *_, last = self._stages(x)
        return last


class BDistilClassifier(ClassifierMixin, _ProgressiveEstimator):  # type: ignore[misc]
    """A progressive ensemble as a scikit-learn classifier.

    ``staged_predict`` and ``staged_predict_proba`` give the answers of the first student, the first
    two, and so on; ``ensemble_`` is the :class:`bdistil.Ensemble`, for deadlines and early exits.

    ``class_weight`` is scikit-learn's: "balanced", or a number for each label; ``sample_weight`` of
    ``fit`` is multiplied with it.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.ensemble import RandomForestClassifier
        >>> from bdistil import BDistilClassifier
        >>> x, y = load_iris(return_X_y=True)
        >>> model = BDistilClassifier(RandomForestClassifier(), rounds=3, random_state=0)
        >>> model.fit(x, y).score(x, y) > 0.9
        True
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
        class_weight: Mapping[Any, float] | str | None = None,
        overrides: Mapping[str, Any] | None = None,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            teacher,
            rounds=rounds,
            student=student,
            ladder=ladder,
            recipe=recipe,
            connection=connection,
            trials=trials,
            validation_fraction=validation_fraction,
            overrides=overrides,
            random_state=random_state,
        )
        self.class_weight = class_weight

    def _class_weight(self) -> Any:
        """By the classes' names, as the search knows them."""
        if not isinstance(self.class_weight, Mapping):
            return self.class_weight
        return {as_text(label): weight for label, weight in self.class_weight.items()}

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> BDistilClassifier:
        """Fit a teacher and distil it.

        Args:
            X: features (N, d), finite.
            y: labels (N,) of any type.
            sample_weight: how much each example counts where teacher and students are fitted and
                students chosen, (N,), from 0; None lets all count alike. A teacher that takes no
                weights is fitted without, with a warning; a frozen one stays as it is.

        Raises:
            ValueError: if the data are not fit for a classifier.
            BdistilError: if a parameter is out of range or the search cannot go on.
        """
        self._forget()
        given = X
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=4)
        check_classification_targets(y)
        self.classes_, indices = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            only = str(self.classes_[0])
            raise ValueError(f"y holds one class, {only!r}; give examples of another.")
        names = tuple(map(as_text, self.classes_))
        labels = Labels(indices, names, class_type_of(self.classes_, names))
        self._search(given, X, y, labels, sample_weight)
        return self

    def _check_teacher(self) -> None:
        if not hasattr(self.teacher_, "predict_proba"):
            raise ValueError(
                f"teacher {self.teacher_} has no predict_proba; choose one that has, or wrap it in "
                f"CalibratedClassifierCV."
            )

    def _teacher_outputs(self, x: Any) -> Array:
        """Probabilities in the order of ``classes_``; the teacher may know them in another."""
        known = np.asarray(self.teacher_.classes_)
        unknown = known[~np.isin(known, self.classes_)].tolist()
        if unknown:
            raise ValueError(
                f"the teacher answers with class {unknown[0]!r}, but y holds "
                f"{self.classes_.tolist()}; give labels as the teacher was fitted on."
            )
        unseen = self.classes_[~np.isin(self.classes_, known)].tolist()
        if unseen:
            warnings.warn(
                f"the teacher was fitted without class {unseen[0]!r}, so it gives it no "
                "probability.",
                BdistilWarning,
                stacklevel=2,
            )
        probabilities = np.zeros((len(x), len(self.classes_)))
        probabilities[:, np.searchsorted(self.classes_, known)] = self.teacher_.predict_proba(x)
        return probabilities

    def _temperatures(self) -> tuple[float, ...]:
        """Of each stage, fitted on the examples that selected the students."""
        check_is_fitted(self)
        return self.ensemble_.config.temperatures

    def staged_predict_proba(self, X: Any) -> Iterator[Array]:
        """Calibrated probabilities, float64 (N, classes), of each stage."""
        for logits, temperature in zip(self._stages(X), self._temperatures(), strict=True):
            yield softmax(logits, temperature)

    def predict_proba(self, X: Any) -> Array:
        """Calibrated probabilities, float64 (N, classes), of the whole ensemble."""
        *_, last = self.staged_predict_proba(X)
        return last

    def staged_predict(self, X: Any) -> Iterator[Array]:
        """Labels (N,) of each stage."""
        for logits in self._stages(X):
            yield self.classes_[logits.argmax(axis=1)]

    def predict(self, X: Any) -> Array:
        """Labels (N,) of the whole ensemble."""
        best = self._last(X).argmax(axis=1)
        labels: Array = self.classes_[best]
        return labels


class BDistilRegressor(RegressorMixin, _ProgressiveEstimator):  # type: ignore[misc]
    """A progressive ensemble as a scikit-learn regressor, for one target or several.

    Example:
        >>> from sklearn.datasets import load_diabetes
        >>> from bdistil import BDistilRegressor
        >>> x, y = load_diabetes(return_X_y=True)
        >>> model = BDistilRegressor(rounds=3, random_state=0).fit(x, y)
        >>> answers = list(model.staged_predict(x))
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> BDistilRegressor:
        """Fit a teacher and distil it.

        Args:
            X: features (N, d), finite.
            y: targets (N,) or (N, L).
            sample_weight: as of :meth:`BDistilClassifier.fit`.

        Raises:
            ValueError: if the data are not fit for a regressor.
            BdistilError: if a parameter is out of range or the search cannot go on.
        """
        self._forget()
        given = X
        X, y = validate_data(
            self, X, y, dtype=np.float64, multi_output=True, y_numeric=True, ensure_min_samples=4
        )
        if np.any(np.ptp(y, axis=0) == 0):
            raise ValueError("a target of y is constant; leave it out.")
        self._flat = y.ndim == 1
        targets = y.reshape(len(y), -1)
        fitted = targets[:, 0] if targets.shape[1] == 1 else targets
        try:
            labels = Labels(regression_targets(targets, "y"), None)
        except DataError as error:
            raise ValueError(str(error)) from None
        self._search(given, X, fitted, labels, sample_weight)
        return self

    def _check_teacher(self) -> None:
        """Every regressor can predict."""

    def _teacher_outputs(self, x: Any) -> Array:
        return np.asarray(self.teacher_.predict(x)).reshape(len(x), -1)

    def staged_predict(self, X: Any) -> Iterator[Array]:
        """Targets (N,) or (N, L) of each stage."""
        for outputs in self._stages(X):
            yield outputs[:, 0] if self._flat else outputs

    def predict(self, X: Any) -> Array:
        """Targets (N,) or (N, L) of the whole ensemble."""
        last = self._last(X)
        return last[:, 0] if self._flat else last

    def __sklearn_tags__(self) -> Any:
        """Several targets are taken too."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _timed(spec: Spec) -> bool:
    """Whether the search has a limit of time."""
    return spec.goal is not None and spec.goal.within_time is not None


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
