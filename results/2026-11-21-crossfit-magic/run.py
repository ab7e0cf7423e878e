"""Re-run this study: forests distilled on MAGIC with cross-fitting and loss correction.

    python results/2026-11-21-crossfit-magic/run.py             # fits, tables, plot
    python results/2026-11-21-crossfit-magic/run.py --check     # and: do the figures reproduce?

Needs the extras ``search`` and ``table``; about half an hour on one core. Without ``--data``
MAGIC comes from OpenML (``bdistil datasets``). The teachers' answers are kept and not made twice.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split

from bdistil.core.correction import CorrectedLoss
from bdistil.datasets.catalogue import load_dataset
from bdistil.experiments.environment import environment
from bdistil.spec import DataSpec

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SPLITS, TEST_SHARE = 5, 1 / 3
SIZES = (1, 2, 3, 5, 10, 20, 40)
FOLDS, FLOOR = 10, 1 / 500
TEACHER: dict[str, Any] = {
    "n_estimators": 500,
    "n_jobs": 2,
}  # scikit-learn's own settings: deep trees, sqrt of the features
STUDENT: dict[str, Any] = {"n_estimators": max(SIZES)}  # of a regressor: deep trees, all features
INNER_FOLDS, INNER_TREES = 5, 200  # of the choice of c
CORRECTION, BOUNDS = "bounded", (0.001, 0.01, 0.1, 1.0)
PUBLISHED = {
    "scratch": (0.787, 0.849, 0.875, 0.897, 0.914, 0.924, 0.928),
    "vanilla, log p": (0.894, 0.904, 0.911, 0.916, 0.920, 0.924, 0.924),
    "cross-fit + correction, p": (0.9075, 0.9150, 0.9180, 0.9194, 0.9222, 0.9229, 0.9239),
}
PUBLISHED_TEACHER = 0.9369
TOLERANCE = 0.005

Array = np.ndarray[Any, Any]


def magic(file: Path | None) -> tuple[Array, Array]:
    """Features (N, 10) and whether each shower is a hadron's, 0 or 1."""
    if file is not None:
        table = pd.read_parquet(file)
        y = table.pop("label").to_numpy(np.int64)
        return table.to_numpy(np.float32), y
    data = load_dataset(DataSpec(name="magic"), 0)
    parts = (data.train, data.validation, data.test)
    return np.concatenate([s.x for s in parts]), np.concatenate([s.y for s in parts])


def teacher(x: Array, y: Array, trees: int, seed: int) -> RandomForestClassifier:
    """A forest of classification trees."""
    return RandomForestClassifier(**TEACHER | {"n_estimators": trees}, random_state=seed).fit(x, y)


def out_of_fold(x: Array, y: Array, folds: int, trees: int, seed: int) -> Array:
    """p of class 1 for each example, by a teacher that was fitted without its fold."""
    p = np.empty(len(y))
    for rest, fold in StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, y):
        p[fold] = teacher(x[rest], y[rest], trees, seed).predict_proba(x[fold])[:, 1]
    return p


def answers(x: Array, y: Array, split: int, kept: Path) -> dict[str, Array]:
    """What the teachers of a split answer, from disk if it was asked before.

    `train` and `test` are rows; `p` and `p_test` the deployed teacher's probabilities, `p_fold` the
    out-of-fold ones; `choose` and `judge` rows of the training split on which c is chosen, and
    `p_choose` out-of-fold probabilities by teachers that have seen no label of `judge`.
    """
    file = kept / f"answers-{split}.npz"
    if file.exists():
        with np.load(file, allow_pickle=False) as found:
            return dict(found)
    train, test = train_test_split(
        np.arange(len(y)), test_size=TEST_SHARE, random_state=split, stratify=y
    )
    choose, judge = train_test_split(train, test_size=0.2, random_state=split, stratify=y[train])
    deployed = teacher(x[train], y[train], TEACHER["n_estimators"], split)
    found = {
        "train": train,
        "test": test,
        "choose": choose,
        "judge": judge,
        "p": deployed.predict_proba(x[train])[:, 1],
        "p_test": deployed.predict_proba(x[test])[:, 1],
        "p_fold": out_of_fold(x[train], y[train], FOLDS, TEACHER["n_estimators"], split),
        "p_choose": out_of_fold(x[choose], y[choose], INNER_FOLDS, INNER_TREES, split),
    }
    kept.mkdir(parents=True, exist_ok=True)
    np.savez(file, **found)
    return found


def targets(p: Array, y: Array, scale: str, c: float | None = None) -> Array:
    """What students are fitted to: p or log p, with c corrected by the labels."""
    p = p.clip(FLOOR, 1 - FLOOR if c is not None else 1)
    plain, slope = (np.log(p), 1 / p) if scale == "log p" else (p, np.ones_like(p))
    if c is None:
        return plain
    given, truth = torch.from_numpy(p), torch.from_numpy(y.astype(np.float64))
    weight = CorrectedLoss(correction=CORRECTION, bound=c).label_weight(given, truth).numpy()
    return plain + slope * weight * (y - p)


def aucs(x: Array, target: Array, x_test: Array, y_test: Array, seed: int) -> list[float]:
    """AUC of the student forests of all sizes: the first trees of one forest."""
    forest = RandomForestRegressor(**STUDENT, random_state=seed).fit(x, target)
    trees = np.stack([tree.predict(x_test) for tree in forest.estimators_])
    return [float(roc_auc_score(y_test, trees[:size].mean(axis=0))) for size in SIZES]


def chosen_bounds(
    x: Array, y: Array, found: dict[str, Array], scale: str, seed: int
) -> tuple[float, ...]:
    """For each size the c with the best AUC on labels that no teacher or student has seen."""
    choose, judge, p = found["choose"], found["judge"], found["p_choose"]
    scores = [
        aucs(x[choose], targets(p, y[choose], scale, c), x[judge], y[judge], seed) for c in BOUNDS
    ]
    return tuple(BOUNDS[best] for best in np.argmax(scores, axis=0))


def ways(x: Array, y: Array, split: int, kept: Path) -> list[dict[str, object]]:
    """AUC of every way and size on one split, and the teacher's (size 500)."""
    found = answers(x, y, split, kept)
    train, test = found["train"], found["test"]
    own, outside = y[train], found["p_fold"]

    def curve(target: Array) -> list[float]:
        return aucs(x[train], target, x[test], y[test], split)

    auc = float(roc_auc_score(y[test], found["p_test"]))
    rows: list[dict[str, object]] = [{"way": "teacher", "trees": 500, "c": None, "auc": auc}]

    def add(way: str, values: list[float], bounds: Sequence[float | None]) -> None:
        for size, value, c in zip(SIZES, values, bounds, strict=True):
            rows.append({"way": way, "trees": size, "c": c, "auc": value})

    plain = [None] * len(SIZES)
    add("scratch", curve(own.astype(np.float64)), plain)
    for scale in ("p", "log p"):
        add(f"vanilla, {scale}", curve(targets(found["p"], own, scale)), plain)
        add(f"cross-fit, {scale}", curve(targets(outside, own, scale)), plain)
        bounds = chosen_bounds(x, y, found, scale, split)
        curves = {c: curve(targets(outside, own, scale, c)) for c in set(bounds)}
        best = [curves[c][index] for index, c in enumerate(bounds)]
        add(f"cross-fit + correction, {scale}", best, bounds)
    return [{"split": split} | row for row in rows]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over splits, by way and size."""
    return rows.groupby(["way", "trees"], sort=False).auc.agg(["mean", "std"])


def row_of(name: str, values: Any, digits: int = 4) -> str:
    """A line of a Markdown table."""
    return f"| {name} | " + " | ".join(f"{value:.{digits}f}" for value in values) + " |"


def table(means: pd.DataFrame, order: list[str], spread: bool = False) -> list[str]:
    """Ways by sizes; with the published rows below those that have one."""
    lines = ["| | " + " | ".join(map(str, SIZES)) + " |", "|---" * (len(SIZES) + 1) + "|"]
    for way in order:
        lines.append(row_of(way, means.loc[way]["mean"]))
        if spread:
            lines.append(row_of("± over splits", means.loc[way]["std"]))
        if way in PUBLISHED:
            lines.append(row_of("*published*", PUBLISHED[way]))
    return lines


def tables(rows: pd.DataFrame) -> str:
    """The published comparison, then each loss scale by itself, then the bounds chosen."""
    means = summary(rows)
    own = means.loc["teacher"]["mean"].iloc[0]
    parts = ["scratch"] + [f"{way}, {{}}" for way in ("vanilla", "cross-fit")]
    parts += ["cross-fit + correction, {}"]
    published = ["scratch", "vanilla, log p", "cross-fit, log p", "cross-fit + correction, p"]
    lines = [
        f"Mean test AUC over {rows.split.nunique()} splits, by the student's number of trees. The "
        f"teacher's: {own:.4f} (published: {PUBLISHED_TEACHER}).",
        "",
        "### As published: correction on another loss scale",
        "",
        *table(means, published, spread=True),
    ]
    for scale in ("p", "log p"):
        lines += ["", f"### All on {scale}", ""]
        lines += table(means, [part.format(scale) for part in parts])
    chosen = rows.dropna(subset="c").groupby(["way", "trees"], sort=False).c
    lines += ["", "### The bound c of each split, chosen on held-out labels", ""]
    lines += ["| | trees | c |", "|---|---|---|"]
    for (way, trees), bounds in chosen:
        lines.append(f"| {way} | {trees} | {', '.join(f'{c:g}' for c in bounds)} |")
    return "\n".join(lines) + "\n"


def reproduced(rows: pd.DataFrame) -> dict[str, float]:
    """The largest distance of a mean AUC to the published one, for each published way."""
    means = summary(rows)["mean"]
    return {
        way: float(np.abs(means.loc[way].to_numpy() - np.array(values)).max())
        for way, values in PUBLISHED.items()
    }


def plot(rows: pd.DataFrame) -> None:
    """AUC against the number of trees, a panel a loss scale."""
    means = summary(rows)["mean"]
    colours = {"vanilla": "#d9822b", "cross-fit": "#1f6feb", "cross-fit + correction": "#2a7d4f"}
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, scale in zip(figure.subplots(1, 2, sharey=True), ("p", "log p"), strict=True):
        axes.plot(SIZES, means["scratch"], "o-", color="#888", label="scratch")
        for way, colour in colours.items():
            axes.plot(SIZES, means[f"{way}, {scale}"], "o-", color=colour, label=way)
        axes.axhline(means["teacher"].iloc[0], color="#888", linestyle="--", linewidth=1)
        axes.set(xscale="log", xlabel="trees", title=f"all on {scale}", ylim=(0.86, 0.945))
        axes.set_xticks(SIZES, map(str, SIZES))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.axes[0].set_ylabel("test AUC")
    figure.axes[0].legend(loc="lower right", frameon=False)
    figure.savefig(HERE / "auc.svg", metadata={"Date": None})


def headline(rows: pd.DataFrame) -> None:
    """For machines: mean AUC by way and size, and the largest distances to the published rows."""
    means = summary(rows)["mean"]
    file = HERE.parent / "headline.json"
    index = json.loads(file.read_text())
    index["crossfit_magic"] = {
        "auc": {
            way: {str(size): round(float(value), 4) for size, value in means.loc[way].items()}
            for way in means.index.unique("way")
        },
        "distance_to_published": {k: round(v, 4) for k, v in reproduced(rows).items()},
    }
    file.write_text(json.dumps(index, indent=2) + "\n")


def check(rows: pd.DataFrame) -> None:
    """Compare the means with the committed ones."""
    committed = pd.read_parquet(HERE / "auc.parquet")
    committed = committed[committed.split.isin(rows.split.unique())]
    worst = (summary(rows)["mean"] - summary(committed)["mean"]).abs().max()
    print(f"largest difference of a mean AUC: {worst:.4f}")
    if worst > TOLERANCE:
        sys.exit(f"does not reproduce within {TOLERANCE}")
    print(f"reproduces within {TOLERANCE}")


def main() -> None:
    """Fit what is missing, then write or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--data", type=Path, help="Parquet with a column label, 1 for hadrons")
    parser.add_argument("--kept", type=Path, default=ROOT / "runs" / HERE.name)
    parser.add_argument("--splits", type=int, default=SPLITS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    x, y = magic(options.data)
    rows = pd.DataFrame(
        [row for split in range(options.splits) for row in ways(x, y, split, options.kept)]
    )
    for way, distance in reproduced(rows).items():
        print(f"{way}: within {distance:.4f} of the published row")
    if options.check:
        check(rows)
        return
    rows.to_parquet(HERE / "auc.parquet", index=False)
    (HERE / "tables.md").write_text(tables(rows))
    (HERE / "environment.json").write_text(json.dumps(environment(), indent=2) + "\n")
    plot(rows)
    headline(rows)
    print((HERE / "tables.md").read_text())


if __name__ == "__main__":
    main()
