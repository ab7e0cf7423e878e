"""Estimators with scikit-learn's conventions: fit a teacher, distil it, predict at any stage.

The search runs in the calling process (see ``workers.count=0``), on tabular data.
"""

from bdistil.sklearn.classifier import BDistilClassifier
from bdistil.sklearn.regressor import BDistilRegressor

__all__ = ["BDistilClassifier", "BDistilRegressor"]
