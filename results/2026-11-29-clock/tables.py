"""What was measured, as one file and as the tables of the README."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from models import Model, kept_models
from numpy.typing import NDArray

HERE = Path(__file__).parent
Row = dict[str, Any]
MARGIN = 0.003  # of accuracy that a cascade may lose on validation against its teacher alone


@dataclass(frozen=True)
class Measured:
    """One model of one seed.

    Attributes:
        accuracy: on test.
        validation: the same on validation.
        time_ratio: seconds of one example over the teacher's.
        time_ratio_64: likewise of 64 at once.
        microseconds: of one example.
        asked: share of the test examples that go on to the teacher.
    """

    name: str
    family: str
    accuracy: float
    validation: float
    time_ratio: float
    time_ratio_64: float
    microseconds: float
    asked: float = 0.0


class Comparison:
    """One folder: a data set, a seed, and all its models' answers and times."""

    def __init__(self, folder: Path) -> None:
        self.set, _, self.seed = folder.name.rpartition("-")
        self.models = {each.name: each for each in kept_models(folder)}
        self.answers = np.load(folder / "answers.npz")
        self.seconds = json.loads((folder / "seconds.json").read_text())

    def measured(self) -> Iterator[Measured]:
        """Each model alone, then in front of the teacher."""
        for model in self.models.values():
            yield self.alone(model)
        for model in self.models.values():
            if model.family != "teacher":
                yield self.before_teacher(model)

    def alone(self, model: Model) -> Measured:
        """A model that answers every example."""
        return Measured(
            model.name,
            model.family,
            self.accuracy(model.name, "test"),
            self.accuracy(model.name, "validation"),
            *self.times(model.name),
        )

    def before_teacher(self, model: Model) -> Measured:
        """A model that hands on the examples it is least sure of.

        The threshold is the lowest at which both together lose at most MARGIN on validation. Time
        is the model's on all examples and the teacher's on its share.
        """
        threshold = self.threshold(model.name)
        asked = {
            split: self.confidence(model.name, split) < threshold
            for split in ("validation", "test")
        }
        right = {
            split: np.where(
                asked[split], self.right("teacher", split), self.right(model.name, split)
            )
            for split in asked
        }
        share = float(asked["test"].mean())
        one, many, micro = self.times(model.name)
        teacher = self.times("teacher")
        return Measured(
            f"{model.name}, then the teacher",
            model.family,
            float(right["test"].mean()),
            float(right["validation"].mean()),
            one + share,
            many + share,
            micro + share * teacher[2],
            share,
        )

    def threshold(self, name: str) -> float:
        """Below which the teacher is asked, fitted on validation."""
        sure = self.confidence(name, "validation")
        order = np.argsort(sure, kind="stable")
        own, teachers = self.right(name, "validation"), self.right("teacher", "validation")
        handed = np.concatenate([[0], np.cumsum(teachers[order])])
        kept = own.sum() - np.concatenate([[0], np.cumsum(own[order])])
        enough = (handed + kept) / len(sure) >= teachers.mean() - MARGIN
        first = int(np.argmax(enough))
        return -math.inf if first == 0 else float(np.nextafter(sure[order[first - 1]], math.inf))

    def right(self, name: str, split: str) -> NDArray[np.float64]:
        """Whether each example is answered as it should be."""
        found = self.answers[f"{split}/{name}"].argmax(axis=1)
        return (found == self.answers[f"truth/{split}"]).astype(np.float64)

    def confidence(self, name: str, split: str) -> NDArray[np.float64]:
        """Probability of the likeliest class."""
        return self.answers[f"{split}/{name}"].max(axis=1)

    def accuracy(self, name: str, split: str) -> float:
        """Share of the examples that are answered rightly."""
        return float(self.right(name, split).mean())

    def times(self, name: str) -> tuple[float, float, float]:
        """Over the teacher's for one example and for 64; microseconds for one."""
        one, many = self.seconds["1"], self.seconds["64"]
        return (one[name] / one["teacher"], many[name] / many["teacher"], 1e6 * one[name])


def rows_of(work: Path) -> list[Row]:
    """Every model of every seed."""
    rows: list[Row] = []
    for folder in sorted(path.parent for path in work.glob("*/seconds.json")):
        comparison = Comparison(folder)
        examples = len(comparison.answers["truth/test"])
        head = {"set": comparison.set, "seed": comparison.seed, "test_examples": examples}
        flops = flops_of(folder)
        rows += [
            head | vars(each) | {"flops_ratio": flops.get(each.name)}
            for each in comparison.measured()
        ]
    return rows


def flops_of(folder: Path) -> dict[str, float]:
    """Of our stages, over the teacher's, where the teacher's can be counted."""
    found = json.loads((folder / "run" / "evaluation.json").read_text())
    shares = {f"stage {each['stage']}": each["flops_fraction"] for each in found["stages"]}
    return {name: share for name, share in shares.items() if share is not None}


def write_rows(rows: list[Row]) -> None:
    """Into models.csv."""
    with (HERE / "models.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for row in rows:
            shown = {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()}
            writer.writerow(shown)


def chosen(rows: list[Row]) -> dict[str, Row]:
    """Of one set and seed: what a user would compare, each chosen on validation.

    A rival is the best one that takes no more time than the stage that is served (a tenth more is
    let pass, as times are that uncertain); if none is so fast, the fastest. In front of the teacher
    whatever takes the least time with it.
    """
    alone = [row for row in rows if ", then the teacher" not in row["name"]]
    joined = [row for row in rows if ", then the teacher" in row["name"]]
    stages = [row for row in alone if row["family"] == "ours"]
    rivals = [row for row in alone if row["family"] == "rival"]
    served = max(stages, key=lambda row: (row["validation"], -row["time_ratio"]))
    enough = [row for row in rivals if row["time_ratio"] <= 1.1 * served["time_ratio"]]
    enough = enough or [min(rivals, key=lambda row: row["time_ratio"])]

    def fastest(family: str) -> Row:
        return min(
            (row for row in joined if row["family"] == family), key=lambda row: row["time_ratio"]
        )

    return {
        "teacher": next(row for row in alone if row["family"] == "teacher"),
        "ours, first stage": stages[0],
        "ours, served stage": served,
        "best rival in that time, or the fastest": max(enough, key=lambda row: row["validation"]),
        "best rival in any time": max(rivals, key=lambda row: row["validation"]),
        "ours, then the teacher": fastest("ours"),
        "best rival, then the teacher": fastest("rival"),
    }


def headline(rows: list[Row]) -> dict[str, list[Row]]:
    """Per set the methods of :func:`chosen`, means over its seeds."""
    found: dict[str, list[Row]] = {}
    for name in dict.fromkeys(row["set"] for row in rows):
        here = [row for row in rows if row["set"] == name]
        seeds = [
            chosen([row for row in here if row["seed"] == seed])
            for seed in dict.fromkeys(row["seed"] for row in here)
        ]
        found[name] = [summary(method, [seed[method] for seed in seeds]) for method in seeds[0]]
    return found


def summary(method: str, rows: list[Row]) -> Row:
    """Means over seeds; the interval of the accuracy is that of one test split's size."""
    metric = float(np.mean([row["accuracy"] for row in rows]))
    half = 1.96 * math.sqrt(metric * (1 - metric) / rows[0]["test_examples"])
    flops = [row["flops_ratio"] for row in rows if row["flops_ratio"] is not None]

    def mean(key: str) -> float:
        return round(float(np.mean([row[key] for row in rows])), 5)

    return {
        "method": method,
        "models": [row["name"] for row in rows],
        "seeds": len(rows),
        "metric": round(metric, 4),
        "interval": [round(metric - half, 4), round(min(1.0, metric + half), 4)],
        "time_ratio": mean("time_ratio"),
        "time_ratio_64": mean("time_ratio_64"),
        "microseconds": round(mean("microseconds"), 2),
        "asked": mean("asked"),
        "flops_ratio": round(float(np.mean(flops)), 4) if len(flops) == len(rows) else None,
    }


def tell(work: Path) -> None:
    """Write models.csv and `clock` of headline.json; print the tables."""
    rows = rows_of(work)
    write_rows(rows)
    found = headline(rows)
    file = HERE.parent / "headline.json"
    content = json.loads(file.read_text()) | {"clock": found}
    file.write_text(json.dumps(content, indent=2) + "\n")
    print("| set | method | which | accuracy | time, one | time, 64 | µs | FLOPs | asked |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, methods in found.items():
        for each in methods:
            flops = each["flops_ratio"]
            print(
                f"| {name} | {each['method']} | {'; '.join(dict.fromkeys(each['models']))} "
                f"| {each['metric']:.4f} ({each['interval'][0]:.3f} to {each['interval'][1]:.3f}) "
                f"| {each['time_ratio']:.3g} | {each['time_ratio_64']:.3g} "
                f"| {each['microseconds']:.3g} | {'–' if flops is None else f'{flops:.3g}'} "
                f"| {each['asked']:.1%} |"
            )
