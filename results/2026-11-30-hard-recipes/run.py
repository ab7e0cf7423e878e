# ruff: noqa: D103
"""Photographs again, fresh seeds: the search against its rivals, and which recipes compete.

    python run.py play --data DATA --weights WEIGHTS --work WORK
    python run.py tell --work WORK

DATA and WEIGHTS are those of ../2026-11-28-hard-data/run.py, which also makes the rows. `play` goes
on with what WORK holds; `tell` writes stages.csv.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "2026-11-28-hard-data"))
from run import EXAMPLES, prepare  # noqa: E402

SEEDS = ("--first-seed", "4", "--seeds", "4")
LISTS = {
    "all compete, auxiliary too (auto)": "[accurate,faithful,paper,auxiliary]",
    "accurate, paper, auxiliary": "[accurate,paper,auxiliary]",
    "auxiliary alone": "auxiliary",
    "accurate, faithful, paper": "[accurate,faithful,paper]",
}
SPEC = """
name: hard
data: {{path: {rows}, split: part}}
teacher: {{model: "{model}:resnet56", weights: {weights}, inputs: raw}}
space:
  recipe: [accurate, faithful, paper]
  student: convnet
  ladder: [6]
  growth: 2
  epochs: 15
  lr: {{low: 0.003, high: 0.03, log: true}}
search: {{rounds: 4, select: best, tries_per_class: 4}}
workers: {{count: 0}}
"""


def call(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "bdistil", *map(str, words)], check=True)


def play(args: argparse.Namespace) -> None:
    rows, spec = args.work / "photographs.parquet", args.work / "hard.yaml"
    if not rows.exists():
        prepare(args.data, rows)
    model = (EXAMPLES / "cifar_resnet.py").resolve()
    spec.write_text(SPEC.format(rows=rows, model=model, weights=args.weights.resolve()))
    methods = ("--method", "average", "--method", "boosting")
    call("compare", spec, *SEEDS, *methods, "--out", args.work / "rivals")
    cells = [word for recipes in LISTS.values() for word in ("--cell", f"space.recipe={recipes}")]
    call("ablate", spec, *SEEDS, *cells, "--out", args.work / "recipes")


def tell(args: argparse.Namespace) -> None:
    import pandas as pd

    names = {recipes.strip("[]"): name for name, recipes in LISTS.items()}
    found = []
    for folder, column in (("rivals", "method"), ("recipes", "recipe")):
        for file in sorted(args.work.glob(f"{folder}*/curves.parquet")):
            for row in pd.read_parquet(file).to_dict("records"):
                arm = str(row[column])
                arm = names.get("".join(c for c in arm if c.isalpha() or c == ","), arm)
                found.append([arm, row["seed"], row["stage"], row["metric"], row["flops_share"]])
    write(found)


def write(found: list[list[object]]) -> None:
    with (HERE / "stages.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["method", "seed", "stage", "test", "flops_share"])
        table.writerows(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("play", "tell"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    args.work = args.work.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    {"play": play, "tell": tell}[args.what](args)


if __name__ == "__main__":
    main()
