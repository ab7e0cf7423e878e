# ruff: noqa: D103
"""Where students are far from their teacher: each recipe alone, and all of them competing.

    python run.py play --data DATA --weights WEIGHTS --work WORK
    python run.py tell --work WORK

DATA holds CIFAR-10 (JPEG) as `train.parquet` and `test.parquet` of the hub's form, WEIGHTS is a
ResNet-56's safetensors (examples/cifar_resnet.py). `play` skips what WORK holds and resumes what it
began; `tell` writes stages.csv and a table.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import time
from pathlib import Path

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
SEEDS = range(3)
PER_CLASS = {"train": 900, "validation": 200, "test": 400}
ARMS = {
    "paper alone": "paper",
    "accurate alone": "accurate",
    "all compete (default)": "[accurate, faithful, paper]",
}


def prepare(data: Path, target: Path) -> None:
    """The teacher has trained on all rows of train.parquet but each tenth of a class."""
    import pandas as pd

    frames = {name: pd.read_parquet(data / f"{name}.parquet") for name in ("train", "test")}
    train, number = frames["train"], frames["train"].groupby("label").cumcount()
    held = number % 10 == 9
    chosen = {"train": train[~held], "validation": train[held], "test": frames["test"]}
    parts = [
        frame[frame.groupby("label").cumcount() < PER_CLASS[part]].assign(part=part)
        for part, frame in chosen.items()
    ]
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    pd.concat(parts, ignore_index=True).to_parquet(partial)
    partial.replace(target)


def spec_of(args: argparse.Namespace, seed: int, recipe: str):
    from bdistil.spec import load_spec

    overrides = [
        f"seed={seed}",
        f"data.path={args.work / 'photographs.parquet'}",
        "data.split=part",
        f"teacher.model={EXAMPLES / 'cifar_resnet.py'}:resnet56",
        f"teacher.weights={args.weights}",
        "teacher.inputs=raw",
        f"space.recipe={recipe}",
        "space.student=convnet",
        "space.ladder=[6]",
        "space.growth=2",
        "space.epochs=15",
        "space.lr={low: 0.003, high: 0.03, log: true}",
        "search.rounds=4",
        "search.select=best",
        "search.tries_per_class=4",
        "workers.count=0",
    ]
    return load_spec({"name": "hard"}, overrides)


def play(args: argparse.Namespace) -> None:
    import bdistil

    photographs = args.work / "photographs.parquet"
    if not photographs.exists():
        prepare(args.data, photographs)
    for seed in SEEDS:
        for arm, recipe in ARMS.items():
            record = args.work / "records" / f"{seed}-{arm.split()[0]}.json"
            if record.exists():
                continue
            began = time.monotonic()
            run = bdistil.search(
                spec_of(args, seed, recipe), args.work / f"{seed}-{arm.split()[0]}"
            )
            figures, rounds = run.evaluation, run.rounds
            rows = [
                {
                    "seed": seed,
                    "arm": arm,
                    "stage": stage.stage,
                    "recipe": row.result.request.params["recipe"],
                    "connection": row.student.connection,
                    "skip": row.student.skip,
                    "width": row.student.width,
                    "weak": row.result.weak,
                    "validation": row.result.metric,
                    "test": stage.metric,
                    "flops": stage.flops,
                    "teacher_test": figures.teacher.metric,
                    "teacher_flops": figures.teacher.flops,
                }
                for stage, row in zip(figures.stages, rounds, strict=True)
            ]
            record.parent.mkdir(exist_ok=True)
            record.write_text(json.dumps(rows))
            curve = " ".join(f"{row['test']:.4f}" for row in rows)
            print(f"{arm}, seed {seed}: {curve}; {time.monotonic() - began:.0f} s", flush=True)


def tell(args: argparse.Namespace) -> None:
    files = sorted((args.work / "records").glob("*.json"))
    rows = [row for file in files for row in json.loads(file.read_text())]
    with (HERE / "stages.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    print("| recipe | stage 1 | 2 | 3 | 4 | last stage by seed |\n|---|---|---|---|---|---|")
    for arm in ARMS:
        own = [row for row in rows if row["arm"] == arm]
        means = [
            statistics.mean(reached(own, seed, stage) for seed in SEEDS) for stage in range(1, 5)
        ]
        last = " ".join(f"{reached(own, seed, 4):.3f}" for seed in SEEDS)
        print(f"| {arm} | {' | '.join(f'{mean:.3f}' for mean in means)} | {last} |")


def reached(rows: list[dict], seed: int, stage: int) -> float:
    """Test accuracy at a stage; a search that ended before has its last."""
    return [row["test"] for row in rows if row["seed"] == seed and row["stage"] <= stage][-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["play", "tell"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--weights", type=Path)
    args = parser.parse_args()
    args.work = args.work.resolve()
    play(args) if args.what == "play" else tell(args)


if __name__ == "__main__":
    main()
