"""What a question costs above the bare graph, and how deadlines are kept.

An ensemble with the structure of the demo (eight MLPs for 8 x 8 images) in onnxruntime, one
example, one thread; bare session and predictor take turns, medians in microseconds. Then 2,000
calls each at deadlines of .1, 1 and 5 ms, alone and beside a thread that keeps Python busy: how
many were late, the 99th percentile, the longest, and the mean stage; with them, how many bare calls
were longer than the deadline, which no predictor can help. `ratio` is a whole question over the
bare call.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import bdistil
from bdistil.cluster.launch import launch_search
from bdistil.core.cost import timed_in_turns
from bdistil.export.onnx_export import export_onnx
from bdistil.runtime.onnx_runner import INPUT, ONNX_FOLDER, prefix_file
from bdistil.spec import load_spec

SPACES = Path(__file__).parents[1] / "search_spaces"
SHORT = ("teacher.epochs=1", "space.epochs=1", "search.tries_per_class=1", "search.fallback=best")
SECONDS, CALLS = 4.0, 2_000
DEADLINES = (1e-4, 1e-3, 5e-3)


def saved(folder: Path) -> Path:
    """The demo's structure, hardly trained."""
    overrides = [*SHORT, "space.ladder=[5]", "workers.count=0"]
    run = launch_search(load_spec(SPACES / "digits.yaml", overrides), folder / "run")
    ensemble = run.build_ensemble()
    ensemble.save_pretrained(folder / "model")
    examples = run.dataset.validation.x[:64].astype(np.float32)
    export_onnx(ensemble, folder / "model" / ONNX_FOLDER, examples)
    return folder / "model"


def bare_call(predictor: bdistil.Predictor, x: np.ndarray) -> Callable[[], object]:
    session = predictor.runner._graph(prefix_file(len(predictor))).session
    return lambda: session.run(None, {INPUT: x})


def medians(predictor: bdistil.Predictor, x: np.ndarray) -> dict[str, float]:
    sides: dict[str, Callable[[], object]] = {
        "bare session": bare_call(predictor, x),
        "predict": lambda: predictor.predict(x),
        "answer": lambda: predictor.answer(x),
        "predict, deadline 5 ms": lambda: predictor.predict(x, deadline=5e-3),
    }
    rows = timed_in_turns([*sides.values()], repeats=100, seconds=SECONDS)
    middle = 1e6 * np.median(np.array(rows), axis=0)
    return dict(zip(sides, middle.tolist(), strict=True))


def kept(predictor: bdistil.Predictor, x: np.ndarray, deadline: float) -> dict[str, float]:
    seconds, stages, bare = np.empty(CALLS), np.empty(CALLS), np.empty(CALLS)
    bare_one = bare_call(predictor, x)
    for call in range(CALLS):
        begun = time.perf_counter()
        answer = predictor.answer(x, deadline=deadline)
        done = time.perf_counter()
        bare_one()
        bare[call] = time.perf_counter() - done
        seconds[call], stages[call] = done - begun, answer.stages[0]
    return {
        "late": float(np.mean(seconds > deadline)),
        "bare late": float(np.mean(bare > deadline)),
        "p99 ms": 1e3 * float(np.quantile(seconds, 0.99)),
        "longest ms": 1e3 * float(seconds.max()),
        "mean stage": float(stages.mean()),
    }


@contextmanager
def busy_thread() -> Iterator[None]:
    """Python that never waits, in another thread."""
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            sum(range(1000))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        predictor = bdistil.Predictor(saved(Path(name)), backend="onnx")
        x = np.random.default_rng(0).random((1, 1, 8, 8), dtype=np.float32) * 16
        predictor.warm_up()
        times = medians(predictor, x)
        deadlines = {f"{1e3 * each:g} ms": kept(predictor, x, each) for each in DEADLINES}
        with busy_thread():
            for each in DEADLINES:
                deadlines[f"{1e3 * each:g} ms, busy"] = kept(predictor, x, each)
    for side, microseconds in times.items():
        print(f"{side:24} {microseconds:7.1f} us")
    for deadline, figures in deadlines.items():
        print(f"within {deadline:12} " + ", ".join(f"{k} {v:.4g}" for k, v in figures.items()))
    ratio = times["predict"] / times["bare session"]
    print(json.dumps({"ratio": ratio, "microseconds": times, "deadlines": deadlines}))


if __name__ == "__main__":
    main()
