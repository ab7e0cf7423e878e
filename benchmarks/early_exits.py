"""What leaving early saves by the clock: the default policy against going straight to the end.

For finished runs (directories as arguments; without any, the demo, searched in this process), in
onnxruntime, one thread, one example a call, with the predictor's own cost: every test example is
answered once in each way, in turns. Printed: test metric of both, the share that leaves before
the last stage, and the mean time over that of going straight (target: .6 where it can pay; 1 and
nobody leaving where it cannot).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import bdistil
from bdistil.cluster.launch import launch_search
from bdistil.export.onnx_export import export_onnx
from bdistil.runtime.onnx_runner import ONNX_FOLDER
from bdistil.searching.result import SearchResult
from bdistil.spec import load_spec

DEMO = Path(__file__).parents[1] / "search_spaces" / "digits.yaml"
MOST = 2_000  # test examples


def results(arguments: list[str], folder: Path) -> Iterator[SearchResult]:
    """Of the arguments, or of the demo."""
    yield from map(SearchResult.of, arguments)
    if not arguments:
        yield launch_search(load_spec(DEMO, ["workers.count=0"]), folder / "demo")


def measure(result: SearchResult, folder: Path) -> dict[str, float]:
    """The default policy beside the straight way on the test split."""
    ensemble, test = result.build_ensemble(), result.dataset.test
    x, y = test.x[:MOST].astype(np.float32), test.y[:MOST]
    ensemble.save_pretrained(folder)
    examples = result.dataset.validation.x[:64].astype(np.float32)
    export_onnx(ensemble, folder / ONNX_FOLDER, examples)
    predictor = bdistil.Predictor(folder, backend="onnx")
    predictor.warm_up()
    point = predictor.policy()
    seconds, right, stages = np.zeros((2, len(x))), np.zeros((2, len(x))), np.zeros(len(x))
    classes = predictor.manifest.classes
    for row in range(len(x)):
        example = x[row : row + 1]
        begun = time.perf_counter()
        straight = predictor.answer(example)
        between = time.perf_counter()
        early = predictor.answer(example, exit=point)
        seconds[:, row] = between - begun, time.perf_counter() - between
        right[:, row] = [classes[y[row]] == answer.values[0] for answer in (straight, early)]
        stages[row] = early.stages[0]
    return {
        "ratio": float(seconds[1].mean() / seconds[0].mean()),
        "foretold": point.cost / predictor.times().straight,
        "straight us": 1e6 * float(seconds[0].mean()),
        "metric": float(right[0].mean()),
        "metric early": float(right[1].mean()),
        "leave early": float((stages < len(predictor)).mean()),
        "mean stage": float(stages.mean()),
        "stages": len(predictor),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        found = {}
        for number, result in enumerate(results(sys.argv[1:], Path(name))):
            figures = measure(result, Path(name) / str(number))
            found[result.run.spec().name] = figures
            print(result.run.path, ", ".join(f"{k} {v:.4g}" for k, v in figures.items()))
    print(json.dumps({"ratio": max(each["ratio"] for each in found.values()), "runs": found}))


if __name__ == "__main__":
    main()
