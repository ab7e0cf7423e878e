# ruff: noqa: D103
"""Views on against off: the same rows, candidates, epochs and seeds.

    python run.py play --sets cifar spoken --data DATA --weights WEIGHTS --work WORK
    python run.py tell --work WORK

DATA holds `cifar10_jpeg/train.parquet` and `test.parquet` (the hub's form), `spoken_digits.parquet`
(audio, label, speaker), `fashion-mnist/` (the publisher's files) and `BasicMotions/` (two .ts
files); WEIGHTS is a ResNet-56's safetensors (examples/cifar_resnet.py). `play` skips what WORK
holds and resumes what it began; `tell` writes stages.csv and a table.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
SEEDS = {"cifar": 3, "fashion": 3, "fashion_all": 1, "motions": 6, "spoken": 6}
PER_CLASS = {"train": 900, "validation": 200, "test": 400}
COMMON = ["search.select=best", "workers.count=0"]
VIEWS = {
    "cifar": "{copies: 6, crop: 4, flip: true}",
    "fashion": "{copies: 6, crop: 2, flip: true}",
    "fashion_all": "{copies: 6, crop: 2, flip: true}",
    "motions": "{copies: 6, shift: 8, time_mask: 0.2, feature_mask: 0.25, noise: 0.1}",
    "spoken": "{copies: 6, shift: 8, time_mask: 0.2, feature_mask: 0.25, noise: 0.1}",
}


def write(frame, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    frame.to_parquet(partial)
    partial.replace(target)


def photographs(data: Path, target: Path) -> None:
    """The teacher has trained on all rows of train.parquet but each tenth of a class."""
    import pandas as pd

    source = data / "cifar10_jpeg"
    frames = {name: pd.read_parquet(source / f"{name}.parquet") for name in ("train", "test")}
    train, number = frames["train"], frames["train"].groupby("label").cumcount()
    held = number % 10 == 9
    chosen = {"train": train[~held], "validation": train[held], "test": frames["test"]}
    parts = [
        frame[frame.groupby("label").cumcount() < PER_CLASS[part]].assign(part=part)
        for part, frame in chosen.items()
    ]
    write(pd.concat(parts, ignore_index=True), target)


def recordings(data: Path, target: Path, fold: int) -> None:
    """Four speakers to train on, one to choose by and one for the figures, each in turn."""
    import pandas as pd

    frame = pd.read_parquet(data / "spoken_digits.parquet")
    speakers = sorted(frame["speaker"].unique())
    pair = speakers[2 * (fold % 3) :][:2]
    test, validation = pair if fold < 3 else reversed(pair)
    parts = {test: "test", validation: "validation"}
    write(
        frame.assign(part=frame["speaker"].map(parts).fillna("train")).drop(columns="speaker"),
        target,
    )


def overrides_of(args: argparse.Namespace, name: str, seed: int) -> list[str]:
    if name == "cifar":
        path = args.work / "photographs.parquet"
        if not path.exists():
            photographs(args.data, path)
        return [
            f"data.path={path}",
            "data.split=part",
            f"teacher.model={EXAMPLES / 'cifar_resnet.py'}:resnet56",
            f"teacher.weights={args.weights}",
            "teacher.inputs=raw",
            "space={student: separable, ladder: [12], growth: 2, epochs: 15}",
            "search={rounds: 4, tries_per_class: 3, select: best}",
        ]
    if name == "fashion":
        root = args.data / "fashion-mnist"
        return [
            "data.name=fashion_mnist",
            f"data.options={{root: {root}, examples: 4000}}",
            "teacher={model: resnet, epochs: 15, options: {channels: [16, 32], blocks: 1}}",
            "space={student: convnet, ladder: [4], growth: 2, epochs: 24}",
            "search={rounds: 4, tries_per_class: 3, select: best}",
        ]
    if name == "fashion_all":
        return [
            "data.name=fashion_mnist",
            f"data.options={{root: {args.data / 'fashion-mnist'}}}",
            "teacher={model: resnet, epochs: 6, options: {channels: [16, 32], blocks: 1}}",
            "space={student: convnet, ladder: [4], growth: 2, epochs: 6}",
            "search={rounds: 4, tries_per_class: 3, select: best, precision: bf16}",
        ]
    if name == "motions":
        return [
            "data.name=basic_motions",
            f"data.options={{root: {args.data / 'BasicMotions'}}}",
            "teacher={model: cnn1d, epochs: 100, batch_size: 16, weight_decay: 0.01}",
            "space={student: cnn1d, ladder: [4], growth: 2, epochs: 200, batch_size: 16}",
            "search={rounds: 4, tries_per_class: 3, select: best}",
        ]
    path = args.work / f"recordings-{seed}.parquet"
    if not path.exists():
        recordings(args.data, path, seed)
    return [
        f"data.path={path}",
        "data.split=part",
        "teacher={model: cnn1d, epochs: 40}",
        "space={student: cnn1d, ladder: [4], growth: 2, epochs: 40}",
        "search={rounds: 4, tries_per_class: 3, select: best}",
    ]


def play(args: argparse.Namespace) -> None:
    import bdistil
    from bdistil.spec import load_spec

    for name in args.sets:
        for seed in range(SEEDS[name]):
            for arm in ("on", "off"):
                record = args.work / "records" / f"{name}-{seed}-{arm}.json"
                if record.exists():
                    continue
                began = time.monotonic()
                views = VIEWS[name] if arm == "on" else "false"
                own = [f"seed={seed}", *overrides_of(args, name, seed), *COMMON]
                spec = load_spec({"name": "views"}, [*own, f"data.views={views}"])
                run = bdistil.search(spec, args.work / f"{name}-{seed}-{arm}")
                figures = run.evaluation
                rows = [
                    {
                        "set": name,
                        "seed": seed,
                        "views": arm,
                        "stage": stage.stage,
                        "recipe": row.result.request.params["recipe"],
                        "width": row.student.width,
                        "validation": row.result.metric,
                        "test": stage.metric,
                        "flops": stage.flops,
                        "teacher_test": figures.teacher.metric,
                        "teacher_flops": figures.teacher.flops,
                        "seconds": row.result.seconds,
                    }
                    for stage, row in zip(figures.stages, run.rounds, strict=True)
                ]
                record.parent.mkdir(exist_ok=True)
                record.write_text(json.dumps(rows))
                curve = " ".join(f"{row['test']:.4f}" for row in rows)
                spent = time.monotonic() - began
                print(f"{name}, seed {seed}, {arm}: {curve}; {spent:.0f} s", flush=True)


def tell(args: argparse.Namespace) -> None:
    files = sorted((args.work / "records").glob("*.json"))
    rows = [row for file in files for row in json.loads(file.read_text())]
    with (HERE / "stages.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    print("| data | on minus off: area | last stage |")
    print("|---|---|---|")
    for name in VIEWS:
        print(f"| {name} | {difference(rows, name, area)} | {difference(rows, name, at_last)} |")
    print("\n| data | views | teacher | stage 1 | last stage | last stage by seed |")
    print("|---|---|---|---|---|---|")
    for name in VIEWS:
        for arm in ("off", "on"):
            own = [row for row in rows if (row["set"], row["views"]) == (name, arm)]
            if own:
                print(f"| {name} | {arm} | {line(own)} |")


def line(rows: list[dict]) -> str:
    """Means over seeds; a search that ended before has its last stage."""
    seeds = sorted({row["seed"] for row in rows})
    curves = [[row["test"] for row in rows if row["seed"] == seed] for seed in seeds]
    teacher = statistics.mean(
        next(row["teacher_test"] for row in rows if row["seed"] == seed) for seed in seeds
    )
    first, last = (statistics.mean(curve[at] for curve in curves) for at in (0, -1))
    told = " ".join(f"{curve[-1]:.3f}" for curve in curves)
    return f"{teacher:.3f} | {first:.3f} | {last:.3f} | {told}"


def area(curve: list[dict], dearest: float) -> float:
    """Mean accuracy over the logarithm of FLOPs; after its last stage a curve stays level."""
    costs = [math.log(row["flops"]) for row in curve] + [math.log(dearest)]
    widths = [later - before for before, later in itertools.pairwise(costs)]
    parts = [width * row["test"] for width, row in zip(widths, curve, strict=True)]
    return sum(parts) / sum(widths) if sum(widths) else curve[-1]["test"]


def at_last(curve: list[dict], dearest: float) -> float:
    return curve[-1]["test"]


def difference(rows: list[dict], name: str, figure: Callable[[list[dict], float], float]) -> str:
    """In points, with a 95% t interval over pairs of seeds where there are three or more."""
    from scipy.stats import t

    own = [row for row in rows if row["set"] == name]
    points = []
    for seed in sorted({row["seed"] for row in own}):
        arms = [
            [row for row in own if (row["seed"], row["views"]) == (seed, arm)]
            for arm in ("on", "off")
        ]
        if all(arms):
            dearest = max(curve[-1]["flops"] for curve in arms)
            on, off = (figure(curve, dearest) for curve in arms)
            points.append(100 * (on - off))
    if not points:
        return "-"
    mean = statistics.mean(points)
    if len(points) < 3:
        return f"{mean:+.1f}"
    half = t.ppf(0.975, len(points) - 1) * statistics.stdev(points) / math.sqrt(len(points))
    return f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["play", "tell"])
    parser.add_argument("--sets", nargs="+", choices=VIEWS, default=list(VIEWS))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--weights", type=Path)
    args = parser.parse_args()
    args.work, args.data = args.work.resolve(), args.data.resolve()
    play(args) if args.what == "play" else tell(args)


if __name__ == "__main__":
    main()
