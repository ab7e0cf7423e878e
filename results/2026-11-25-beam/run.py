# ruff: noqa: D102, D103, E501
"""Does `search.beam` earn its place? A beam of 2 against `select: best` at as many trials.

    BDISTIL_DATA=DATA python run.py play --spaces search_spaces --data DATA --work WORK
    python run.py tell --work WORK

DATA holds `penbased.parquet` and `JapaneseVowels/*.ts` (docs/data.md). `play` skips what WORK already
holds; a run that was cut off starts anew, so that its trials and seconds are whole. `tell` writes
raw.csv (a row a run), stages.csv (a row a stage of a branch) and summary.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import time
from pathlib import Path

HERE = Path(__file__).parent
SEEDS = range(5)
ROUNDS = 5
EPOCHS = {"digits": 80, "penbased": 30, "cube": 60, "japanese_vowels": 80}
K = 5
# A beam of 2 has one branch in round 1: K (2 ROUNDS - 1) = 45 trials, which 9 a round match exactly.
ARMS = {
    "beam": {"beam": 2, "trials_per_round": K, "tries_per_class": K},
    "best": {"beam": 1, "trials_per_round": 9, "tries_per_class": 9},
}


def spec_of(args: argparse.Namespace, name: str, seed: int, arm: str):
    from bdistil.spec import load_spec

    search = {"rounds": ROUNDS, "select": "best", "cohort": 1} | ARMS[arm]
    overrides = [f"search.{key}={value}" for key, value in search.items()]
    overrides += [
        f"seed={seed}",
        "workers.count=0",
        f"space.epochs={EPOCHS[name]}",
        "space.connection=[dense, none, residual]",
    ]
    if name == "penbased":
        overrides.append(f"data.path={args.data / 'penbased.parquet'}")
    return load_spec(args.spaces / f"{name}.yaml", overrides)


class Counter:
    """Every trial that a workbench is asked to train, of branches that survive or not."""

    def __init__(self) -> None:
        from bdistil.distributed.workbench import Workbench

        self.asked, self.finished, self.weak, self.params = 0, 0, 0, []
        run = Workbench.run

        def counted(bench, cohort, should_stop):
            outcomes = run(bench, cohort, should_stop)
            self.asked += len(cohort.requests)
            results = [each.result if hasattr(each, "result") else each[0] for each in outcomes]
            self.finished += sum(each.status == "finished" for each in results)
            self.weak += sum(each.weak for each in results)
            return outcomes

        Workbench.run = counted

    def restart(self) -> None:
        self.asked = self.finished = self.weak = 0


def play(args: argparse.Namespace) -> None:
    from bdistil.distributed.outcome import evaluation
    from bdistil.distributed.run import run_search, teach
    from bdistil.distributed.run_directory import RunDirectory
    from bdistil.study.pareto import branches_too, front, points_of

    import bdistil

    print("bdistil from", bdistil.__file__, flush=True)
    counter = Counter()
    for seed in SEEDS:
        for name in EPOCHS:
            teacher = args.work / "teachers" / f"{name}-{seed}"
            arms = list(ARMS) if (seed + list(EPOCHS).index(name)) % 2 else list(ARMS)[::-1]
            for arm in arms:
                record = args.work / "records" / f"{name}-{seed}-{arm}.json"
                if record.exists():
                    continue
                if not (teacher / "done").exists():
                    shutil.rmtree(teacher, ignore_errors=True)
                    teach(spec_of(args, name, seed, "best"), teacher)
                    (teacher / "done").touch()
                out = args.work / "runs" / f"{name}-{seed}-{arm}"
                shutil.rmtree(out, ignore_errors=True)
                counter.restart()
                began, cpu = time.monotonic(), time.process_time()
                run = run_search(spec_of(args, name, seed, arm), out, teacher_dir=teacher)
                seconds, cpu = time.monotonic() - began, time.process_time() - cpu
                asked, finished, weak = counter.asked, counter.finished, counter.weak
                branches = [RunDirectory(each) for each in branches_too(run.path)]
                journals = [each.journal.read() for each in branches]
                recorded = {  # a trial's result is in both branches' journals where they share a round
                    trial.model_dump_json()
                    for journal in journals
                    for row in journal
                    for trial in row.trials
                }
                points = points_of([run.path])
                chosen = front(points)
                kept = {(p.run, p.stage) for p in chosen}
                order = {each.path: i for i, each in enumerate(branches)}
                own = evaluation(run)
                shared = [
                    j
                    for j in range(ROUNDS)
                    if len({tuple(r.sha256 for r in journal[: j + 1]) for journal in journals}) == 1
                ]
                result = {
                    "data": name,
                    "seed": seed,
                    "arm": arm,
                    "trials": asked,
                    "finished": finished,
                    "weak": weak,
                    "trials_in_surviving_journals": len(recorded),
                    "seconds": round(seconds, 2),
                    "cpu_seconds": round(cpu, 2),
                    "teacher_test": own.teacher.metric,
                    "teacher_flops": own.teacher.flops,
                    "last_validation": run.journal.read()[-1].result.metric,
                    "last_test": own.stages[-1].metric,
                    "last_flops": own.stages[-1].flops,
                    "branches": len(branches),
                    "common_stages": len(shared),
                    "front_points": len(chosen),
                    "front_points_of_other_branches": sum(order[p.run] > 0 for p in chosen),
                    "stages": [
                        {
                            "branch": order[p.run],
                            "stage": p.stage,
                            "flops": p.flops,
                            "share": p.flops_fraction,
                            "validation": p.validation,
                            "test": p.test,
                            "connection": journals[order[p.run]][p.stage - 1].student.connection,
                            "weak": journals[order[p.run]][p.stage - 1].result.weak,
                            "front": (p.run, p.stage) in kept,
                        }
                        for p in points
                    ],
                }
                record.parent.mkdir(parents=True, exist_ok=True)
                part = record.with_suffix(".part")
                part.write_text(json.dumps(result))
                os.replace(part, record)
                print(
                    f"{time.strftime('%H:%M:%S')} {name} seed {seed} {arm}: {asked} trials, "
                    f"{seconds:.0f} s, last stage {result['last_test']:.4f} on test, "
                    f"front of {len(chosen)}",
                    flush=True,
                )


def hypervolume(front, low: float, high: float, floor: float) -> float:
    """Area that (FLOPs, test) points dominate, FLOPs on a log axis up to `high`, test above `floor`.

    Over the axis's length, so in accuracy. `low` only sets that length and must be the least cost.
    """
    best, area = floor, 0.0
    ordered = sorted(front)
    for i, (cost, test) in enumerate(ordered):
        best = max(best, test)
        end = ordered[i + 1][0] if i + 1 < len(ordered) else high
        area += (best - floor) * (math.log(min(end, high)) - math.log(min(cost, high)))
    return area / (math.log(high) - math.log(low))


def as_chosen(front, low: float, high: float, floor: float) -> float:
    """The same, but with the test accuracy of the stage that validation chooses, better or not."""
    area = 0.0
    ordered = sorted(front)
    for i, (cost, test) in enumerate(ordered):
        end = ordered[i + 1][0] if i + 1 < len(ordered) else high
        area += (test - floor) * (math.log(min(end, high)) - math.log(min(cost, high)))
    return area / (math.log(high) - math.log(low))


def tell(args: argparse.Namespace) -> None:
    import numpy as np
    import pandas as pd
    from scipy import stats

    records = [json.loads(p.read_text()) for p in sorted((args.work / "records").glob("*.json"))]
    stages = pd.DataFrame(
        {"data": r["data"], "seed": r["seed"], "arm": r["arm"]} | s
        for r in records
        for s in r["stages"]
    )
    runs = pd.DataFrame({k: v for k, v in r.items() if k != "stages"} for r in records)
    for name, group in stages.groupby("data"):
        low, most = group.flops.min(), group.flops.max()
        high = most * (most / low) ** (1 / (ROUNDS - 1))  # one more step: the last stage counts too
        floor = 0.0  # every front begins at the same cost or is charged for the gap
        for row in runs[runs.data == name].itertuples():
            own = group[(group.seed == row.seed) & (group.arm == row.arm)]
            points = list(zip(own[own.front].flops, own[own.front].test, strict=False))
            main = own[own.branch == 0]
            alone = [
                (f, t)
                for f, t, v in zip(main.flops, main.test, main.validation, strict=False)
                if not (
                    (main.flops <= f)
                    & (main.validation >= v)
                    & ((main.flops < f) | (main.validation > v))
                ).any()
            ]
            runs.loc[row.Index, "hypervolume"] = hypervolume(points, low, high, floor)
            runs.loc[row.Index, "hypervolume_validation"] = hypervolume(
                list(zip(own[own.front].flops, own[own.front].validation, strict=False)),
                low,
                high,
                floor,
            )
            runs.loc[row.Index, "area_as_chosen"] = as_chosen(points, low, high, floor)
            runs.loc[row.Index, "hypervolume_to_teacher"] = hypervolume(
                points, low, row.teacher_flops, floor
            )
            runs.loc[row.Index, "hypervolume_of_best_branch"] = hypervolume(alone, low, high, floor)
            runs.loc[row.Index, "front_best_test"] = max(points)[1]
    runs.to_csv(HERE / "raw.csv", index=False)
    stages.to_csv(HERE / "stages.csv", index=False)

    measures = {
        "hypervolume": "hypervolume",
        "last_test": "last stage of the run",
        "front_best_test": "dearest stage of the front",
        "area_as_chosen": "area, stages as chosen",
        "hypervolume_to_teacher": "hypervolume up to the teacher's FLOPs",
        "hypervolume_of_best_branch": "hypervolume, beam's best branch alone",
        "hypervolume_validation": "hypervolume on validation itself",
    }
    pairs = runs.pivot(index=["data", "seed"], columns="arm", values=list(measures)).dropna()
    counts = runs.pivot(index=["data", "seed"], columns="arm", values=["trials", "seconds"])

    def interval(d) -> str:
        d = np.asarray(d) * 100
        half = stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5
        return f"{d.mean():+.2f} ({d.mean() - half:+.2f} to {d.mean() + half:+.2f})"

    lines = [
        "| set | hypervolume beam | best | difference | last stage beam | best | difference | "
        "teacher | seconds beam | best |",
        "|" + "---|" * 10,
    ]
    for name in EPOCHS:
        own, count = pairs.loc[name].mean(), counts.loc[name].mean()
        hv, last = own["hypervolume"], own["last_test"]
        teacher = runs[runs.data == name].teacher_test.mean()
        diff = pairs.loc[name]["hypervolume"]["beam"] - pairs.loc[name]["hypervolume"]["best"]
        lines.append(
            f"| {name} | {hv['beam']:.4f} | {hv['best']:.4f} | {interval(diff)} | {last['beam']:.4f} | "
            f"{last['best']:.4f} | {100 * (last['beam'] - last['best']):+.2f} | {teacher:.4f} | "
            f"{count['seconds']['beam']:.0f} | {count['seconds']['best']:.0f} |"
        )
    total = [
        "| measure | beam | best | difference, points (95%) | pairs won, tied, lost | "
        "sets where better |",
        "|---|---|---|---|---|---|",
    ]
    for key, words in measures.items():
        own = pairs[key]
        d = own["beam"] - own["best"]
        won, lost = int((d > 1e-12).sum()), int((d < -1e-12).sum())
        total.append(
            f"| {words} | {own['beam'].mean():.4f} | {own['best'].mean():.4f} | {interval(d)} | "
            f"{won}, {len(d) - won - lost}, {lost} | {int((d.groupby('data').mean() > 0).sum())} of 4 |"
        )
    d = pairs["hypervolume"]["beam"] - pairs["hypervolume"]["best"]
    means = d.groupby("data").mean()
    sums = runs.groupby("arm")[["trials", "finished", "weak", "seconds", "cpu_seconds"]].sum()
    beam = runs[runs.arm == "beam"]
    half = stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5
    verdict = (
        "**keep**: the beam wins by more than its interval"
        if d.mean() > half
        else "**remove**: the beam does not win by more than its interval"
    )
    facts = {
        "lines": "\n".join(lines),
        "total": "\n".join(total),
        "verdict": verdict,
        "pairs": len(d),
        "set_interval": interval(means),
        "sums": sums,
        "front": beam.front_points.mean(),
        "front_best": runs[runs.arm == "best"].front_points.mean(),
        "others": beam.front_points_of_other_branches.sum() / beam.front_points.sum(),
        "common": beam.common_stages.mean(),
        "branches": beam.branches.value_counts().to_dict(),
    }
    text = HERE / "summary.template.md"
    if text.exists():
        (HERE / "summary.md").write_text(text.read_text().format(**facts))
    for key, value in facts.items():
        print(key, value, sep="\n" if "\n" in str(value) else ": ")
    print(
        runs[["data", "seed", "arm", "trials", "finished", "trials_in_surviving_journals"]]
        .groupby("arm")
        .agg(["min", "max"])
        .to_string()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["play", "tell"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--spaces", type=Path, default=Path("search_spaces"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    args = parser.parse_args()
    play(args) if args.what == "play" else tell(args)


if __name__ == "__main__":
    main()
