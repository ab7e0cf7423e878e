"""Many trials in one search and many questions to one predictor: what grows that should not.

5,000 trials of a tiny search in this process, 200 of a search on Ray, then 100,000 predictions, of
them half by 64 threads at once. `ratio` is the memory after the last fifth of the trials over that
after the first fifth.
"""

from __future__ import annotations

import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
from memory import stored_bytes

import bdistil
from bdistil.cluster.ray_backend import RayBackend
from bdistil.searching.local import LocalBackend
from bdistil.spec import load_spec

ROUNDS, TRIALS = 50, 100
RAY_ROUNDS, RAY_TRIALS = 20, 10
ROWS, OUTPUT_BYTES = 20_000, 4 * 4  # of the search on Ray: those of `cube`, which has four classes
SHARED = Path("/dev/shm")
QUESTIONS, THREADS = 100_000, 64
SPEC = {
    "name": "load",
    "data": {"name": "cube", "options": {"examples": 120}},
    "teacher": {"model": "mlp", "options": {"widths": [8]}, "epochs": 2},
    "space": {"student": "mlp", "ladder": [2], "growth": 0, "epochs": 1, "connection": "none"},
    "search": {
        "rounds": ROUNDS,
        "tries_per_class": TRIALS,
        "select": "best",
        "fallback": "best",
        "algorithm": "random",
    },
    "workers": {"count": 0},
}


class Watched(LocalBackend):
    """The backend of this process, which notes what each round leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.process = psutil.Process()
        self.memory: list[float] = []
        self.files: list[int] = []

    def close_round(self) -> None:
        super().close_round()
        self.memory.append(self.process.memory_info().rss / 2**20)
        self.files.append(self.process.num_fds())


def searched(folder: Path) -> dict[str, float]:
    backend, began = Watched(), time.monotonic()
    run = bdistil.search(load_spec(SPEC), folder / "run", backend=backend)
    seconds = time.monotonic() - began
    trials = sum(len(record.trials) + len(record.stopped) for record in run.rounds)
    fifth = len(backend.memory) // 5
    early, late = backend.memory[fifth - 1], backend.memory[-1]
    size = sum(file.stat().st_size for file in run.directory.rglob("*") if file.is_file())
    return {
        "trials": trials,
        "seconds": round(seconds, 1),
        "MiB after a fifth": round(early, 1),
        "MiB at the end": round(late, 1),
        "KiB a trial": round(1024 * (late - early) / (trials * 0.8), 2),
        "descriptors more": backend.files[-1] - backend.files[0],
        "run KiB a trial": round(size / 1024 / trials, 2),
        "ratio": round(late / early, 3),
    }


class WatchedRay(RayBackend):
    """The backend on Ray, which notes what each round leaves in the object store."""

    def __init__(self) -> None:
        super().__init__()
        self.stored: list[int] = []

    def close_round(self) -> None:
        super().close_round()
        for process in psutil.Process().children(recursive=True):
            if "raylet/raylet" in " ".join(process.cmdline()):
                self.stored.append(stored_bytes(process))


def shared_names() -> set[str]:
    return {file.name for file in SHARED.iterdir()}


def searched_on_ray(folder: Path) -> dict[str, float]:
    """What a search puts into shared memory, and what it leaves there."""
    spec = load_spec(
        SPEC
        | {
            "data": {"name": "cube", "options": {"examples": ROWS}},
            "search": SPEC["search"] | {"rounds": RAY_ROUNDS, "tries_per_class": RAY_TRIALS},
            "workers": {"count": 2},
        }
    )
    before, backend = shared_names(), WatchedRay()
    run = bdistil.search(spec, folder / "ray", backend=backend)
    fifth = len(backend.stored) // 5
    return {
        "trials": sum(len(record.trials) + len(record.stopped) for record in run.rounds),
        "store MB after a fifth": round(backend.stored[fifth - 1] / 1e6, 2),
        "store MB at the end": round(backend.stored[-1] / 1e6, 2),
        "one margin MB": round(0.6 * ROWS * OUTPUT_BYTES / 1e6, 2),
        "names left in /dev/shm": len(shared_names() - before),
    }


def predicted(folder: Path) -> dict[str, float]:
    predictor, process = bdistil.Predictor(folder / "run", backend="torch"), psutil.Process()
    x = np.random.default_rng(0).normal(size=(64, 16)).astype(np.float32)
    expected = predictor.predict(x)
    predictor.warm_up()
    before, files, began = process.memory_info().rss, process.num_fds(), time.monotonic()

    def ask(number: int) -> bool:
        row = number % len(x)
        return bool(predictor.predict(x[row : row + 1], stages=len(predictor))[0] == expected[row])

    right = sum(map(ask, range(QUESTIONS // 2)))
    with ThreadPoolExecutor(THREADS) as pool:
        right += sum(pool.map(ask, range(QUESTIONS // 2), chunksize=100))
    return {
        "questions": QUESTIONS,
        "right": right,
        "microseconds each": round(1e6 * (time.monotonic() - began) / QUESTIONS, 1),
        "MiB more": round((process.memory_info().rss - before) / 2**20, 1),
        "descriptors more": process.num_fds() - files,
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        search, on_ray = searched(Path(name)), searched_on_ray(Path(name))
        questions = predicted(Path(name))
    for title, figures in (("search", search), ("on Ray", on_ray), ("predictor", questions)):
        print(title)
        for key, value in figures.items():
            print(f"  {key:22} {value:,}")
    every = {"search": search, "on_ray": on_ray, "predictor": questions}
    print(json.dumps({"ratio": search["ratio"]} | every))


if __name__ == "__main__":
    main()
