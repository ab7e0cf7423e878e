# ruff: noqa: D103
"""Stages and rivals of recordings by onnxruntime's clock, each speaker in turn.

    python clock.py --work WORK --runs run --out clock.csv [--name=RUNS ...]

WORK/RUNS-0, WORK/RUNS-1, ... are searches of `run.py`; `--name=RUNS` names the searches of a rival
of one round, such as `--single=single`. The teacher and the teacher in 8 bits stand beside them.
Quiet machine, please: ten seconds of readings a speaker and batch size.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "2026-11-29-clock"))
from models import Model, probabilities_of
from rivals import int8_of
from run import data_of, our_stages
from timing import seconds_of

BATCHES = (1, 64)


def export(run: Path, out: Path, *words: str) -> None:
    if not (out / "onnx").exists():
        command = ["export", str(run), "--onnx", "--out", str(out), *words]
        subprocess.run([sys.executable, "-m", "bdistil", *command], check=True)


def models_of(folder: Path, run: Path, rivals: dict[str, Path], rows: np.ndarray) -> list[Model]:
    """Every graph of a speaker, below `folder`."""
    if not (folder / "run").exists():
        (folder / "run").symlink_to(run)
    export(run, folder / "export", "--with-teacher")
    shutil.copy(folder / "export" / "teacher" / "teacher.onnx", folder)
    teacher = Model("teacher", "teacher", "teacher.onnx")
    found = [*our_stages(folder), teacher, int8_of(teacher, rows, folder, "teacher in 8 bits")]
    for name, rival in rivals.items():
        export(rival, folder / name)
        found.append(Model(name, "rival", f"{name}/onnx/prefix_1.onnx"))
    return found


def rows_of(speaker: int, args: argparse.Namespace) -> list[dict]:
    run = args.work / f"{args.runs}-{speaker}"
    folder = args.work / "clock" / f"{args.runs}-{speaker}"
    folder.mkdir(parents=True, exist_ok=True)
    _, dataset = data_of(run)
    rivals = {name: args.work / f"{runs}-{speaker}" for name, runs in args.rivals.items()}
    models = models_of(folder, run, rivals, dataset.validation.x)
    seconds = {batch: seconds_of(models, folder, dataset.test.x, batch) for batch in BATCHES}

    def accuracy(model: Model, split: str) -> float:
        part = getattr(dataset, split)
        return float((probabilities_of(model, folder, part.x).argmax(1) == part.y).mean())

    return [
        {
            "speaker": speaker + 1,
            "model": model.name,
            "test": round(accuracy(model, "test"), 4),
            "validation": round(accuracy(model, "validation"), 4),
            "time_ratio": round(seconds[1][model.name] / seconds[1]["teacher"], 4),
            "time_ratio_64": round(seconds[64][model.name] / seconds[64]["teacher"], 4),
            "microseconds": round(1e6 * seconds[1][model.name], 1),
        }
        for model in models
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--runs", default="run")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--speakers", type=int, nargs="+", default=list(range(6)))
    args, rest = parser.parse_known_args()
    args.work = args.work.resolve()
    args.rivals = dict(word.removeprefix("--").split("=", 1) for word in rest)
    found = [row for speaker in args.speakers for row in rows_of(speaker, args)]
    with args.out.open("w", newline="") as file:
        table = csv.DictWriter(file, found[0], lineterminator="\n")
        table.writeheader()
        table.writerows(found)


if __name__ == "__main__":
    main()
