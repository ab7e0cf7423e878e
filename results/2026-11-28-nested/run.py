# ruff: noqa: D103
"""Networks that are trained as a whole against students trained one after another.

    python run.py play --data DATA --work WORK
    python run.py tell --work WORK

DATA holds `penbased.parquet` (docs/data.md). One process of one thread does run after run; `play`
skips what WORK holds and resumes what it began. `tell` writes the folder `experiment`, which
`bdistil reproduce` takes: `bdistil compare` would have made the same on a cluster.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
import warnings
from pathlib import Path

HERE = Path(__file__).parent
STUDY = HERE.parent / "2026-11-22-rivals" / "experiment" / "experiment.json"
METHODS = ("ours", "oracle", "average", "boosting", "nested", "width-nested", "nested-long")
SETS = ("digits", "penbased")
QUESTION = "Joint training of nested exits against students trained one after another"


def plan_of_the_experiment():
    """The spaces of the rivals' study with four stages in place of six.

    Its four tries a round never left the first class of the ladder, which is refused by now.
    """
    from bdistil.experiments.plan import Plan

    spaces = {name: json.loads(STUDY.read_text())["spaces"][name] for name in SETS}
    for space in spaces.values():
        space["search"]["rounds"] = 4
        space["space"]["ladder"] = space["space"]["ladder"][:1]
    cells = [{"method": method} for method in METHODS]
    return Plan(kind="comparison", question=QUESTION, spaces=spaces, cells=cells)


def runs_at(data: Path, seeds: range) -> list:
    """Every run, with the table where it is on this machine."""
    found = []
    for run in plan_of_the_experiment().runs(seeds):
        if run.spec.data.path:
            place = run.spec.data.model_copy(update={"path": data / "penbased.parquet"})
            run = dataclasses.replace(run, spec=run.spec.model_copy(update={"data": place}))
        found.append(run)
    return found


def play(args: argparse.Namespace) -> None:
    import torch

    from bdistil.experiments.execute import make_run, make_teacher, stored

    torch.set_num_threads(1)
    for run in runs_at(args.data, range(args.seeds)):
        if stored(args.work / run.folder) is not None:
            continue
        began = time.monotonic()
        make_teacher(run, args.work)
        figures = make_run(run, args.work)
        curve = " ".join(f"{stage['metric']:.4f}" for stage in figures.stages)
        spent = time.monotonic() - began
        print(f"{run.data}, seed {run.seed}, {run.label}: {curve} {figures.failed}; {spent:.0f} s")


def tell(args: argparse.Namespace) -> None:
    from bdistil.experiments.execute import stored
    from bdistil.experiments.write_up import write_comparison

    found = [stored(args.work / run.folder) for run in runs_at(args.data, range(args.seeds))]
    missing = sum(each is None for each in found)
    if missing:
        warnings.warn(f"{missing} runs are missing; play them first.", stacklevel=1)
    plan_of_the_experiment().keep(HERE / "experiment")
    there = [each for each in found if each is not None]
    print(write_comparison(there, HERE / "experiment", QUESTION))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["play", "tell"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    args.work, args.data = args.work.resolve(), args.data.resolve()
    {"play": play, "tell": tell}[args.what](args)


if __name__ == "__main__":
    main()
