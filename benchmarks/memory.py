"""Private memory of every process in a real search, against the bytes of one margin matrix.

A whole search on made-up data: a teacher is trained, two workers search two students, the ensemble
is evaluated. Meanwhile each process is sampled ten times a second. *Private* is resident memory
that is not shared: the heap. Pages of Ray's object store and of files on disk are shared; the store
is reported apart. The same search on a few rows gives each process's baseline (Python, torch, Ray,
Tune), which is reported and subtracted. Runs in under five minutes on two cores and needs no
arguments; ``--rows 2000000`` makes it larger.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from pathlib import Path

import numpy as np
import psutil

from bdistil.cluster.launch import launch_search
from bdistil.data.assemble import assemble
from bdistil.data.dataset import Dataset
from bdistil.data.split import split_indices
from bdistil.datasets.catalogue import register_dataset
from bdistil.runs.journal import RoundRecord
from bdistil.searching.progress import Silent, Snapshot
from bdistil.spec import Spec, load_spec

FEATURES = 8
FEW_ROWS = 20_000
ROUNDS = 2
ROLES = {"ImplicitFunc": "worker", "TrialWorker": "worker", "Player": "player", "Board": "board"}


@register_dataset(
    "made_up", domain="tabular", input_shape=(FEATURES,), classes=2, examples=1, source="synthetic"
)
def made_up(seed: int, validation: float, test: float, rows: int = 1, outputs: int = 2) -> Dataset:
    """Normal points, labelled by the quantile of the first feature."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((rows, FEATURES), dtype=np.float32)
    y = x[:, 0].argsort().argsort() * outputs // rows
    names = tuple(map(str, range(outputs)))
    indices = split_indices(y, names, validation=validation, test=test, seed=seed)
    return assemble("made_up", "tabular", x, y, indices, class_names=names)


class Sampler(threading.Thread):
    """Largest private memory of the processes of each role in each phase, in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.driver = psutil.Process()
        self.phase = ""
        self.done = threading.Event()
        self.peak: dict[str, int] = defaultdict(int)
        self.store = 0
        self.enter("loads the data")

    def enter(self, phase: str) -> None:
        """From here on the driver does something else."""
        self.phase = phase
        self.note(f"driver {phase}", self.driver)

    def run(self) -> None:
        while not self.done.wait(0.1):
            self.note(f"driver {self.phase}", self.driver)
            for process in self.driver.children(recursive=True):
                with contextlib.suppress(psutil.Error, OSError):  # it has ended
                    self.look_at(process)

    def look_at(self, process: psutil.Process) -> None:
        title = " ".join(process.cmdline())
        if "raylet/raylet" in title:
            self.store = max(self.store, stored_bytes(process))
        for name, role in ROLES.items():
            if f"ray::{name}" in title:
                self.note(role, process)

    def note(self, role: str, process: psutil.Process) -> None:
        memory = process.memory_info()
        self.peak[role] = max(self.peak[role], memory.rss - memory.shared)


def stored_bytes(raylet: psutil.Process) -> int:
    """Pages that a node's object store has ever used: it maps unnamed files in /dev/shm."""
    files = {file.stat() for file in Path(f"/proc/{raylet.pid}/fd").iterdir() if is_store(file)}
    return sum(blocks * 512 for _, blocks in {(file.st_ino, file.st_blocks) for file in files})


def is_store(file: Path) -> bool:
    return "plasma" in str(file.readlink())


class Phases(Silent):
    """Tells the sampler what the driver is doing."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler

    def message(self, text: str) -> None:
        self.sampler.enter("teaches and stores")

    def update(self, snapshot: Snapshot) -> None:
        self.sampler.enter("searches" if len(snapshot.records) < ROUNDS else "evaluates")

    def round_accepted(self, record: RoundRecord) -> None:
        if record.round == ROUNDS:  # nothing is shown after the last one
            self.sampler.enter("evaluates")


def search_space(rows: int, outputs: int) -> Spec:
    share = {"validation": 0.1, "test": 0.1}
    options = {"rows": rows, "outputs": outputs}
    return load_spec(
        {
            "data": {"name": "made_up", "options": options} | share,
            "teacher": {"options": {"widths": [8]}, "epochs": 1, "batch_size": 8192},
            "space": {"student": "mlp", "ladder": [4], "epochs": 1, "batch_size": 8192},
            "workers": {"count": 2},  # or so small a search would do without
            "search": {
                "rounds": ROUNDS,
                "tries_per_class": 2,
                "select": "best",
                "fallback": "best",
            },
        }
    )


def peaks(rows: int, outputs: int) -> dict[str, int]:
    """The largest figures of one search, in bytes."""
    sampler = Sampler()
    sampler.start()
    with tempfile.TemporaryDirectory() as folder:
        launch_search(search_space(rows, outputs), Path(folder) / "run", reporter=Phases(sampler))
    sampler.done.set()
    sampler.join()
    return {"store": sampler.store} | sampler.peak


def in_fresh_process(rows: int, outputs: int) -> dict[str, int]:
    """The same in a process of its own: what one search leaves must not be another's baseline."""
    command = [sys.executable, __file__, "--one", f"--rows={rows}", f"--outputs={outputs}"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of all splits")
    parser.add_argument("--outputs", type=int, default=100)
    parser.add_argument("--one", action="store_true", help="one search, its figures as JSON")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(peaks(given.rows, given.outputs)))
        return
    training = given.rows * 8 // 10
    margin = training * given.outputs * 4
    small, large = (in_fresh_process(rows, given.outputs) for rows in (FEW_ROWS, given.rows))
    print(f"one margin: {training} x {given.outputs} float32 = {margin / 1e6:.0f} MB")
    print("peak of private memory      baseline MB   above it MB   of a margin")
    shares = {}
    for role in large:
        above = large[role] - small[role]
        shares[role] = above / margin
        print(f"  {role:24s} {small[role] / 1e6:12.0f} {above / 1e6:13.0f} {shares[role]:13.2f}")
    ratio = max(share for role, share in shares.items() if role != "store")
    print(json.dumps({"ratio": ratio, "margin_bytes": margin} | shares))


if __name__ == "__main__":
    main()
