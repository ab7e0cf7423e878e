"""A progressive ensemble as a scikit-learn classifier."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from bdistil.data.labels import Labels, class_type_of
from bdistil.errors import BdistilWarning
from bdistil.runtime.confidence import softmax
from bdistil.runtime.values import as_text
from bdistil.sklearn.features import IN_FIT, check_numbers
from bdistil.sklearn.progressive_estimator import Array, ProgressiveEstimator
from bdistil.sklearn.targets import as_labels


class BDistilClassifier(ClassifierMixin, ProgressiveEstimator):  # type: ignore[misc]
    """A progressive ensemble as a scikit-learn classifier.

    ``staged_predict`` and ``staged_predict_proba`` give the answers of the first student, the first
    two, and so on; ``ensemble_`` is the :class:`bdistil.Ensemble`. For deadlines and
    early exits save it by ``save_pretrained`` and open the folder with :class:`bdistil.Predictor`.

    ``class_weight`` is scikit-learn's: "balanced", or a number for each label; ``sample_weight`` of
    ``fit`` is multiplied with it.

    Classifier and regressor meet all checks of scikit-learn's ``check_estimator`` but
    ``check_sample_weight_equivalence_on_dense_data``: where a weight keeps one row, copies of it
    are split and fall into mini-batches apart.

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
            X: features (N, d), finite numbers; of frames, too.
            y: labels (N,), all booleans, all numbers or all texts, in numpy's types, pandas'
                nullable ones or objects; none missing.
            sample_weight: how much each example counts where teacher and students are fitted and
                students chosen, (N,), from 0; None lets all count alike. A teacher that takes no
                weights is fitted without, with a warning; a frozen one stays as it is.

        Raises:
            ValueError: if the data are not fit for a classifier.
            BdistilError: if a parameter is out of range or the search cannot go on.
        """
        self._forget()
        given = X
        check_numbers(X, IN_FIT)
        y = as_labels(y)
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

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy on labels (N,) of any type that :meth:`fit` takes."""
        return float(super().score(X, as_labels(y), sample_weight))

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
