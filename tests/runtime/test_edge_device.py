"""A device that only predicts has neither Ray nor Optuna, pandas, pyarrow, sklearn or plots.

With ONNX graphs it has no torch and no pydantic either.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deployed import deploy, examples
from small_ensembles import small_ensemble

from bdistil import Predictor

DEVICE = """
import contextlib, io, json, sys
from importlib.machinery import PathFinder

MISSING = ("ray", "optuna", "pandas", "pyarrow", "sklearn", "scipy", "matplotlib", "jinja2")
find_spec = PathFinder.find_spec

def find_what_is_there(name, path=None, target=None):
    return None if name.partition(".")[0] in MISSING else find_spec(name, path, target)

PathFinder.find_spec = find_what_is_there

import bdistil, numpy
from bdistil.cli.app import main

def run(arguments):
    sys.argv = ["bdistil", *arguments]
    streams = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        try:
            main()
        except SystemExit as end:
            return end.code or 0, *(stream.getvalue() for stream in streams)

def search():
    try:
        bdistil.search({"data": {"name": "cube"}})
    except bdistil.BdistilError as error:
        return type(error).__name__, str(error)

folder, commands = sys.argv[1], json.loads(sys.argv[2])
x = numpy.load(folder + "/data.npz")["x"]
done = {name: run(arguments) for name, arguments in commands.items()}
done["from_pretrained"] = bdistil.Ensemble.from_pretrained(folder).predict(x, stages=1).tolist()
done["bdistil.search"] = search()
print(json.dumps(done))
"""

INSTALL = "Error: {} is not installed; install it with: pip install 'bdistil[{}]'.\n"


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process without the packages answers to each command: status, stdout, stderr."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    columns = {"features": [{"name": name} for name in "abcde"], "label": "y"}
    students = ("mlp", 3, "dense", True), ("mlp", 2, "gru", True)
    small_ensemble(*students, columns=columns).save_pretrained(folder)
    np.savez(folder / "data.npz", x=np.random.default_rng(0).normal(size=(6, 5)))
    (folder / "data.csv").write_text("a,b\n1,2\n")
    (folder / "spec.yaml").write_text("data: {name: cube}")
    commands = {
        "predict": ["predict", folder, folder / "data.npz", "--stages", "2"],
        "predict a table": ["predict", folder, folder / "data.csv"],
        "search": ["search", folder / "spec.yaml", "--out", folder / "run"],
        "resume": ["resume", folder],
        "status": ["status", folder],
        "report": ["report", folder],
        "export": ["export", folder],
        "students": ["students"],
        "datasets": ["datasets"],
        "version": ["--version"],
        "help": ["search", "--help"],
    }
    arguments = json.dumps({k: [str(a) for a in v] for k, v in commands.items()})
    command = [sys.executable, "-c", DEVICE, str(folder), arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (folder / "run").exists()
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def test_python_predicts(device: dict[str, Any]) -> None:
    assert len(device["from_pretrained"]) == 6
    assert set(device["from_pretrained"]) <= {"class 0", "class 1", "class 2"}


def test_the_command_line_predicts(device: dict[str, Any]) -> None:
    status, printed, errors = device["predict"]
    assert (status, errors) == (0, "")
    header, *rows = printed.splitlines()
    assert header == "prediction,probability"
    assert len(rows) == 6


@pytest.mark.parametrize("command", ["search", "resume", "status", "report", "export"])
def test_what_opens_a_run_names_the_extra_to_install(device: dict[str, Any], command: str) -> None:
    assert device[command] == [2, "", INSTALL.format("ray", "search")]


def test_searching_in_python_names_the_extra_to_install(device: dict[str, Any]) -> None:
    kind, sentence = device["bdistil.search"]
    assert kind == "MissingDependencyError"
    assert f"Error: {sentence}\n" == INSTALL.format("ray", "search")


def test_a_table_names_the_extra_to_install(device: dict[str, Any]) -> None:
    status, _, errors = device["predict a table"]
    assert status == 2
    assert "pip install 'bdistil[table]'" in errors


@pytest.mark.parametrize("command", ["students", "datasets", "version", "help"])
def test_commands_that_only_tell_still_work(device: dict[str, Any], command: str) -> None:
    status, printed, errors = device[command]
    assert (status, errors) == (0, "")
    assert printed


def test_missing_packages_are_named_by_the_data_sets_that_need_them(device: dict[str, Any]) -> None:
    assert "pip install 'bdistil[search]'" in device["datasets"][1]


IMPORT_ALL = """
import importlib, pkgutil, sys
import bdistil.runtime
for module in pkgutil.iter_modules(bdistil.runtime.__path__, "bdistil.runtime."):
    importlib.import_module(module.name)
bdistil.Predictor, bdistil.ExitPolicy
print(*sys.modules)
"""


def test_running_stands_on_numpy_and_the_ground_floor_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    heavy = {"torch", "pydantic", "pandas", "pyarrow", "onnxruntime", "ray", "yaml", "typer"}
    assert not loaded & heavy
    rooms = {name.split(".")[1] for name in loaded if name.startswith("bdistil.")}
    assert rooms <= {
        "runtime",
        "blocks",
        "errors",
        "interrupt",
        "names",
        "optional",
        "paths",
        "version",
    }


SMALL_DEVICE = """
import json, sys
MISSING = ("torch", "pydantic", "safetensors", "yaml", "ray", "optuna", "typer", "rich", "sklearn",
           "pandas", "pyarrow")

class Absent:
    def find_spec(self, name, *rest):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Absent())
import bdistil
folder, table = sys.argv[1], json.loads(sys.argv[2])
predictor = bdistil.Predictor(folder)
answer = predictor.answer(table)
try:
    bdistil.Predictor(folder, backend="torch")
except bdistil.BdistilError as error:
    refusal = f"{type(error).__name__}: {error}"
print(json.dumps([answer.values.tolist(), answer.probabilities.tolist(), refusal]))
"""


def test_graphs_answer_a_table_without_torch_or_pydantic(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    onnx_export = pytest.importorskip("bdistil.export.onnx_export")
    columns = {
        "features": [{"name": "place", "categories": ["east", "west"]}, *map(named, "abc")],
        "label": "y",
    }
    ensemble = deploy(tmp_path, *[("mlp", 3, "dense", True)] * 2, columns=columns)
    onnx_export.export_onnx(ensemble, tmp_path / "onnx", examples("mlp"))
    table = {"c": [3.0, -1], "extra": [0, 0], "a": [1, 2], "place": ["west", "east"], "b": [0.5, 1]}
    done = subprocess.run(
        [sys.executable, "-c", SMALL_DEVICE, str(tmp_path), json.dumps(table)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    values, probabilities, refusal = json.loads(done.stdout)
    x = np.array([[0, 1, 1, 0.5, 3], [1, 0, 2, 1, -1]], np.float32)
    expected = Predictor(tmp_path, backend="torch").answer(x)
    assert values == expected.values.tolist()
    np.testing.assert_allclose(probabilities, expected.probabilities, atol=1e-5)
    assert refusal == (
        "MissingDependencyError: backend 'torch' cannot be imported (No module named 'torch'); "
        "install onnxruntime, which runs the graphs in it, or torch."
    )


def named(name: str) -> dict[str, str]:
    return {"name": name}
