"""A progressive ensemble as a scikit-learn regressor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import validate_data

from bdistil.data.labels import Labels, regression_targets
from bdistil.errors import DataError
from bdistil.sklearn.features import IN_FIT, check_numbers
from bdistil.sklearn.parameters import answers_in_classes
from bdistil.sklearn.progressive_estimator import Array, ProgressiveEstimator
from bdistil.sklearn.targets import as_targets


class BDistilRegressor(RegressorMixin, ProgressiveEstimator):  # type: ignore[misc]
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
            X: features (N, d), finite numbers; of frames, too.
            y: targets (N,) or (N, L); booleans are 0 and 1.
            sample_weight: as of :meth:`BDistilClassifier.fit`.

        Raises:
            ValueError: if the data are not fit for a regressor.
            BdistilError: if a parameter is out of range or the search cannot go on.
        """
        self._forget()
        given = X
        check_numbers(X, IN_FIT)
        y = as_targets(y)
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
        if answers_in_classes(self.teacher_) or not hasattr(self.teacher_, "predict"):
            what = "is a classifier" if answers_in_classes(self.teacher_) else "has no predict"
            raise ValueError(f"teacher {self.teacher_} {what}; choose a regressor.")

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
