"""What going straight to the last stage takes: students one by one, stacked, all stages at once.

The ensembles have the structure that the search spaces of digits (the demo: eight MLPs) and of
FashionMNIST (three convnets) give; they are hardly trained, as weights do not change the time, and
the second on random images. One thread, one example and 256, by torch and by onnxruntime; all sides
of a runtime and a batch take turns. Printed: medians over the teacher's, the way that was chosen,
and the largest difference of a logit from the step-by-step ensemble.

Targets, over the teacher: digits .75 in onnxruntime and .5 in torch for one example, .15 and .2 for
256; FashionMNIST .35 and .3. With other work on the machine the figures differ by a tenth.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bdistil.cluster.launch import launch_search
from bdistil.core.cost import timed_in_turns
from bdistil.export.ensemble import Ensemble
from bdistil.export.graphs import PrefixGraph
from bdistil.export.onnx_export import export_module, export_onnx
from bdistil.export.teacher_export import RawTeacher
from bdistil.runtime.onnx_runner import ALL_STAGES_FILE, OnnxRunner, prefix_file
from bdistil.searching.outcome import teacher_network
from bdistil.searching.result import SearchResult
from bdistil.spec import load_spec

SPACES = Path(__file__).parents[1] / "search_spaces"
SHORT = ("teacher.epochs=1", "space.epochs=1", "search.tries_per_class=1", "search.fallback=best")
LADDERS = {"digits": ("space.ladder=[5]",), "fashion_mnist": ()}  # as classes of trained ones
BATCHES, SECONDS = (1, 256), 4.0

Call = Callable[[NDArray[np.float32]], object]


def search(name: str, folder: Path) -> SearchResult:
    """A search of one epoch, on random images where the data need a download."""
    overrides = [*SHORT, *LADDERS[name], "workers.count=0"]
    if name != "digits":
        random = np.random.default_rng(0)
        x = random.normal(size=(900, 1, 28, 28)).astype(np.float32)
        np.savez(folder / "images.npz", x=x, y=np.arange(len(x)) % 10)
        overrides.append(f"data={{path: {folder / 'images.npz'}}}")
    return launch_search(load_spec(SPACES / f"{name}.yaml", overrides), folder / name)


def torch_sides(ensemble: Ensemble, teacher: RawTeacher) -> dict[str, Call]:
    """By torch; with the ensemble's own call around its modules."""
    last = len(ensemble)
    one_by_one, way = PrefixGraph(ensemble, last).eval(), ensemble.config.stacking[-1]
    at_once = ensemble.stack(range(1, last + 1), "apart" if way == "none" else way)
    modules: dict[str, Callable[[torch.Tensor], object]] = {
        "teacher": teacher,
        "one by one": one_by_one,
        "chosen": ensemble,
        "all stages": at_once,
    }
    return {name: of_arrays(module) for name, module in modules.items()}


def of_arrays(module: Callable[[torch.Tensor], object]) -> Call:
    return lambda x: module(torch.as_tensor(x))


def onnx_sides(
    ensemble: Ensemble, teacher: RawTeacher, folder: Path, examples: NDArray[np.float32]
) -> tuple[dict[str, Call], str, float]:
    """By onnxruntime, and what the export said of them."""
    found = export_onnx(ensemble, folder, examples)
    others = {"teacher": teacher, "one_by_one": PrefixGraph(ensemble, len(ensemble))}
    for name, module in others.items():
        export_module(module.eval(), examples, folder / "others" / f"{name}.onnx")
    graphs = OnnxRunner(folder, ensemble.outputs)
    rest = OnnxRunner(folder / "others", ensemble.outputs)
    sides: dict[str, Call] = {
        "teacher": rest.graph("teacher.onnx"),
        "one by one": rest.graph("one_by_one.onnx"),
        "chosen": graphs.graph(prefix_file(len(ensemble))),
        "all stages": graphs.graph(ALL_STAGES_FILE),
    }
    return sides, found.way, found.difference


@torch.inference_mode()
def ratios(sides: dict[str, Call], x: NDArray[np.float32]) -> dict[str, float]:
    """Medians over the teacher's, and its microseconds."""
    calls = [lambda call=call: call(x) for call in sides.values()]
    rows = timed_in_turns(calls, repeats=50, warmup=10, seconds=SECONDS)
    medians = dict(zip(sides, np.median(np.array(rows), axis=0), strict=True))
    teacher = medians.pop("teacher")
    return {name: float(t / teacher) for name, t in medians.items()} | {"us": 1e6 * float(teacher)}


@torch.inference_mode()
def difference(ensemble: Ensemble, x: NDArray[np.float32]) -> float:
    """Of the stacked last stage from the students one after another, by torch."""
    steps = list(ensemble.stages(torch.as_tensor(x)))
    return float((ensemble(torch.as_tensor(x)) - steps[-1]).abs().max())


def measure(name: str, folder: Path) -> dict[str, Any]:
    """All figures of one ensemble; prints its lines."""
    result = search(name, folder)
    ensemble, x = result.build_ensemble(), result.dataset.test.x.astype(np.float32)
    network = teacher_network(result.run, result.dataset)
    assert network is not None  # both spaces train theirs
    teacher = RawTeacher(network, ensemble).eval()
    graphs, way, off = onnx_sides(ensemble, teacher, folder / "graphs", x[:64])
    runtimes = {
        "torch": (torch_sides(ensemble, teacher), ensemble.config.stacking[-1]),
        "onnxruntime": (graphs, way),
    }
    found: dict[str, Any] = {"torch_off": difference(ensemble, x[:64]), "onnxruntime_off": off}
    for runtime, (sides, chosen) in runtimes.items():
        for batch in BATCHES:
            line = ratios(sides, x[np.arange(batch) % len(x)])
            found[f"{runtime}-{batch}"] = line | {"way": chosen}
            sides_shown = (line[key] for key in ("one by one", "chosen", "all stages"))
            shown = "  ".join(f"{ratio:10.2f}" for ratio in sides_shown)
            print(f"{name:13}  {runtime:11}  {batch:5}  {line['us']:10.1f}  {shown}  {chosen}")
    widths = ", ".join(str(student.width) for student in ensemble.config.students)
    print(f"{name}, widths {widths}: off by {found['torch_off']:.1e} (onnxruntime {off:.1e})")
    return found


def main() -> None:
    """Print the table and, last, one JSON line."""
    print("ensemble       runtime      batch  teacher us  one by one      chosen  all stages  way")
    found = {}
    for name in ("digits", "fashion_mnist"):
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measure(name, Path(folder))
    chosen = {
        f"{name}-{key}": side["chosen"]
        for name, sides in found.items()
        for key, side in sides.items()
        if isinstance(side, dict)
    }
    print(json.dumps({"ratio": chosen["digits-onnxruntime-1"], "chosen": chosen, "all": found}))


if __name__ == "__main__":
    main()
