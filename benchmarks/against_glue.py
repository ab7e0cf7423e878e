"""The demo's search against the script that one would write with Optuna and a process pool.

Same data (files), teacher, students, epochs, candidates and rounds (the best of a round is kept in
any case, as the script does); two workers on both sides. The script
(``helpers/glue.py``) has less to do: no weak learners, journal, intervals or model card. Both sides
take turns; the figures are medians. Rounds are compared without the first one, in which workers
start on both sides; the command from its start to its end, once with two workers on Ray and once
as it chooses by itself (``workers.count`` open: this search runs in one process).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bdistil.datasets.bundled import digits

ROOT = Path(__file__).parents[1]
SPACE = ROOT / "search_spaces" / "digits.yaml"
GLUE = Path(__file__).parent / "helpers" / "glue.py"


def timed(command: list[str]) -> tuple[float, str]:
    """Seconds and output of a command in a process of its own."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stderr}")
    return time.perf_counter() - started, done.stdout


def search(data: Path, out: Path, *overrides: str) -> dict[str, Any]:
    """The product's whole command: seconds, those of its rounds, and what they kept."""
    source = ("data.name=null", f"data.path={data}", "data.split=part", "search.fallback=best")
    command = [sys.executable, "-m", "bdistil", "search", str(SPACE), *source, *overrides]
    whole, _ = timed([*command, "--out", str(out)])
    rounds = [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]
    stages = json.loads((out / "evaluation.json").read_text())["stages"]
    return {
        "whole": whole,
        "rounds": sum(each["seconds"] for each in rounds[1:]),
        "trained": sum(trial["seconds"] for each in rounds[1:] for trial in each["trials"]),
        "widths": [each["result"]["width"] for each in rounds],
        "accuracy": stages[-1]["metric"],
    }


def glue(data: Path, out: Path, widths: list[int]) -> dict[str, Any]:
    """The script: likewise."""
    whole, output = timed(
        [sys.executable, str(GLUE), str(data), str(out), ",".join(map(str, widths))]
    )
    told = json.loads(output)
    return {
        "whole": whole,
        "rounds": sum(told["seconds"][1:]),
        "accuracy": told["accuracy"][-1],
    }


def write_data(file: Path, own: Path) -> None:
    """The demo's three splits: standardised for the script, as they come for the search."""
    dataset = digits(seed=0, validation=0.2, test=0.2)
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    np.savez(
        own,
        x=np.concatenate([split.x for split in splits.values()]),
        y=np.concatenate([split.y for split in splits.values()]),
        part=np.concatenate([np.full(len(split), name) for name, split in splits.items()]),
    )
    arrays = {}
    for end, split in (
        ("", dataset.train), ("_validation", dataset.validation), ("_test", dataset.test),
    ):  # fmt: skip
        arrays["x" + end] = np.asarray(split.x, dtype=np.float32).reshape(len(split), -1)
        arrays["y" + end] = np.asarray(split.y)
    mean, deviation = arrays["x"].mean(), arrays["x"].std()
    for end in ("", "_validation", "_test"):
        arrays["x" + end] = (arrays["x" + end] - mean) / deviation
    np.savez(file, **arrays)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    sides: dict[str, list[dict[str, Any]]] = {"two workers": [], "one process": [], "glue": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own = folder / "digits.npz"
        write_data(folder / "data.npz", own)
        for turn in range(options.repeats):
            two = search(own, folder / f"two-{turn}", "workers.count=2")
            sides["two workers"].append(two)
            sides["glue"].append(glue(folder / "data.npz", folder / "glue.pt", two["widths"]))
            sides["one process"].append(search(own, folder / f"one-{turn}"))
    print("side         whole command s  rounds 2 to 8 s  last stage on test")
    figures = {}
    for side, runs in sides.items():
        whole, rounds = (median(run[key] for run in runs) for key in ("whole", "rounds"))
        print(f"{side:12s} {whole:15.1f}  {rounds:15.1f}  {runs[0]['accuracy']:18.3f}")
        figures |= {f"{side} whole": whole, f"{side} rounds": rounds}
    busy = median(run["trained"] / (2 * run["rounds"]) for run in sides["two workers"])
    print(f"two workers train {busy:.0%} of the time of rounds 2 to 8")
    figures["busy"] = busy
    for side in ("two workers", "one process"):
        for part in ("rounds", "whole"):
            ratios = [
                theirs[part] / ours[part]
                for ours, theirs in zip(sides[side], sides["glue"], strict=True)
            ]
            figures[f"{side} {part} sooner"] = median(ratios)
            print(f"{side}, {part}: {median(ratios):.2f} times sooner than the script")
    figures["ratio"] = figures["two workers rounds sooner"]
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
