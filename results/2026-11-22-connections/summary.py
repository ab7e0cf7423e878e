"""Which connection? Tables over all data sets, at equal FLOPs and at equal width: summary.md."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bdistil.experiments.ablation import areas, best_cell, comparisons, table_of
from bdistil.experiments.write_up import HEADERS, against_shown, markdown

HERE = Path(__file__).parent
EXPERIMENTS = ("six", "fashion")
PLAIN = ("none", "residual", "dense")
CONNECTIONS = (*PLAIN, "lstm", "gru")
WIDTHS = {False: "At equal FLOPs (growth above 1)", True: "At equal width (growth 0)"}
INTRODUCTION = """\
Means over data sets of means over seeds; shares of the teacher's (see README.md). "Weak learners"
are of rounds 2 and later, "largest G" is a median. Areas of all cells begin where the dearest first
student answers, an LSTM's; those of none, residual and dense alone begin at their own."""


def stages() -> pd.DataFrame:
    """All runs, whose cells are connection and skip alone."""
    table = pd.concat(pd.read_parquet(HERE / each / "curves.parquet") for each in EXPERIMENTS)
    cells = "connection=" + table["space.connection"] + " skip=" + table["space.skip"]
    return table.assign(cell=cells, equal_width=table["space.growth"] == "0")


def means_of(table: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """The usual figures, a row a cell; without round 1, in which any student is a weak learner."""
    keys = ["data", "cell", "seed"]
    rounds = table[table.stage > 1].groupby(keys)
    weak = (rounds.weak_trials.sum() / rounds.trials.sum()).groupby(["data", "cell"]).mean()
    found = table_of(table, scores).assign(weak_trials=weak)
    means = found.groupby("cell", sort=False).mean()
    means["largest_gap"] = table.groupby(keys).largest_gap.max().groupby("cell").median()
    return means.rename(columns=HEADERS).sort_values("area", ascending=False)


def by_stage(table: pd.DataFrame) -> pd.DataFrame:
    """Share of the teacher's metric at each stage, a row a cell."""
    shares = table.assign(share=table.metric / table.teacher)
    means = shares.groupby(["data", "cell", "stage"], sort=False).share.mean()
    return means.groupby(["cell", "stage"]).mean().unstack("stage").add_prefix("stage ")


def by_data(scores: pd.DataFrame) -> pd.DataFrame:
    """Share of the teacher's area on each data set, a row a cell."""
    means = scores.groupby(["cell", "data"], sort=False).share.mean()
    return means.unstack("data", sort=False)


def skips(scores: pd.DataFrame) -> pd.DataFrame:
    """Each connection with the skip minus without it, pair by pair."""
    rows = []
    for name in CONNECTIONS:
        cells = [f"connection={name} skip={skip}" for skip in ("true", "false")]
        found = comparisons(scores[scores.cell.isin(cells)], cells[1], chosen=False)
        rows.append(against_shown(found).assign(cell=name))
    return pd.concat(rows).rename(columns={"cell": "connection"})


def compared(scores: pd.DataFrame) -> str:
    """All cells against the best one."""
    return markdown(against_shown(comparisons(scores, best_cell(scores))))


def everything(table: pd.DataFrame) -> list[str]:
    """All ten cells."""
    scores = areas(table)
    shown = means_of(table, scores)
    return [
        markdown(shown.reset_index()),
        "Metric of each stage:",
        markdown(by_stage(table).loc[shown.index].reset_index()),
        "Area by data set:",
        markdown(by_data(scores).loc[shown.index].reset_index()),
        f"Against the best ({best_cell(scores)}), p corrected for all pairs of cells:",
        compared(scores),
        "With the skip minus without it, p of each pair alone:",
        markdown(skips(scores)),
    ]


def plain(table: pd.DataFrame) -> list[str]:
    """None, residual and dense, from their own first stage on."""
    table = table[table["space.connection"].isin(PLAIN)]
    folded, streamed = areas(table), areas(table.assign(flops=table.streamed_flops))
    return [
        "### None, residual and dense alone",
        "Area by data set:",
        markdown(by_data(folded).reset_index()),
        f"Against the best ({best_cell(folded)}):",
        compared(folded),
        f"Where all stages are answered on the way, against the best ({best_cell(streamed)}):",
        compared(streamed),
    ]


def main() -> None:
    """Write summary.md."""
    table = stages()
    parts = [INTRODUCTION]
    for equal_width, title in WIDTHS.items():
        part = table[table.equal_width == equal_width]
        parts += [f"## {title}", *everything(part), *plain(part)]
    (HERE / "summary.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
