"""A scikit-learn estimator as teacher, fitted here: an estimator's file would be a pickle."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bdistil.core.seeds import derived_seed
from bdistil.data.dataset import Dataset, Split
from bdistil.data.standardise import standardised
from bdistil.errors import FOREIGN, BdistilWarning, TeacherError, told
from bdistil.optional import require
from bdistil.spec import Spec
from bdistil.teachers.answers import Examinee
from bdistil.teachers.source import EpochProgress, Rows, Teacher

TRAINING = ("epochs", "lr", "batch_size", "weight_decay")  # of networks, no estimator's
ROWS = 8192  # trees take as long for one example as for a hundred


@dataclass(frozen=True)
class EstimatorSource:
    """An unfitted estimator; reads each example as one row of features."""

    kind: ClassVar[str] = "estimator"
    can_refit: ClassVar[bool] = True

    dataset: Dataset
    spec: Spec
    estimator: Any

    def check(self) -> None:
        """See whether it can do the task.

        Raises:
            TeacherError: if it lacks `predict_proba` for classes, or if weights or settings of a
                network's training are given.
        """
        settings = self.spec.teacher
        if settings.weights is not None:
            raise TeacherError(
                f"teacher.weights is {str(settings.weights)!r}, but {settings.model} is fitted "
                f"here; remove teacher.weights."
            )
        for name in TRAINING:
            value = getattr(settings, name)
            if value != type(settings).model_fields[name].default:
                raise TeacherError(
                    f"teacher.{name} is {value:g}, which is for training networks, but "
                    f"{settings.model} is an estimator; remove it, or say in teacher.options what "
                    f"the estimator takes."
                )
        wanted = "predict" if self.dataset.task == "regression" else "predict_proba"
        if not hasattr(self.estimator, wanted):
            raise TeacherError(
                f"teacher.model is {settings.model!r}, which has no {wanted}; choose an estimator "
                f"for {self.dataset.task}, if need be within CalibratedClassifierCV."
            )

    def known_flops(self) -> None:
        """An estimator does not say."""

    def untrained_network(self) -> None:
        """There is none."""

    def obtain(self, rows: Rows | None = None, progress: EpochProgress | None = None) -> Teacher:
        """Fit a fresh estimator; of what it costs, only the time is known.

        Raises:
            TeacherError: if it does not fit the data.
        """
        self.check()
        train = self.dataset.train
        if rows is not None:
            train = train.take(rows)
        fitted = self._fitted(train)
        predict = {
            "classification": self._probabilities,
            "multilabel": _of_labels,
            "regression": _targets,
        }[self.dataset.task]

        def answer(features: NDArray[np.float32]) -> NDArray[Any]:
            return predict(fitted, self._table(features))

        settings = self.spec.teacher
        examinee = Examinee(settings.model, answer, ROWS, settings.reads, "probabilities")
        return Teacher(
            lambda split, answered: examinee.logits(self.dataset, split, answered),
            seconds=examinee.seconds(self.dataset) if rows is None else None,
        )

    def _fitted(self, train: Split) -> Any:
        estimator = _fresh(self.estimator)
        seed_estimator(estimator, self.spec.seed)
        raw = self.spec.teacher.reads == "raw"
        features = train.x if raw else standardised(self.dataset, train)
        labels = train.y if train.y.ndim == 1 or train.y.shape[1] > 1 else train.y[:, 0]
        try:
            return fit_weighted(estimator, self._table(features), labels, train.weights)
        except FOREIGN as error:  # foreign code may raise anything
            raise TeacherError(
                f"teacher.model {self.spec.teacher.model!r} cannot be fitted: {told(error)}; "
                f"correct teacher.options."
            ) from error

    def _table(self, features: NDArray[Any]) -> Any:
        """One row of features for each example; with their names for what may choose by name."""
        rows, columns = _rows(features), self.dataset.columns
        if columns is None or not _may_choose_columns(self.estimator):
            return rows
        names = [name for column in columns.features for name in column.feature_names]
        return require("pandas", "table").DataFrame(rows, columns=names)

    def _probabilities(self, fitted: Any, features: Any) -> NDArray[Any]:
        """Probabilities in the data's order of classes; 0 for classes that it has not seen."""
        found = np.asarray(fitted.predict_proba(features))
        probabilities = np.zeros((len(features), self.dataset.outputs), np.float32)
        probabilities[:, np.asarray(fitted.classes_)] = found
        return probabilities


def seed_estimator(estimator: Any, seed: int) -> None:
    """Let a search's seed decide what an estimator, or a part of it, draws without one."""
    found = estimator.get_params(deep=True)
    unset = [name for name, value in found.items() if value is None and _is_a_seed(name)]
    estimator.set_params(**dict.fromkeys(unset, derived_seed(seed, "teacher")))


def _is_a_seed(parameter: str) -> bool:
    return parameter == "random_state" or parameter.endswith("__random_state")


def fit_weighted(
    estimator: Any, x: Any, y: NDArray[Any], weights: NDArray[np.float32] | None
) -> Any:
    """Fit an estimator with weights of the examples, float32 (N,), or, with a warning, without.

    A pipeline passes them to its last step.
    """
    if weights is None:
        return estimator.fit(x, y)
    from sklearn.pipeline import Pipeline
    from sklearn.utils.validation import has_fit_parameter

    last, key = estimator, "sample_weight"
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        key = f"{name}__{key}"
    if not has_fit_parameter(last, "sample_weight"):
        warnings.warn(
            f"the teacher ({type(last).__name__}) takes no weights of examples, so it is fitted "
            "without; students are trained with them.",
            BdistilWarning,
            stacklevel=2,
        )
        return estimator.fit(x, y)
    return estimator.fit(x, y, **{key: weights})


def is_estimator(built: Any) -> bool:
    """Whether it has scikit-learn's interface."""
    methods = ("fit", "get_params", "set_params")
    return all(callable(getattr(built, name, None)) for name in methods)


def _fresh(estimator: Any) -> Any:
    from sklearn.base import clone

    return clone(estimator)


def _may_choose_columns(estimator: Any) -> bool:
    """Whether it is, or holds, a pipeline or what takes some of the columns."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import FeatureUnion, Pipeline

    parts = (estimator, *estimator.get_params(deep=True).values())
    return any(isinstance(part, ColumnTransformer | FeatureUnion | Pipeline) for part in parts)


def _rows(features: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(features.reshape(len(features), -1), np.float32)


def _targets(fitted: Any, features: Any) -> NDArray[Any]:
    return np.asarray(fitted.predict(features))


def _of_labels(fitted: Any, features: Any) -> NDArray[Any]:
    """Probability that each label holds; trees give a table (N, 2) a label, others (N, L)."""
    found = fitted.predict_proba(features)
    if not isinstance(found, list):
        return np.asarray(found)
    known = zip(found, fitted.classes_, strict=True)
    return np.stack([table @ (np.asarray(classes) == 1) for table, classes in known], axis=1)
