# ruff: noqa: D103
"""The shortest command on five tables: `bdistil search --data FILE --label label`.

    python run.py play --data DATA --work WORK
    python run.py tell --work WORK

DATA holds `penbased.parquet` and `magic.parquet` (UCI; features and `label`); the other three are
made here. `play` skips what WORK holds; `tell` writes stages.csv and a table.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TABLES = ("penbased", "magic", "digits", "cancer", "hundred")


def table_of(name: str, data: Path, work: Path) -> Path:
    import pandas as pd
    from sklearn.datasets import load_breast_cancer, load_digits, make_classification

    if name in ("penbased", "magic"):
        return data / f"{name}.parquet"
    if name == "digits":
        digits = load_digits()
        frame = pd.DataFrame(digits.data, columns=[f"p{i}" for i in range(64)])
        frame["label"] = digits.target
    elif name == "cancer":
        frame = load_breast_cancer(as_frame=True).frame.rename(columns={"target": "label"})
    else:
        x, y = make_classification(
            20_000,
            40,
            n_informative=20,
            n_redundant=10,
            n_classes=100,
            n_clusters_per_class=1,
            class_sep=2,
            random_state=7,
        )
        frame = pd.DataFrame(x, columns=[f"f{i}" for i in range(40)])
        frame["label"] = [f"class{value:02d}" for value in y]
    path = work / f"{name}.csv"
    frame.to_csv(path, index=False)
    return path


def play(args: argparse.Namespace) -> None:
    for name in TABLES:
        out = args.work / name
        if (out / "evaluation.json").exists():
            continue
        table = table_of(name, args.data, args.work)
        command = [sys.executable, "-m", "bdistil", "search", "--data", table, "--label", "label"]
        subprocess.run([*map(str, command), "--out", str(out)], check=True)


def tell(args: argparse.Namespace) -> None:
    rows = []
    print("| table | teacher | first stage | last stage | of teacher | of its FLOPs | time |")
    print("|---|---|---|---|---|---|---|")
    for name in TABLES:
        found = json.loads((args.work / name / "evaluation.json").read_text())
        teacher, stages = found["teacher"], found["stages"]
        rows += [
            {
                "table": name,
                "test_examples": found["examples"],
                "teacher": teacher["metric"],
                "teacher_flops": teacher["flops"],
                "stage": stage["stage"],
                "test": stage["metric"],
                "flops": stage["flops"],
                "latency_ratio": stage["latency_ratio"],
            }
            for stage in stages
        ]
        first, last = stages[0], stages[-1]
        print(
            f"| {name} | {teacher['metric']:.4f} | {first['metric']:.4f} | {last['metric']:.4f} "
            f"({len(stages)}) | {last['metric'] / teacher['metric']:.1%} "
            f"| {last['flops'] / teacher['flops']:.1%} | {last['latency_ratio']:.2f} |"
        )
    with (HERE / "stages.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["play", "tell"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("data"))
    args = parser.parse_args()
    args.work = args.work.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    play(args) if args.what == "play" else tell(args)


if __name__ == "__main__":
    main()
