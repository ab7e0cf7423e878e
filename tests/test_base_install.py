"""`pip install bdistil` alone: numpy and onnxruntime run an export, all else names its extra."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from bare_device import on_device
from deployed import config_to_change, deploy, examples

import bdistil as bdistil_package  # `bdistil` is a fixture
from bdistil import Predictor
from bdistil.cli.app import app
from bdistil.cli.on_device import parser
from bdistil.errors import BdistilError
from bdistil.export.onnx_export import export_onnx
from bdistil.export.predict import predict_file

ROOT = Path(__file__).parent.parent
MOST_MEGABYTES, MOST_SECONDS = 200, 0.2  # of what is promised of a device
NEEDS_MORE = "install it with: pip install 'bdistil[{}]'.\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export with graphs, and data.npz in it."""
    folder = tmp_path_factory.mktemp("device") / "model"
    ensemble = deploy(folder, *(("mlp", width, "dense", True) for width in (3, 2)))
    export_onnx(ensemble, folder / "onnx", examples("mlp", 20))
    x = examples("mlp", 6)
    np.savez(folder / "data.npz", x=x, y=Predictor(folder, backend="torch").predict(x))
    return folder


def test_an_export_runs(model: Path) -> None:
    code = """
import bdistil, numpy
predictor = bdistil.Predictor(asked)
x = numpy.load(asked + "/data.npz")["x"]
found = [predictor.predict(x, **way).tolist()
         for way in ({}, {"stages": 1}, {"deadline": "60s"}, {"exit": "confidence"})]
found.append(predictor.predict_batch(x, "50%").values.tolist())
answer([found, strangers()])
"""
    found, strangers = on_device(code, str(model))
    usual, x = Predictor(model, backend="torch"), examples("mlp", 6)
    ways: tuple[dict[str, Any], ...] = ({}, {"stages": 1}, {}, {"exit": "confidence"})
    expected = [usual.predict(x, **way).tolist() for way in ways]
    assert found == [*expected, usual.predict_batch(x, "50%").values.tolist()]
    assert strangers == []


def test_the_package_itself_imports_nothing_heavy() -> None:
    loaded = on_device("import bdistil\nanswer([*sys.modules])")
    assert not {"numpy", "onnxruntime", "subprocess", "asyncio", "typing_extensions"} & {*loaded}


def test_the_command_predicts_as_it_does_with_everything(
    model: Path, bdistil: Callable[..., Any], tmp_path: Path
) -> None:
    ways = ([], ["--stages", "1", "--proba"], ["--budget", "50%"])
    asked = [["predict", str(model), str(model / "data.npz"), *way] for way in ways]
    asked.append([*asked[0], "--out", str(tmp_path / "answers.csv")])
    asked.append([*asked[0], "--exit", "margin"])  # by the clock: stages may differ
    found = on_device("answer([[command(*each) for each in asked], strangers()])", asked)
    expected = [list(bdistil(*each)) for each in asked[:-2]]
    assert found[0][:-2] == expected
    assert found[0][-1][0] == 0
    assert found[0][-1][1].count("\n") == expected[0][1].count("\n")
    assert "accuracy on the labels" in expected[0][2]
    assert (tmp_path / "answers.csv").read_text() == expected[0][1]
    assert found[1] == []


def test_commands_that_need_more_name_the_extra() -> None:
    commands = [[name] for name in _commands() if name != "predict"]
    found = on_device("answer([command(*each) for each in asked])", [*commands, ["nonsense", "1"]])
    for (status, printed, errors), (name, *_) in zip(found, [*commands, ["nonsense"]], strict=True):
        assert (status, printed) == (2, "")
        assert errors.startswith(f"Error: `bdistil {name}` needs more")
        assert errors.endswith(NEEDS_MORE.format("search"))
        assert errors.count("\n") == 1


def test_help_and_version_are_there() -> None:
    asked = [[], ["--help"], ["predict", "--help"], ["--version"]]
    found = on_device("answer([command(*each) for each in asked])", asked)
    assert [(status, errors) for status, _, errors in found] == [(0, "")] * 4
    assert "pip install 'bdistil[search]'" in found[0][1]
    assert "--deadline" in found[2][1]


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("Ensemble", "torch"),
        ("load_spec", "torch"),
        ("BDistilClassifier", "search"),
        ("SearchResult", "search"),
    ],
)
def test_names_that_need_more_name_the_extra(name: str, extra: str) -> None:
    code = """
import bdistil
try:
    getattr(bdistil, asked)
except bdistil.BdistilError as error:
    answer([type(error).__name__, str(error)])
"""
    kind, sentence = on_device(code, name)
    assert kind == "MissingDependencyError"
    assert f"{sentence}\n".endswith(NEEDS_MORE.format(extra))


def test_all_public_names_are_listed_and_there() -> None:
    listed = on_device("import bdistil\nanswer(dir(bdistil))")
    assert {*bdistil_package.__all__, "errors", "__doc__"} <= {*listed}
    assert listed == sorted(listed)
    assert all(getattr(bdistil_package, name) is not None for name in bdistil_package.__all__)
    assert bdistil_package.search.__annotations__["return"] == "SearchResult"


def test_a_search_names_the_extra() -> None:
    code = """
import bdistil
try:
    bdistil.search({"data": {"name": "cube"}})
except bdistil.BdistilError as error:
    answer(str(error))
"""
    assert f"{on_device(code)}\n".endswith(NEEDS_MORE.format("search"))


@pytest.mark.parametrize(
    ("changes", "file", "extra"),
    [
        ({"columns": {"features": [{"name": n} for n in "abcde"], "label": "y"}}, "t.csv", "table"),
        ({"form": {"medium": "photograph"}}, "p.png", "vision"),
        ({"form": {"medium": "recording"}}, "r.wav", "audio"),
    ],
)
def test_files_that_need_more_name_the_extra(
    model: Path, tmp_path: Path, changes: dict[str, Any], file: str, extra: str
) -> None:
    """Only the manifest counts: files are opened before the ensemble answers."""
    for source in (path for path in model.rglob("*") if path.is_file()):
        target = tmp_path / source.relative_to(model)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(source.read_bytes())
    config = config_to_change(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    (tmp_path / file).write_text("a,b\n1,2\n")
    asked = ["predict", str(tmp_path), str(tmp_path / file)]
    status, _, errors = on_device("answer(command(*asked))", asked)
    assert status == 2
    assert errors.endswith(NEEDS_MORE.format(extra))


def _commands() -> dict[str, Any]:
    group: Any = typer.main.get_command(app)
    commands: dict[str, Any] = group.commands
    return commands


def test_the_options_are_those_of_the_whole_command_line() -> None:
    whole = {option for each in _commands()["predict"].params for option in each.opts}
    ours: Any = parser()._subparsers
    (commands,) = (action for action in ours._group_actions)
    actions = commands.choices["predict"]._actions
    own = {name for action in actions for name in action.option_strings or [action.dest]}
    assert own - {"-h", "--help"} == whole - {"--module"}


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_answers_are_measured_as_in_a_search(tmp_path: Path, task: Any) -> None:
    """The command's measure knows no torch; that of the search is another function."""
    import torch

    from bdistil.core.examples import metric

    deploy(tmp_path, ("mlp", 3, "none", True), task=task, class_names=None, outputs=3)
    x = examples("mlp", 50)
    truth = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    truth = (truth > 0).astype(np.int64) if task == "multilabel" else truth
    np.savez(tmp_path / "data.npz", x=x, y=truth)
    answers = torch.as_tensor(Predictor(tmp_path, backend="torch").predict(x))
    found = predict_file(tmp_path, tmp_path / "data.npz").comparison
    assert found is not None
    assert found.metric == pytest.approx(metric(answers, torch.as_tensor(truth), task))


def test_the_base_dependencies_are_two() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [each.partition(">")[0] for each in project["dependencies"]]
    assert names == ["numpy", "onnxruntime"]


def test_errors_of_our_own_imports_are_not_taken_for_missing_packages() -> None:
    from bdistil.optional import needing

    with pytest.raises(ModuleNotFoundError, match=r"bdistil\.no_such"), needing("torch"):
        raise ModuleNotFoundError("no bdistil.no_such", name="bdistil.no_such")
    with pytest.raises(BdistilError, match=r"^foo is not .* pip install bdistil\."), needing(""):
        raise ModuleNotFoundError("no foo", name="foo.bar")


MEASURE = """
import json, sys, time
begun = time.perf_counter()
import bdistil
imported = time.perf_counter() - begun
import numpy
x = numpy.load(sys.argv[1] + "/data.npz")["x"]
print(json.dumps([imported, bdistil.Predictor(sys.argv[1]).predict(x).tolist()]))
"""


@pytest.mark.nightly
def test_the_wheel_installs_small_and_runs(model: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "fresh", with_pip=True)
    python = tmp_path / "fresh" / "bin" / "python"
    (site,) = (tmp_path / "fresh").glob("lib/python*/site-packages")
    before = _megabytes(site)
    _in_a_clean_process(python, "-m", "pip", "install", "--quiet", _wheel(tmp_path))
    assert _megabytes(site) - before <= MOST_MEGABYTES
    found = [json.loads(_in_a_clean_process(python, "-c", MEASURE, model)) for _ in range(5)]
    assert min(seconds for seconds, _ in found) <= MOST_SECONDS
    assert found[0][1] == Predictor(model, backend="torch").predict(examples("mlp", 6)).tolist()


def _wheel(folder: Path) -> Path:
    """Built from a copy, since building leaves files beside the sources."""
    sources, wheels = folder / "sources", folder / "wheels"
    shutil.copytree(ROOT / "bdistil", sources / "bdistil")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    pip = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels)
    _in_a_clean_process(sys.executable, *pip, sources)
    (wheel,) = wheels.iterdir()
    return wheel


def _in_a_clean_process(*command: Any) -> str:
    """Without a PYTHONPATH, on which the sources may be."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*map(str, command)], env=kept, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
