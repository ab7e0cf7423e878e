"""What leaving early saves by the clock: the default policy against going straight to the end.

For finished runs (directories as arguments; without any, the demo, searched in this process), in
onnxruntime, one thread, one example a call, with the predictor's own cost: every test example is
answered once in each way, in turns. Printed: test metric of all, the share that leaves before
the last stage, and the mean time over that of going straight, for the default policy and for one
that may lose .2 points on validation (target: .6 where it can pay; 1 and nobody leaving where it
cannot).
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
from bdistil.runtime.choice import worth_it
from bdistil.runtime.exits import OperatingPoint
from bdistil.runtime.onnx_runner import ONNX_FOLDER
from bdistil.searching.result import SearchResult
from bdistil.spec import load_spec

DEMO = Path(__file__).parents[1] / "search_spaces" / "digits.yaml"
MOST = 2_000  # test examples
LOST = 0.002  # of the metric on validation


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
    ways = {"straight": None, "default": predictor.policy(), "lossy": lossy(predictor)}
    seconds, right, stages = (np.zeros((len(ways), len(x))) for _ in range(3))
    classes = predictor.manifest.classes
    points, random = list(ways.values()), np.random.default_rng(0)
    for row in range(len(x)):
        example = x[row : row + 1]
        for way in random.permutation(len(ways)):
            begun = time.perf_counter()
            answer = predictor.answer(example, exit=points[way])
            seconds[way, row] = time.perf_counter() - begun
            right[way, row] = classes[y[row]] == answer.values[0]
            stages[way, row] = answer.stages[0]
    figures = {"straight us": 1e6 * float(seconds[0].mean()), "stages": len(predictor)}
    for way, (name, point) in enumerate(ways.items()):
        figures[f"{name} metric"] = float(right[way].mean())
        if point is not None:
            figures[f"{name} ratio"] = float(seconds[way].mean() / seconds[0].mean())
            figures[f"{name} foretold"] = point.cost / predictor.times().straight
            figures[f"{name} leave early"] = float((stages[way] < len(predictor)).mean())
    return figures


def lossy(predictor: bdistil.Predictor) -> OperatingPoint:
    """The policy that takes the least time of those that lose at most :data:`LOST` as measured.

    One that saves next to nothing counts as none, as in :meth:`bdistil.Predictor.policy`.
    """
    calibration = predictor.manifest.calibration
    assert calibration is not None
    points = predictor.times().timed(calibration.exits)
    full = max(points, key=lambda point: point.stages)
    kept = [point for point in worth_it(points) if point.metric >= full.metric - LOST]
    return min(kept, key=lambda point: point.cost)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        found = {}
        for number, result in enumerate(results(sys.argv[1:], Path(name))):
            figures = measure(result, Path(name) / str(number))
            found[result.run.spec().name] = figures
            print(result.run.path, ", ".join(f"{k} {v:.4g}" for k, v in figures.items()))
    ratio = max(each["lossy ratio"] for each in found.values())
    print(json.dumps({"ratio": ratio, "runs": found}))


if __name__ == "__main__":
    main()
