"""Writes data/fashion_4000.npz: 4,000 drawn rows to train on, 1,000 to choose by, and all of test.

python make_fashion.py FOLDER, which holds the four files of FashionMNIST (docs/data.md).
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np

TRAIN, VALIDATION, HEADERS = 4_000, 1_000, {"images": 16, "labels": 8}


def read(folder: Path, split: str, what: str) -> np.ndarray:
    """The bytes of one file."""
    rank = {"images": 3, "labels": 1}[what]
    packed = (folder / f"{split}-{what}-idx{rank}-ubyte.gz").read_bytes()
    return np.frombuffer(gzip.decompress(packed), np.uint8, offset=HEADERS[what])


def main(folder: Path) -> None:
    """Write the file."""
    images, labels = (read(folder, "train", what) for what in HEADERS)
    rows = np.random.default_rng(0).permutation(len(labels))[: TRAIN + VALIDATION]
    images = images.reshape(-1, 1, 28, 28)[rows]
    test = read(folder, "t10k", "images").reshape(-1, 1, 28, 28)
    parts = {"train": TRAIN, "validation": VALIDATION, "test": len(test)}
    target = Path("data/fashion_4000.npz")
    target.parent.mkdir(exist_ok=True)
    np.savez(
        target,
        x=np.concatenate([images, test]).astype(np.float32) / 255,
        y=np.concatenate([labels[rows], read(folder, "t10k", "labels")]).astype(np.int64),
        part=np.repeat(list(parts), list(parts.values())),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
