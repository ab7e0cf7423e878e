"""Differences that matter between the cells of both experiments, paired by seed: summary.md."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bdistil.experiments.statistics import interval
from bdistil.experiments.write_up import markdown

HERE = Path(__file__).parent
BOUND = ' correction=bounded correction_bound={"low": 0.001, "high": 1, "log": true}'
OUT = "label_share=0 teacher.crossfit=10"
CELLS = {
    "labels only (scratch)": "label_share=1",
    "teacher only (vanilla)": "label_share=0",
    "cross-fit": OUT,
    "cross-fit + correction": OUT + BOUND,
    "teacher and labels": "label_share=0.6",
    "teacher and labels, cross-fit": "label_share=0.6 teacher.crossfit=10",
}
EFFECTS = {
    "cross-fitting the teacher": ("teacher only (vanilla)", "cross-fit"),
    "correction on top": ("cross-fit", "cross-fit + correction"),
    "both": ("teacher only (vanilla)", "cross-fit + correction"),
    "labels beside the teacher": ("teacher only (vanilla)", "teacher and labels"),
    "cross-fitting beside labels": ("teacher and labels", "teacher and labels, cross-fit"),
    "a teacher beside labels": ("labels only (scratch)", "teacher and labels, cross-fit"),
}


def accuracies(folder: Path) -> pd.DataFrame:
    """Test accuracy of the first and the last stage, a row a data set, seed and cell."""
    table = pd.read_parquet(folder / "curves.parquet").sort_values("stage")
    runs = table.groupby(["data", "seed", "cell"], sort=False)
    ends = runs.metric.agg(["first", "last"])
    ends["teacher"], ends["gap"] = runs.teacher.first(), runs.largest_gap.max()
    return ends.rename(index={cell: name for name, cell in CELLS.items()}, level="cell")


def means(ends: pd.DataFrame) -> pd.DataFrame:
    """First → last stage, mean over seeds: a row a cell, a column a teacher."""
    both = ends.groupby(["data", "cell"], sort=False).mean()
    shown = both["first"].map("{:.4f}".format) + " → " + both["last"].map("{:.4f}".format)
    table = shown.unstack("data", sort=False).loc[list(CELLS)]
    table.loc["*teacher*"] = both.groupby("data").teacher.first().map("{:.4f}".format)
    return table.rename_axis("").reset_index()


def effects(ends: pd.DataFrame) -> pd.DataFrame:
    """Points of accuracy gained, with 95% intervals over seeds: a row an effect and stage."""
    wide = ends[["first", "last"]].unstack("cell")
    rows = []
    for name, (before, after) in EFFECTS.items():
        for stage in ("first", "last"):
            gains = 100 * (wide[stage][after] - wide[stage][before])
            row = {"effect, points": name, "stage": stage}
            for data, of_data in gains.groupby("data", sort=False):
                low, high = interval(of_data.to_numpy())
                row[str(data)] = f"{of_data.mean():+.2f} ({low:+.2f} to {high:+.2f})"
            rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    """Write summary.md."""
    parts = ["Test accuracy of the first stage → the last; means over seeds."]
    for name in ("digits", "fashion"):
        ends = accuracies(HERE / name)
        parts += [f"## {name}", markdown(means(ends)), markdown(effects(ends))]
    (HERE / "summary.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
