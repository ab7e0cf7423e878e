# ruff: noqa: D103
"""The shortest command on photographs: `bdistil search --data FOLDER`, by student class.

    python run.py play --data DATA --work WORK [--most 6%]
    python run.py tell --work WORK

DATA holds `train.parquet` and `test.parquet` of CIFAR-10 (JPEG), `image` structs of bytes. 8,000 of
the training images, and 8,000 of the test images as data that no choice was made on, become folders
of files. `play` skips what WORK holds; `tell` writes stages.csv and a table.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SETS = {"first": ("train", 7), "fresh": ("test", 11)}
"""Part and seed of the sample."""
CLASSES = {
    "first": ("cnn", "convnet", "separable", "inverted", "mixed"),
    "fresh": ("cnn", "convnet", "mixed"),
}
MIXED = "space.ladder=[{cnn: 8}, {convnet: 8}]"


def folder_of(name: str, data: Path, work: Path) -> Path:
    import pandas as pd

    folder, (part, seed) = work / name, SETS[name]
    if folder.exists():
        return folder
    rows = pd.read_parquet(data / f"{part}.parquet").sample(8000, random_state=seed)
    for number, (image, label) in enumerate(zip(rows["image"], rows["label"], strict=True)):
        file = folder / str(label) / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(image["bytes"])
    return folder


def play(args: argparse.Namespace) -> None:
    for name, kinds in CLASSES.items():
        for kind in kinds:
            out = args.work / f"{name}-{kind}-{args.most}"
            if (out / "evaluation.json").exists():
                continue
            given = ("--data", folder_of(name, args.data, args.work), "--within", str(args.most))
            command = [sys.executable, "-m", "bdistil", "search", *given]
            command += [MIXED if kind == "mixed" else f"space.student={kind}", "--out", out]
            print(*command, flush=True)
            subprocess.run([str(word) for word in command], check=True)


def tell(args: argparse.Namespace) -> None:
    rows = []
    for name, kinds in CLASSES.items():
        for kind in kinds:
            for run in sorted(args.work.glob(f"{name}-{kind}-*%")):
                found = json.loads((run / "evaluation.json").read_text())
                teacher = found["teacher"]
                for number, stage in enumerate(found["stages"], start=1):
                    rows.append(
                        {
                            "photographs": name,
                            "student": kind,
                            "within": run.name.rpartition("-")[2],
                            "teacher": teacher["metric"],
                            "stage": number,
                            "test": stage["metric"],
                            "flops": stage["flops"],
                            "flops_ratio": stage["flops"] / teacher["flops"],
                            "latency_ratio": stage["latency_ratio"],
                        }
                    )
    with (HERE / "stages.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    for row in rows:
        print(*(f"{each:.3f}" if isinstance(each, float) else each for each in row.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("play", "tell"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--most", default="50%")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    {"play": play, "tell": tell}[args.what](args)


if __name__ == "__main__":
    main()
