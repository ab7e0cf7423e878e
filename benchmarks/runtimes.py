"""Do six runtimes answer alike at every stage, and what does one example take in each?

Torch (students one after another), torch stacked, onnxruntime, onnxruntime-web in a headless
Chromium, LiteRT, and C by the system's compiler, on three ensembles: the digits demo (a finished
run's directory may be given as argument; otherwise it is searched in this process), three convnets
for 28 x 28 images and three GRUs for sequences of 29 x 12. The last two have random weights and
1,000 random rows; the digits have the rows of their test split, 359.

Printed: the largest difference of a logit from torch's at any stage and the stage that has it, and
the time of one example through all stages over torch's. The runtimes of this process take turns,
medians; the browser measures itself in the same run. What is not installed is named.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bdistil.cluster.launch import launch_search
from bdistil.core.cost import timed_in_turns
from bdistil.core.student import StudentConfig
from bdistil.errors import MissingDependencyError
from bdistil.export.c_code.compiled import HEADER_FILE, CompiledEnsemble, find_compiler
from bdistil.export.c_export import export_c
from bdistil.export.checkpoint import build_student
from bdistil.export.config import EnsembleConfig
from bdistil.export.ensemble import Ensemble
from bdistil.export.litert_export import LiteRTModel, export_litert
from bdistil.export.onnx_export import export_onnx
from bdistil.export.torch_runner import TorchRunner
from bdistil.export.web_export import export_web, find_runtime
from bdistil.runtime.onnx_runner import OnnxRunner
from bdistil.runtime.runner import Runner
from bdistil.searching.result import SearchResult
from bdistil.spec import load_spec

ROOT = Path(__file__).parents[1]
ROWS, SECONDS = 1000, 3.0
RANDOM = {
    "convnet": ((1, 28, 28), "image", (4, 6, 8)),
    "gru": ((29, 12), "sequence", (8, 10, 12)),
}

Array = NDArray[np.float32]
Call = Callable[[Array], Array]


class Side(NamedTuple):
    """One runtime: logits (N, stages, L) of all rows, and a call or seconds for one example."""

    logits: Array
    call: Call | None
    seconds: float = 0.0


def digits(given: Path | None, folder: Path) -> tuple[Ensemble, Array]:
    """The demo's ensemble and the rows of its test split."""
    if given is None:
        spec = load_spec(ROOT / "search_spaces" / "digits.yaml", ["workers.count=0"])
        result = launch_search(spec, folder / "digits")
    else:
        result = SearchResult.of(str(given))
    return result.build_ensemble(), np.asarray(result.dataset.test.x, np.float32)


def random_ensemble(kind: str) -> tuple[Ensemble, Array]:
    """Three students with random weights, and random rows."""
    torch.manual_seed(0)
    shape, domain, widths = RANDOM[kind]
    students: list[Any] = []
    for width in widths:
        config = StudentConfig(kind, width, "dense" if students else "none", skip=True)
        student = build_student(config, shape, 10, [each.features for each in students])
        torch.nn.init.normal_(student.head.weight, std=0.3)
        students.append(student.eval())
    configs = tuple(student.config for student in students)
    config = EnsembleConfig(
        name=kind,
        domain=domain,
        task="classification",
        input_shape=shape,
        outputs=10,
        students=configs,
    )
    ensemble = Ensemble(config, students, torch.zeros(shape), torch.ones(shape))
    return ensemble, torch.randn(ROWS, *shape).numpy()


def stage_by_stage(runner: Runner, stages: int) -> Call:
    """All logits of a runner, (N, stages, L)."""

    def call(x: Array) -> Array:
        progress, found = runner.begin(x), []
        for _ in range(stages):
            progress = runner.advance(progress)
            found.append(progress.logits)
        return np.stack(found, axis=1)

    return call


def stacked(ensemble: Ensemble) -> Call:
    """All stages at once by torch."""
    network = ensemble.stack(range(1, len(ensemble) + 1), "apart")

    @torch.inference_mode()
    def call(x: Array) -> Array:
        logits: Array = network(torch.as_tensor(x)).numpy()
        return logits

    return call


def by_litert(ensemble: Ensemble, x: Array, folder: Path) -> Call:
    """Row by row through the models from stage to stage."""
    export_litert(ensemble, folder, x)
    paths = [folder / f"stage_{stage}.tflite" for stage in range(1, len(ensemble) + 1)]
    models = [LiteRTModel(path.read_bytes()) for path in paths]

    def one(row: torch.Tensor) -> Array:
        logits, cached, found = torch.zeros(1, ensemble.outputs), list[torch.Tensor](), []
        for model in models:
            logits, *own = model([row, logits, *cached])
            cached += own
            found.append(logits.numpy())
        return np.stack(found, axis=1)

    return lambda x: np.concatenate(
        [one(torch.as_tensor(x[row : row + 1])) for row in range(len(x))]
    )


def by_c(ensemble: Ensemble, x: Array, folder: Path) -> Call:
    """Row by row through the compiled header."""
    compiler = find_compiler()
    if compiler is None:
        raise MissingDependencyError("there is no C compiler on PATH")
    export_c(ensemble, folder, x)
    return CompiledEnsemble(folder / HEADER_FILE, folder, compiler).every_stage


SCRIPT = """<!doctype html><script type="module">
    import { Ensemble } from "./stages.js";
    const ensemble = await Ensemble.open();
    const x = new Float32Array(await (await fetch("x.bin")).arrayBuffer());
    const stages = [];
    for await (const { logits } of ensemble.stages(x)) stages.push([...logits]);
    const paces = await ensemble.paces(x.slice(0, ensemble.size), 200);
    fetch("/", { method: "POST", body: JSON.stringify({ stages, paces }) });
</script>"""


def by_browser(ensemble: Ensemble, x: Array, folder: Path) -> Side:
    """All rows by onnxruntime-web; it measures its own time."""
    sys.path.insert(0, str(ROOT / "tests" / "helpers"))
    from browser import told_by_page

    ensemble.save_pretrained(folder)
    export_web(folder, folder / "onnx", folder / "web", x, find_runtime())
    (folder / "web" / "x.bin").write_bytes(x.tobytes())
    (folder / "web" / "look.html").write_text(SCRIPT)
    told = told_by_page(folder / "web", "look.html", folder / "profile")
    logits = [np.reshape(stage, (len(x), -1)) for stage in told["stages"]]
    return Side(np.stack(logits, axis=1).astype(np.float32), None, sum(told["paces"]) / 1e3)


@contextmanager
def named_if_missing(name: str, skipped: dict[str, str]) -> Iterator[None]:
    """What is not installed is kept as a sentence, instead of ending the benchmark."""
    try:
        yield
    except MissingDependencyError as error:
        skipped[name] = str(error)
    except BaseException as error:
        if type(error).__name__ != "Skipped":  # pytest's, of the helper that looks for a browser
            raise
        skipped[name] = str(error)


def sides(ensemble: Ensemble, x: Array, folder: Path) -> tuple[dict[str, Side], dict[str, str]]:
    """Every runtime that is there, and why others are not."""
    export_onnx(ensemble, folder / "onnx", x[:64])
    graphs = OnnxRunner(folder / "onnx", ensemble.outputs)
    calls: dict[str, Callable[[], Call]] = {
        "torch": lambda: stage_by_stage(TorchRunner(ensemble), len(ensemble)),
        "torch stacked": lambda: stacked(ensemble),
        "onnxruntime": lambda: stage_by_stage(graphs, len(ensemble)),
        "onnxruntime, one graph": lambda: graphs.every_stage,
        "LiteRT": lambda: by_litert(ensemble, x, folder / "litert"),
        "C": lambda: by_c(ensemble, x, folder / "c"),
    }
    found: dict[str, Side] = {}
    skipped: dict[str, str] = {}
    for name, make in calls.items():
        with named_if_missing(name, skipped):
            call = make()
            found[name] = Side(call(x), call)
    with named_if_missing("onnxruntime-web", skipped):
        found["onnxruntime-web"] = by_browser(ensemble, x, folder)
    return found, skipped


def measure(name: str, ensemble: Ensemble, x: Array, folder: Path) -> dict[str, Any]:
    """All figures of one ensemble; prints its lines."""
    found, skipped = sides(ensemble, x, folder)
    timed = {side: each.call for side, each in found.items() if each.call}
    one = x[:1]
    turns = timed_in_turns(
        [lambda call=call: call(one) for call in timed.values()],
        repeats=100,
        warmup=10,
        seconds=SECONDS,
    )
    seconds = dict(zip(timed, np.median(np.array(turns), axis=0).tolist(), strict=True))
    figures = {}
    largest = float(np.abs(found["torch"].logits).max())
    print(
        f"{name}: {len(ensemble)} stages, {len(x)} rows, logits up to {largest:.3g}, one example "
        f"takes {1e6 * seconds['torch']:.0f} us by torch"
    )
    for side, (logits, _, own) in found.items():
        by_stage = np.abs(logits - found["torch"].logits).max(axis=(0, 2))
        ratio = seconds.get(side, own) / seconds["torch"]
        figures[side] = {"difference": by_stage.tolist(), "time": ratio}
        worst = f"{by_stage.max():.1e} (stage {by_stage.argmax() + 1})"
        print(f"  {side:22}  {worst:18}  {ratio:6.3f}")
    for side, reason in skipped.items():
        print(f"  {side:22}  skipped: {reason}")
    return figures


def main() -> None:
    """Print the tables and, last, one JSON line."""
    torch.set_num_threads(1)
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    print("  runtime                 largest difference    time over torch's, one example")
    figures = {}
    for name in ("digits", *RANDOM):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            ensemble, x = digits(given, folder) if name == "digits" else random_ensemble(name)
            figures[name] = measure(name, ensemble, x, folder / "export")
    worst = max(
        max(side["difference"]) for runtimes in figures.values() for side in runtimes.values()
    )
    print(
        json.dumps(
            {"ratio": figures["digits"]["onnxruntime"]["time"], "difference": worst, "all": figures}
        )
    )


if __name__ == "__main__":
    main()
