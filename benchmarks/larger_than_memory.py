"""Private memory of driver and workers against the size of the features, in memory and mapped.

The same whole search (teacher, one round on two workers, evaluation) on the same made-up numbers:
from an NPZ file, which is read whole, and from a folder of NPY files, whose features stay on disk.
*Private* is resident memory that is not shared, the heap; pages of files that are mapped can be
taken back at any time and do not count, pages of Ray's object store are reported apart. Both are
given above the same search on a few rows. Runs in under five minutes on two cores and needs no
arguments; ``--gb 2 --mapped-only`` makes it larger.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from memory import Phases, Sampler
from numpy.lib.format import open_memmap

from bdistil.cluster.launch import launch_search
from bdistil.spec import Spec, load_spec

FEATURES = 256
FEW_ROWS = 20_000
BLOCK = 50_000


def write_data(folder: Path, rows: int) -> None:
    """``x.npy`` and ``y.npy``: normal points, labelled by the sign of a sum."""
    random = np.random.default_rng(0)
    x = open_memmap(folder / "x.npy", "w+", np.float32, (rows, FEATURES))
    y = np.empty(rows, np.int64)
    for start in range(0, rows, BLOCK):
        block = random.standard_normal((min(BLOCK, rows - start), FEATURES), dtype=np.float32)
        x[start : start + BLOCK], y[start : start + BLOCK] = block, block[:, :8].sum(axis=1) > 0
    x.flush()
    np.save(folder / "y.npy", y)


def search_space(path: Path) -> Spec:
    return load_spec(
        {
            "data": {"path": str(path), "validation": 0.1, "test": 0.1},
            "teacher": {"options": {"widths": [8]}, "epochs": 1, "batch_size": 8192},
            "space": {"student": "mlp", "ladder": [4], "epochs": 1, "batch_size": 1024},
            "search": {
                "rounds": 1,
                "tries_per_class": 2,
                "select": "best",
            },
        }
    )


def peaks(rows: int, mapped: bool) -> dict[str, int]:
    """The largest figures of one search, in bytes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "data"
        folder.mkdir()
        write_data(folder, rows)
        if not mapped:
            np.savez(folder / "data.npz", **{n: np.load(folder / f"{n}.npy") for n in "xy"})
            (folder / "x.npy").unlink()
        sampler = Sampler()
        sampler.start()
        source = folder if mapped else folder / "data.npz"
        launch_search(search_space(source), Path(name) / "run", reporter=Phases(sampler))
        sampler.done.set()
        sampler.join()
    driver = max(value for role, value in sampler.peak.items() if role.startswith("driver"))
    others = {role: sampler.peak.get(role, 0) for role in ("worker", "player")}
    return {"driver": driver} | others | {"store": sampler.store}


def in_fresh_process(rows: int, mapped: bool) -> dict[str, int]:
    """The same in a process of its own: what one search leaves must not be another's baseline."""
    command = [sys.executable, __file__, f"--one={rows}", *(["--mapped-only"] if mapped else [])]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=0.5, help="of float32 features")
    parser.add_argument("--mapped-only", action="store_true", help="leave the other side out")
    parser.add_argument("--one", type=int, help="one search on so many rows, its figures as JSON")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(peaks(given.one, given.mapped_only)))
        return
    rows = int(given.gb * 1e9 / (4 * FEATURES))
    sides = {"mapped": True} | ({} if given.mapped_only else {"in memory": False})
    above = {}
    for side, mapped in sides.items():
        small, large = (in_fresh_process(count, mapped) for count in (FEW_ROWS, rows))
        above[side] = {role: large[role] - small[role] for role in large}
    print(f"features: {rows} x {FEATURES} float32 = {given.gb:g} GB; MB above {FEW_ROWS} rows")
    print("           " + "".join(f"{side:>12s}" for side in sides))
    for role in above["mapped"]:
        print(f"  {role:9s}" + "".join(f"{above[side][role] / 1e6:12.0f}" for side in sides))
    size = rows * FEATURES * 4
    ratio = max(above["mapped"][role] for role in ("driver", "worker", "player")) / size
    print(json.dumps({"ratio": ratio, "features_bytes": size, "above": above}))


if __name__ == "__main__":
    main()
