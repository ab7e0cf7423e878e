"""The one-way floors (contracts of import-linter in pyproject.toml), and what no module may do."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "bdistil"
SOURCES = {str(path.relative_to(PACKAGE)): path.read_text() for path in PACKAGE.rglob("*.py")}
LARGEST_ROOM = 0.15  # of all lines

Lint = Callable[[], subprocess.CompletedProcess[str]]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package with its contracts."""
    shutil.copytree(PACKAGE, tmp_path / "bdistil", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.fixture
def lint(copy: Path) -> Lint:
    """Holds the copy to its contracts."""
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)

    return run


def test_the_contracts_are_kept(lint: Lint) -> None:
    done = lint()
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "line", "finding"),
    [
        ("core/game.py", "from bdistil.sklearn import BDistilClassifier", "bdistil.core.game ->"),
        ("errors.py", "import bdistil.store.lease", "bdistil.errors -> bdistil.store.lease"),
        ("zoo/mlp.py", "def f():\n    from bdistil.cli import app", "bdistil.zoo.mlp ->"),
        ("spec/load.py", "import bdistil", "bdistil.spec.load -> bdistil"),
        ("loose.py", "", "- bdistil.loose"),
        ("core/game.py", "from bdistil.core import round", "cycles are allowed in bdistil.core"),
        ("searching/result.py", "import ray", "bdistil.searching.result -> ray"),
        ("teachers/guess.py", "def f():\n    import optuna", "bdistil.teachers.guess -> optuna"),
        ("runtime/exits.py", "def f():\n    import torch", "bdistil.runtime.exits -> torch"),
        ("runtime/budget.py", "from bdistil.core import seeds", "bdistil.runtime.budget ->"),
    ],
)
def test_planted_violations_are_found(
    copy: Path, lint: Lint, file: str, line: str, finding: str
) -> None:
    with (copy / "bdistil" / file).open("a") as source:
        source.write(f"\n{line}\n")
    done = lint()
    assert done.returncode == 1
    assert finding in done.stdout


def test_an_exception_that_is_no_longer_needed_has_to_go(copy: Path, lint: Lint) -> None:
    contracts = copy / "pyproject.toml"
    unneeded = (
        'allowed_importers = ["bdistil.cluster"]\nignore_imports = ["bdistil.zoo.mlp -> ray"]'
    )
    contracts.write_text(
        contracts.read_text().replace('allowed_importers = ["bdistil.cluster"]', unneeded)
    )
    done = lint()
    assert done.returncode == 1
    assert "No matches for ignored import bdistil.zoo.mlp -> ray" in done.stdout


def circle(package: str, ignored: Iterable[str] = ()) -> list[str]:
    """Modules that import each other, a room's own ``__init__`` among them; empty if none do."""
    graph = grimp.build_graph(package, cache_dir=None)
    for edge in ignored:
        importer, imported = edge.split(" -> ")
        graph.remove_import(importer=importer, imported=imported)
    below = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        TopologicalSorter(below).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_no_room_imports_itself_through_its_front_door() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = contracts["contracts"][0]
    assert circle("bdistil", layers.get("ignore_imports", ())) == []


def test_a_circle_through_the_front_door_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = tmp_path / "planted" / "room"
    room.mkdir(parents=True)
    (tmp_path / "planted" / "__init__.py").touch()
    (room / "__init__.py").write_text("from planted.room.file import name")
    (room / "file.py").write_text("def name():\n    from planted.room import name")
    monkeypatch.syspath_prepend(tmp_path)
    assert set(circle("planted")) == {"planted.room", "planted.room.file"}


def test_no_room_is_larger_than_all_others() -> None:
    lines: dict[str, int] = {}
    for name, source in SOURCES.items():
        room = name.partition("/")[0]
        lines[room] = lines.get(room, 0) + source.count("\n")
    largest = max(lines, key=lines.__getitem__)
    assert lines[largest] < LARGEST_ROOM * sum(lines.values()), largest


def test_no_pickle_is_ever_read() -> None:
    for name, source in SOURCES.items():
        assert not re.search(r"\bpickle\.loads?\b|joblib\.load|allow_pickle=True", source), name
        for call in re.findall(r"(?<!safetensors\.)torch\.load\([^)]*\)", source):
            assert "weights_only=True" in call, name


def test_no_ray_task_is_cancelled() -> None:
    """Ray aborts the driver if the cancellation meets the task's answer; actors can be killed."""
    assert not [name for name, source in SOURCES.items() if re.search(r"\bray\.cancel\(", source)]
