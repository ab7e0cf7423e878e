"""Re-run this study: ten data sets, three to ten seeds, the product's own search.

    python results/2026-11-21-anytime-curves/run.py             # searches, table, plots
    python results/2026-11-21-anytime-curves/run.py --check     # and: do the figures reproduce?
    python results/2026-11-21-anytime-curves/run.py --check --data digits cube

Needs the extra ``search`` and, for JapaneseVowels, BasicMotions, FashionMNIST and penbased, their
files (docs/data.md; penbased.parquet in data/ or where --penbased says). Searches resume where they
were. FashionMNIST takes about half an hour on two cores, the others together as long.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

import bdistil
from bdistil.experiments.environment import environment

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SEEDS = {
    "digits": range(10),
    "cube": range(3),
    "ellipsoid": range(3),
    "japanese_vowels": range(5),
    "basic_motions": range(5),
    "penbased": range(3),
    "fashion_mnist": range(3),
    "breast_cancer": range(3),
    "documents": range(3),
    "diabetes": range(3),
}
METRIC = {"documents": "micro F1", "diabetes": "R²"}
TOLERANCE = 0.02  # of accuracy: two standard errors of 360 to 1000 test examples, and more


def search(name: str, seed: int, options: argparse.Namespace) -> list[dict[str, object]]:
    """One search; a row for the teacher (stage 0) and for each stage."""
    spec = ROOT / "search_spaces" / f"{name}.yaml"
    overrides = [f"seed={seed}"]
    if name == "penbased":
        overrides.append(f"data.path={options.penbased}")
    result = bdistil.search(spec, options.runs / f"{name}-{seed}", overrides=overrides)
    figures = result.evaluation
    teacher = {"stage": 0, **figures.teacher.model_dump(), "flops_fraction": 1.0}
    rounds = [{"weak": r.result.weak, "seconds": r.seconds} for r in result.rounds]
    stages = [s.model_dump() | r for s, r in zip(figures.stages, rounds, strict=True)]
    return [{"data": name, "seed": seed} | row for row in [teacher, *stages]]


def summary(curves: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, by data set and stage, with the share of the same seed's teacher."""
    teacher = curves[curves.stage == 0].set_index(["data", "seed"]).metric
    joined = curves.join(teacher.rename("teacher"), on=["data", "seed"])
    joined["share"] = joined.metric / joined.teacher
    grouped = joined.groupby(["data", "stage"])
    return grouped.agg(
        metric=("metric", "mean"),
        std=("metric", "std"),
        share=("share", "mean"),
        flops=("flops", "mean"),
        flops_fraction=("flops_fraction", "mean"),
        parameters=("parameters", "mean"),
        latency_ratio=("latency_ratio", "mean"),
    )


def table(name: str, means: pd.DataFrame) -> str:
    """The anytime curve of one data set as Markdown."""
    lines = [
        f"### {name}",
        "",
        f"| stage | {METRIC.get(name, 'accuracy')} | of teacher | FLOPs | of teacher | parameters "
        "| time |",
        "|---|---|---|---|---|---|---|",
    ]
    for stage, row in means.loc[name].iterrows():
        label = "teacher" if stage == 0 else str(stage)
        ratio = "1.00x" if stage == 0 else f"{row.latency_ratio:.2f}x"
        lines.append(
            f"| {label} | {row.metric:.4f} ± {row['std']:.4f} | {row.share:.1%} | {row.flops:,.0f} "
            f"| {row.flops_fraction:.1%} | {row.parameters:,.0f} | {ratio} |"
        )
    return "\n".join(lines)


def plot(name: str, curves: pd.DataFrame) -> None:
    """Accuracy against FLOPs: the seeds, their mean, and the teacher."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    own = curves[curves.data == name]
    for _, run in own[own.stage > 0].groupby("seed"):
        axes.plot(run.flops, run.metric, color="#1f6feb", alpha=0.25, linewidth=1)
    means = own.groupby("stage")[["flops", "metric"]].mean()
    axes.plot(means.flops[1:], means.metric[1:], "o-", color="#1f6feb", label="ensemble, mean")
    axes.plot(means.flops[:1], means.metric[:1], "s", color="#888", label="teacher, mean")
    axes.axhline(means.metric[0], color="#888", linestyle="--", linewidth=1)
    axes.set(
        xscale="log",
        xlabel="FLOPs an example",
        ylabel=f"test {METRIC.get(name, 'accuracy')}",
        title=name,
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(HERE / f"curve-{name}.svg", metadata={"Date": None})


def headline(means: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Means over seeds: the teacher's accuracy, and the first and last stage beside it."""
    found = {}
    for name in means.index.unique("data"):
        stages = means.loc[name]
        found[name] = {
            "teacher": stages.metric[0],
            "first_share": stages.share[1],
            "last_share": stages.share.iloc[-1],
            "last_flops_share": stages.flops_fraction.iloc[-1],
        }
    return {k: {n: round(float(x), 4) for n, x in v.items()} for k, v in found.items()}


def check(curves: pd.DataFrame) -> None:
    """Compare the means of first and last stage with the committed ones."""
    committed = summary(pd.read_parquet(HERE / "curves.parquet"))
    ours = summary(curves)
    worst = (ours.share - committed.share).abs().max()
    print(f"largest difference of a mean share of the teacher's accuracy: {worst:.4f}")
    if worst > TOLERANCE:
        sys.exit(f"does not reproduce within {TOLERANCE}")
    print(f"reproduces within {TOLERANCE}")


def write(curves: pd.DataFrame) -> None:
    """Tables, plots and headline; data sets that were not searched now stay as they are."""
    file = HERE / "curves.parquet"
    if file.exists():
        kept = pd.read_parquet(file)
        curves = pd.concat([curves, kept[~kept.data.isin(curves.data)]])
    order = {name: place for place, name in enumerate(SEEDS)}
    curves = curves.sort_values(["data", "seed", "stage"], key=lambda c: c.map(order).fillna(c))
    curves.to_parquet(file, index=False)
    means = summary(curves)
    names = [name for name in SEEDS if name in set(curves.data)]
    (HERE / "tables.md").write_text("\n\n".join(table(n, means) for n in names) + "\n")
    (HERE / "environment.json").write_text(json.dumps(environment(), indent=2) + "\n")
    for name in names:
        plot(name, curves)
    first_three = headline(summary(curves[curves.seed < 3]))
    file = HERE.parent / "headline.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    index = known | {"anytime": headline(means), "anytime_seeds_0_to_2": first_three}
    file.write_text(json.dumps(index, indent=2) + "\n")
    print((HERE / "tables.md").read_text())


def main() -> None:
    """Search what is missing, then write or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--data", nargs="+", choices=SEEDS, default=list(SEEDS))
    parser.add_argument("--penbased", type=Path, default=ROOT / "data" / "penbased.parquet")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / HERE.name)
    options = parser.parse_args()
    rows = [row for n in options.data for seed in SEEDS[n] for row in search(n, seed, options)]
    curves = pd.DataFrame(rows)
    if options.check:
        check(curves)
    else:
        write(curves)


if __name__ == "__main__":
    main()
