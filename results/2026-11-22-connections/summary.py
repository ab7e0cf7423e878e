"""Which connection? Tables over all data sets, at equal FLOPs and at equal width: summary.md."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bdistil.study.ablation import areas, best_cell, comparisons, table_of
from bdistil.study.write_up import HEADERS, against_shown, markdown

HERE = Path(__file__).parent
EXPERIMENTS = ("six", "fashion")
CONNECTIONS = ("none", "residual", "dense", "lstm", "gru")
WIDTHS = {False: "At equal FLOPs (growth above 1)", True: "At equal width (growth 0)"}


def stages() -> pd.DataFrame:
    """All runs, whose cells are connection and skip alone."""
    table = pd.concat(pd.read_parquet(HERE / each / "curves.parquet") for each in EXPERIMENTS)
    cells = "connection=" + table["space.connection"] + " skip=" + table["space.skip"]
    return table.assign(cell=cells, equal_width=table["space.growth"] == "0")


def skips(scores: pd.DataFrame) -> pd.DataFrame:
    """Each connection with the skip minus without it, pair by pair."""
    rows = []
    for name in CONNECTIONS:
        cells = [f"connection={name} skip={skip}" for skip in ("true", "false")]
        found = comparisons(scores[scores.cell.isin(cells)], cells[1], chosen=False)
        rows.append(against_shown(found).assign(cell=name))
    return pd.concat(rows).rename(columns={"cell": "connection"})


def by_stage(table: pd.DataFrame) -> pd.DataFrame:
    """Share of the teacher's metric at each stage, a row a cell."""
    shares = table.assign(share=table.metric / table.teacher)
    means = shares.groupby(["data", "cell", "stage"], sort=False).share.mean()
    return means.groupby(["cell", "stage"]).mean().unstack("stage").add_prefix("stage ")


def streamed(table: pd.DataFrame) -> pd.DataFrame:
    """Areas at the costs of answering all stages, where dense heads are paid at each."""
    return areas(table.assign(flops=table.streamed_flops))


def section(title: str, table: pd.DataFrame) -> list[str]:
    """The tables of one growth rule."""
    scores = areas(table)
    means = table_of(table, scores).groupby("cell", sort=False).mean()
    shown = means.rename(columns=HEADERS).sort_values("area", ascending=False)
    by_data = scores.groupby(["cell", "data"], sort=False).share.mean().unstack("data", sort=False)
    best = best_cell(scores)
    return [
        f"## {title}",
        markdown(shown.reset_index()),
        "Metric of each stage:",
        markdown(by_stage(table).loc[shown.index].reset_index()),
        "Area by data set:",
        markdown(by_data.loc[shown.index].reset_index()),
        f"Against the best ({best}), p corrected for all pairs of cells:",
        markdown(against_shown(comparisons(scores, best))),
        "With the skip minus without it, p of each pair alone:",
        markdown(skips(scores)),
        "Area where all stages are answered on the way, against the best as above:",
        markdown(against_shown(comparisons(streamed(table), best))),
    ]


def main() -> None:
    """Write summary.md."""
    table = stages()
    parts = ["Means over data sets of means over seeds; shares of the teacher's (see README.md)."]
    for equal_width, title in WIDTHS.items():
        parts += section(title, table[table.equal_width == equal_width])
    (HERE / "summary.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
