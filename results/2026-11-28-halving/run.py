# ruff: noqa: D103
"""Successive halving on against off: the same teacher, candidates and seeds.

    python run.py play --data DATA --work WORK
    python run.py tell --work WORK

DATA holds `penbased.parquet`. Arms: `off` trains each of four candidates a class to its end, `on`
cuts them (`search.pruner: halving`), `fewer` trains two to their end, which costs about as much as
`on`. `play` skips what WORK holds; `tell` writes stages.csv and a table.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
from pathlib import Path

from bdistil.experiments.statistics import area, budgets_of

HERE = Path(__file__).parent
SEEDS = range(3)
ARMS = {
    "off": ["search.tries_per_class=4"],
    "on": ["search.tries_per_class=4", "search.pruner=halving"],
    "fewer": ["search.tries_per_class=2"],
}
COMMON = [
    "space.connection=[dense, residual]",
    "space.gamma={low: 3, high: 30, log: true}",
    "space.lr={low: 0.002, high: 0.08, log: true}",
    "space.growth=1.5",
    "search.rounds=4",
    "workers.count=0",
]


def overrides_of(name: str, data: Path) -> list[str]:
    if name == "digits":
        return [
            "data.name=digits",
            "teacher={model: mlp, options: {widths: [256, 128], dropout: 0.4}}",
            "space.ladder=[5, 7]",
        ]
    return [
        f"data={{path: {data / 'penbased.parquet'}, label: label}}",
        "teacher={model: mlp, options: {widths: [256, 128], dropout: 0.1}, epochs: 20}",
        "space.ladder=[8, 12]",
        "space.epochs=24",
    ]


def play(args: argparse.Namespace) -> None:
    from bdistil.searching.local import LocalBackend
    from bdistil.searching.run import run_search
    from bdistil.spec import load_spec

    for seed in SEEDS:
        for name in args.sets:
            teacher = None
            for arm, own in ARMS.items():
                out = args.work / f"{name}-{seed}-{arm}"
                record = args.work / "records" / f"{out.name}.json"
                if not record.exists():
                    overrides = [f"seed={seed}", *overrides_of(name, args.data), *COMMON, *own]
                    spec = load_spec({"name": "halving"}, overrides)
                    run = run_search(spec, out, LocalBackend(), teacher_dir=teacher)
                    record.parent.mkdir(exist_ok=True)
                    record.write_text(json.dumps(rows_of(run, name, seed, arm)))
                    print(out.name, [r["test"] for r in json.loads(record.read_text())], flush=True)
                teacher = teacher or out


def rows_of(run, name: str, seed: int, arm: str) -> list[dict]:
    rounds = zip(run.evaluation.stages, run.rounds, strict=True)
    rows = [
        {
            "set": name,
            "seed": seed,
            "arm": arm,
            "stage": stage.stage,
            "width": record.student.width,
            "rung": record.result.request.rung,
            "validation": record.result.metric,
            "test": stage.metric,
            "flops": stage.flops,
            "trials": len(record.compared),
            "cut": len(record.cut),
            "epochs": sum(trial.epochs for trial in record.compared),
            "teacher_test": run.evaluation.teacher.metric,
        }
        for stage, record in rounds
    ]
    if run.ended is not None:  # what the round without a student cost belongs to the search
        last = (*run.ended.trials, *run.ended.cut)
        rows[-1]["epochs"] += sum(trial.epochs for trial in last)
    return rows


def tell(args: argparse.Namespace) -> None:
    files = sorted((args.work / "records").glob("*.json"))
    rows = [row for file in files for row in json.loads(file.read_text())]
    with (HERE / "stages.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    print("| data | arm | epochs | of off's | area | area − off's, by seed | mean, 95% interval |")
    print("|---|---|---|---|---|---|---|")
    for name in sorted({row["set"] for row in rows}):
        own = [row for row in rows if row["set"] == name]
        for arm in ARMS:
            print(f"| {name} | {arm} | {line(own, arm)} |")


def line(rows: list[dict], arm: str) -> str:
    seeds = sorted({row["seed"] for row in rows if row["arm"] == arm})
    areas: dict[str, list[float]] = {name: [] for name in ARMS}
    for seed in seeds:
        curves = {
            name: [(r["flops"], r["test"]) for r in rows if (r["seed"], r["arm"]) == (seed, name)]
            for name in ARMS
        }
        budgets = budgets_of([curve for curve in curves.values() if curve])
        for name, curve in curves.items():
            areas[name].append(area(curve, budgets) if curve else float("nan"))
    epochs = {
        name: sum(r["epochs"] for r in rows if r["arm"] == name and r["seed"] in seeds)
        for name in (arm, "off")
    }
    differences = [ours - theirs for ours, theirs in zip(areas[arm], areas["off"], strict=True)]
    mean, half = statistics.mean(differences), 0.0
    if len(differences) > 1:
        from scipy import stats

        error = statistics.stdev(differences) / len(differences) ** 0.5
        half = stats.t.ppf(0.975, len(differences) - 1) * error
    told = " ".join(f"{each:+.4f}" for each in differences)
    share = epochs[arm] / epochs["off"]
    where = statistics.mean(areas[arm])
    return f"{epochs[arm]:,} | {share:.0%} | {where:.4f} | {told} | {mean:+.4f} ± {half:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["play", "tell"])
    parser.add_argument("--sets", nargs="+", default=["digits", "penbased"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("data"))
    args = parser.parse_args()
    args.work, args.data = args.work.resolve(), args.data.resolve()
    play(args) if args.what == "play" else tell(args)


if __name__ == "__main__":
    main()
