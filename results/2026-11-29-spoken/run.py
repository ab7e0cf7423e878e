# ruff: noqa: D103
"""Spoken digits by speakers that nobody trained on: the shortest command, each speaker in turn.

    python run.py play --data spoken_digits.parquet --work WORK
    python run.py tell --work WORK

The file has the columns `audio` (structs of bytes and path), `label` and `speaker`. `play` skips
what WORK holds and resumes what it began; `tell` writes stages.csv, heard.csv and two tables.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FOLDS = range(6)


def table_of(data: Path, work: Path, fold: int) -> Path:
    """One speaker for the figures, the next one to choose by, four to train on."""
    import pandas as pd

    target = work / f"speaker-{fold}.parquet"
    if not target.exists():
        frame = pd.read_parquet(data)
        speakers = sorted(frame["speaker"].unique())
        parts = {speakers[fold]: "test", speakers[(fold + 1) % len(speakers)]: "validation"}
        part = frame["speaker"].map(parts).fillna("train")
        partial = target.with_suffix(".partial")
        frame.assign(part=part).to_parquet(partial)
        partial.replace(target)
    return target


def play(args: argparse.Namespace) -> None:
    args.work.mkdir(parents=True, exist_ok=True)
    for fold in FOLDS:
        out = args.work / f"run-{fold}"
        if (out / "evaluation.json").exists():
            continue
        table = table_of(args.data, args.work, fold)
        asked = [
            "search",
            "--data",
            str(table),
            "data.split=part",
            "data.group=speaker",
            *args.words,
            "--out",
            str(out),
        ]
        subprocess.run([sys.executable, "-m", "bdistil", *asked], check=True)


def tell(args: argparse.Namespace) -> None:
    from bdistil.searching.result import SearchResult

    stages, heard = [], []
    for fold in FOLDS:
        result = SearchResult.of(args.work / f"run-{fold}")
        figures = result.evaluation
        for stage, record in zip(figures.stages, result.rounds, strict=True):
            stages.append(
                {
                    "speaker": fold,
                    "stage": stage.stage,
                    "student": f"{record.student.kind}-{record.student.width}",
                    "recipe": record.result.request.params["recipe"],
                    "views": record.result.request.params.get("views"),
                    "test": stage.metric,
                    "teacher_test": figures.teacher.metric,
                    "flops_ratio": stage.flops_fraction,
                    "time_ratio": stage.latency_ratio,
                }
            )
        heard += [
            {
                "speaker": fold,
                "fraction": point.fraction,
                "first": point.stages[0],
                "last": point.stages[-1],
                "teacher": point.teacher,
            }
            for point in result.early_points
        ]
    for name, rows in (("stages", stages), ("heard", heard)):
        with (HERE / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    print_folds(stages)
    print_heard(heard)


def print_folds(rows: list[dict]) -> None:
    print("| speaker | teacher | first stage | of its FLOPs | last stage (number) | of teacher |")
    print("|---|---|---|---|---|---|")
    firsts, lasts = [], []
    for fold in FOLDS:
        own = [row for row in rows if row["speaker"] == fold]
        firsts.append(own[0])
        lasts.append(own[-1])
        print(f"| {fold + 1} | {line(own[:1], own[-1:])} |")
    print(f"| mean | {line(firsts, lasts)} |")


def line(firsts: list[dict], lasts: list[dict]) -> str:
    def mean(rows: list[dict], key: str) -> float:
        return statistics.mean(row[key] for row in rows)

    teacher, first, last = (
        mean(lasts, "teacher_test"),
        mean(firsts, "test"),
        mean(lasts, "test"),
    )
    return (
        f"{teacher:.3f} | {first:.3f} | {mean(firsts, 'flops_ratio'):.1%} | {last:.3f} "
        f"({mean(lasts, 'stage'):.2g}), {mean(lasts, 'flops_ratio'):.1%} of its FLOPs, "
        f"{mean(lasts, 'time_ratio'):.2f} of its time | {last / teacher:.1%}"
    )


def print_heard(rows: list[dict]) -> None:
    print("\n| heard | first stage | last stage | teacher |")
    print("|---|---|---|---|")
    for fraction in sorted({row["fraction"] for row in rows}):
        own = [row for row in rows if row["fraction"] == fraction]
        means = (statistics.mean(row[key] for row in own) for key in ("first", "last", "teacher"))
        print(f"| {fraction:.0%} | {' | '.join(f'{mean:.3f}' for mean in means)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["play", "tell"])
    parser.add_argument("words", nargs="*", help="further words of the command")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("spoken_digits.parquet"))
    args = parser.parse_args()
    args.work, args.data = args.work.resolve(), args.data.resolve()
    play(args) if args.what == "play" else tell(args)


if __name__ == "__main__":
    main()
