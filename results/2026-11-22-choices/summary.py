"""Each changed setting against the search as it was: summary.md."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bdistil.experiments.ablation import areas, comparisons
from bdistil.experiments.write_up import against_shown, markdown

HERE = Path(__file__).parent
BASE = "recipe=accurate"


def figures(table: pd.DataFrame) -> pd.DataFrame:
    """Means over data sets of means over seeds, a row a cell."""
    keys = ["data", "cell", "seed"]
    runs = table.sort_values("stage").groupby(keys, sort=False)
    later = table[table.stage > 1].groupby(keys, sort=False)
    found = pd.DataFrame(
        {
            "area": areas(table).set_index(keys).share,
            "first stage": runs.metric.first() / runs.teacher.first(),
            "last stage": runs.metric.last() / runs.teacher.last(),
            "trials that are weak learners": later.weak_trials.sum() / later.trials.sum(),
            "rounds won by one": later.weak.mean(),
            "classes tried": later.rungs.mean(),
            "trials": runs.trials.sum(),
            "training": runs.trained.max(),
        }
    )
    means = found.groupby(["data", "cell"], sort=False).mean()
    means["training"] = means.training / means.training.xs(BASE, level="cell")
    return means.groupby("cell", sort=False).mean()


def last_stages(table: pd.DataFrame) -> pd.DataFrame:
    """The last stages as scores to compare."""
    last = table.sort_values("stage").groupby(["data", "cell", "seed"], sort=False).last()
    return (last.metric / last.teacher).rename("share").reset_index()


def main() -> None:
    """Write summary.md."""
    table = pd.read_parquet(HERE / "experiment" / "curves.parquet")
    scores = areas(table)
    by_data = scores.groupby(["cell", "data"], sort=False).share.mean().unstack("data")
    parts = [
        "Means over data sets of means over seeds; areas and stages are shares of the teacher's "
        f"accuracy, training (all candidates) is a share of {BASE}'s; weak learners and classes "
        "are of rounds 2 and later.",
        markdown(figures(table).reset_index()),
        "Area by data set:",
        markdown(by_data.reset_index()),
        f"Area against {BASE}, p corrected for all cells:",
        markdown(against_shown(comparisons(scores, BASE, chosen=False))),
        f"Last stage against {BASE}:",
        markdown(against_shown(comparisons(last_stages(table), BASE, chosen=False))),
    ]
    (HERE / "summary.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
