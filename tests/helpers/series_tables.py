"""Tables of series in rows and in lists, and how they are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bdistil.data.dataset import Dataset
from bdistil.datasets.catalogue import load_dataset
from bdistil.spec import DataSpec

COUNT = 60
LENGTHS = 3 + np.arange(COUNT) % 5
RANDOM = np.random.default_rng(0)
SERIES = [RANDOM.normal(size=(length, 2)).round(4) for length in LENGTHS]
LABELS = np.array([f"c{number % 3}" for number in range(COUNT)])
"""Of series."""


def in_rows() -> pd.DataFrame:
    """A row a step; identifiers that look like numbers, times that text would sort wrongly."""
    frames = [
        pd.DataFrame(
            {
                "who": f"{n:03}",
                "t": np.arange(8, 8 + len(x)),
                "a": x[:, 0],
                "b": x[:, 1],
                "label": label,
            }
        )
        for n, (x, label) in enumerate(zip(SERIES, LABELS, strict=True))
    ]
    return pd.concat(frames, ignore_index=True)


def in_lists() -> pd.DataFrame:
    columns = {name: [x[:, i].tolist() for x in SERIES] for i, name in enumerate("ab")}
    return pd.DataFrame({**columns, "label": LABELS})


def saved(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path, index=False)
    return path


def load(frame: pd.DataFrame, path: Path, **spec: Any) -> Dataset:
    return load_dataset(DataSpec(path=saved(frame, path), **spec), 0)


def expected(steps: int = 7) -> np.ndarray:
    x = np.zeros((COUNT, steps, 2), np.float32)
    for own, series in zip(x, SERIES, strict=True):
        own[steps - len(series) :] = series
    return x


def sorted_rows(dataset: Dataset) -> np.ndarray:
    x = np.concatenate([split.x for split in (dataset.train, dataset.validation, dataset.test)])
    return x[np.lexsort(x[:, -1].T)]
