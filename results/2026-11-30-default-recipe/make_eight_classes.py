"""Writes data/eight_classes.parquet, made up: small students stay behind their teacher on it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from sklearn.datasets import make_classification

FEATURES, INFORMATIVE, CLASSES = 20, 12, 8


def main() -> None:
    """Write the file."""
    x, y = make_classification(
        6_000,
        FEATURES,
        n_informative=INFORMATIVE,
        n_redundant=0,
        n_classes=CLASSES,
        n_clusters_per_class=2,
        random_state=0,
        class_sep=1.2,
    )
    table = pd.DataFrame(x, columns=[f"x{i}" for i in range(FEATURES)])
    table["label"] = [f"c{each}" for each in y]
    target = Path("data/eight_classes.parquet")
    target.parent.mkdir(exist_ok=True)
    table.to_parquet(target)


if __name__ == "__main__":
    main()
