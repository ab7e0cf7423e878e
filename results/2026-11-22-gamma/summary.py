"""Which γ? How FIND_WL fares over the weights 1/γ of the weak-learning term: summary.md."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bdistil.experiments.ablation import areas, comparisons
from bdistil.experiments.write_up import against_shown, markdown

HERE = Path(__file__).parent
RECIPES = ("accurate", "faithful", "paper")


def searches(table: pd.DataFrame) -> pd.DataFrame:
    """A row a search: what the README asks of it."""
    runs = table.sort_values("stage").groupby(["data", "cell", "seed"], sort=False)
    later = table[table.stage > 1].groupby(["data", "cell", "seed"], sort=False)
    return pd.DataFrame(
        {
            "area": areas(table).set_index(["data", "cell", "seed"]).share,
            "last stage": runs.metric.last() / runs.teacher.last(),
            "weak learners": later.weak_trials.sum() / later.trials.sum(),
            "rounds won by one": later.weak.mean(),
            "relative edge": later.edge.mean(),
            "largest G": runs.largest_gap.max(),
            "max abs F-g": runs.sup_norm.last(),
            "classes tried": later.rungs.mean(),
        }
    )


def by_gamma(found: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Means over data sets of means over seeds, a row a γ."""
    gammas = table.drop_duplicates("cell").set_index("cell")["space.gamma"].astype(float)
    rows = found.groupby(["data", "cell"], sort=False).mean().groupby("cell", sort=False).mean()
    # A gap may grow without bound: its middle value says more than its mean.
    rows["largest G"] = found["largest G"].groupby("cell", sort=False).median()
    rows.insert(0, "γ", rows.index.map(gammas))
    return rows.sort_values("γ", ignore_index=True)


def last_stages(found: pd.DataFrame) -> pd.DataFrame:
    """The last stages as scores to compare."""
    return found[["last stage"]].rename(columns={"last stage": "share"}).reset_index()


def section(recipe: str, table: pd.DataFrame) -> list[str]:
    """The tables of one recipe."""
    found = searches(table)
    shares = found.reset_index().rename(columns={"area": "share"})
    by_data = shares.groupby(["cell", "data"], sort=False).share.mean().unstack("data")
    last_by_data = found["last stage"].groupby(["cell", "data"]).mean().unstack("data")
    weakest = f"recipe={recipe} gamma=1000"
    return [
        f"## Recipe {recipe}",
        markdown(by_gamma(found, table)),
        "Area by data set:",
        markdown(by_data.loc[table.cell.unique()].reset_index()),
        f"Area against {weakest}, the weakest term, p corrected for all γ:",
        markdown(against_shown(comparisons(shares, weakest, chosen=False))),
        f"Last stage against {weakest}:",
        markdown(against_shown(comparisons(last_stages(found), weakest, chosen=False))),
        "Last stage by data set:",
        markdown(last_by_data.loc[table.cell.unique()].reset_index()),
    ]


def main() -> None:
    """Write summary.md."""
    table = pd.read_parquet(HERE / "experiment" / "curves.parquet")
    parts = [
        "Means over data sets of means over seeds (largest G: medians). Areas and last stages are "
        "shares of the teacher's; success, edges and classes are of rounds 2 and later."
    ]
    for recipe in RECIPES:
        parts += section(recipe, table[table["space.recipe"] == recipe])
    (HERE / "summary.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
