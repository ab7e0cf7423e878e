# ruff: noqa: D103
"""The default teacher of a table beside scikit-learn's histogram boosting, on the same rows.

    python run.py --data DATA --out accuracy.csv

DATA holds `magic.parquet` and `penbased.parquet` (docs/data.md); the others are scikit-learn's.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from bdistil.cluster.launch import launch_teacher
from bdistil.data.standardise import TargetScale
from bdistil.datasets.catalogue import load_dataset
from bdistil.spec import load_spec

MADE = {
    "made, 4 classes": lambda: datasets.make_classification(
        4000, 20, n_informative=8, n_classes=4, random_state=0
    ),
    "hastie": lambda: datasets.make_hastie_10_2(5000, random_state=0),
    "moons": lambda: datasets.make_moons(2000, noise=0.25, random_state=0),
    "friedman 1": lambda: datasets.make_friedman1(4000, 10, noise=1.0, random_state=0),
    "friedman 2": lambda: datasets.make_friedman2(3000, noise=50.0, random_state=0),
    "sparse": lambda: datasets.make_sparse_uncorrelated(3000, random_state=0),
}
KNOWN = {
    "breast cancer": datasets.load_breast_cancer,
    "wine": datasets.load_wine,
    "digits": datasets.load_digits,
    "iris": datasets.load_iris,
    "diabetes": datasets.load_diabetes,
}
QUANTITIES = ("diabetes", "friedman 1", "friedman 2", "sparse")


def tables(data: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    for name in ("magic", "penbased"):
        yield name, pd.read_parquet(data / f"{name}.parquet")
    for name, load in KNOWN.items():
        found = load(as_frame=True)
        yield name, found.data.assign(label=found.target)
    for name, make in MADE.items():
        x, y = make()
        columns = [f"f{index}" for index in range(x.shape[1])]
        labels = y if name in QUANTITIES else y.astype(int)
        yield name, pd.DataFrame(x, columns=columns).assign(label=labels)


def compare(table: Path, quantity: bool, seed: int) -> tuple[float, float]:
    """Test accuracy or R² of the teacher and of boosting on the training split."""
    task = "regression" if quantity else "classification"
    spec = load_spec(
        {"seed": seed, "data": {"path": str(table), "task": task}}, ["workers.count=0"]
    )
    with tempfile.TemporaryDirectory() as folder:
        logits = launch_teacher(spec, Path(folder) / "run").teacher.logits()["test"]
    dataset = load_dataset(spec.data, spec.seed)
    train, test = dataset.train, dataset.test
    wanted: Any = HistGradientBoostingRegressor if quantity else HistGradientBoostingClassifier
    boosting = wanted(random_state=seed).fit(train.x, train.y.reshape(-1)).predict(test.x)
    truth = test.y.reshape(-1)
    if not quantity:
        return float((logits.argmax(1) == truth).mean()), float((boosting == truth).mean())
    scale = TargetScale.of(dataset)
    answers = (logits * scale.scale + scale.shift).reshape(-1)
    spread = np.square(truth - truth.mean()).sum()
    ours, theirs = (1 - np.square(each - truth).sum() / spread for each in (answers, boosting))
    return float(ours), float(theirs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("accuracy.csv"))
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    with args.out.open("w", newline="") as file, tempfile.TemporaryDirectory() as folder:
        rows = csv.writer(file)
        rows.writerow(["data", "seed", "teacher", "boosting"])
        for name, frame in tables(args.data):
            table = Path(folder) / "table.parquet"
            frame.to_parquet(table)
            pairs = [compare(table, name in QUANTITIES, seed) for seed in range(args.seeds)]
            rows.writerows(
                [name, seed, f"{ours:.4f}", f"{theirs:.4f}"]
                for seed, (ours, theirs) in enumerate(pairs)
            )
            ours, theirs = map(statistics.mean, zip(*pairs, strict=True))
            print(f"{name:16} teacher {ours:.4f} boosting {theirs:.4f} {ours - theirs:+.4f}")


if __name__ == "__main__":
    main()
