"""What running the ensembles costs: by FLOPs, by the clock, and with early exit.

    python results/2026-11-21-running-costs/run.py

Takes the searches of ``2026-11-21-anytime-curves`` (run that first; --runs says where they are) on
digits, JapaneseVowels and FashionMNIST. The clock (seed 0 alone) needs a machine that does nothing
else; ``--exits`` leaves it out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from bdistil.experiments.write_up import markdown
from bdistil.report.bench import bench
from bdistil.report.plots import bench_plot
from bdistil.runs.run_directory import RunDirectory
from bdistil.runtime.predictor import Predictor
from bdistil.searching.result import SearchResult

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
DATA_SETS = ("digits", "japanese_vowels", "fashion_mnist")


def early_exit(run: RunDirectory) -> dict[str, object]:
    """The policy that validation chooses, on the test split."""
    result = SearchResult(run)
    dataset, figures = result.dataset, result.evaluation
    result.build_ensemble().save_pretrained(run.ensemble)  # with this version's policies
    predictor = Predictor(run.ensemble, backend="torch")
    point = predictor.policy()
    answer = predictor.answer(dataset.test.x, exit=point.policy)
    names = np.array(dataset.class_names)
    streamed = np.array([stage.streamed_flops for stage in figures.stages])
    full = figures.stages[-1]
    return {
        "data": dataset.name,
        "seed": run.spec().seed,
        "score": point.policy.score,
        "threshold": point.policy.threshold,
        "accuracy": float((answer.values == names[dataset.test.y]).mean()),
        "full_accuracy": full.metric,
        "flops": float(streamed[answer.stages - 1].mean()),
        "full_flops": full.flops,
        "share": float(streamed[answer.stages - 1].mean() / full.flops),
        "stages": float(answer.stages.mean()),
        "of": len(figures.stages),
    }


def exits(runs: Path) -> pd.DataFrame:
    """Early exit of every search."""
    places = [path for name in DATA_SETS for path in sorted(runs.glob(f"{name}-*"))]
    return pd.DataFrame([early_exit(RunDirectory.existing(path)) for path in places])


def clock(runs: Path) -> pd.DataFrame:
    """Times of the first seed of every data set, and a plot beside the FLOPs."""
    rows = []
    for name in DATA_SETS:
        run = RunDirectory.existing(runs / f"{name}-0")
        found = bench(run, (1, 64), seconds=8)
        svg = bench_plot(found.timings, "classification")
        (HERE / f"cost-{name}.svg").write_text(svg)
        rows += [{"data": name} | row for row in found.to_json()["timings"]]
        for overhead in found.overheads:
            print(name, overhead)
    return pd.DataFrame(rows)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exits", action="store_true", help="leave the clock out")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "2026-11-21-anytime-curves")
    options = parser.parse_args()
    left = exits(options.runs)
    left.to_parquet(HERE / "exits.parquet", index=False)
    means = left.groupby("data", sort=False)[
        ["accuracy", "full_accuracy", "share", "stages", "of"]
    ].mean()
    (HERE / "exits.md").write_text(markdown(means.reset_index()) + "\n")
    print((HERE / "exits.md").read_text())
    file = HERE.parent / "headline.json"
    index = json.loads(file.read_text())
    index["early_exit"] = {n: round(float(row["share"]), 4) for n, row in means.iterrows()}
    file.write_text(json.dumps(index, indent=2) + "\n")
    if options.exits:
        return
    times = clock(options.runs)
    times.to_parquet(HERE / "times.parquet", index=False)
    shown = times[["data", "runtime", "batch", "way", "stage", "metric", "median", "ratio",
                   "flops_ratio"]]  # fmt: skip
    (HERE / "times.md").write_text(markdown(shown) + "\n")


if __name__ == "__main__":
    main()
