"""The one-way floors, and documents that must not drift from the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from bdistil.spec import (
    DataSpec,
    SearchSpec,
    SpaceSpec,
    TeacherSpec,
    TrackingSpec,
    WorkerSpec,
    load_spec,
)

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "bdistil"
FLOORS = [
    *("errors", "store", "spec", "core", "runtime", "data", "datasets", "zoo", "export"),
    *("teachers", "runs", "searching", "cluster", "report", "experiments", "cli"),
]
MODULES = sorted(PACKAGE.rglob("*.py"))
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *(
        f"docs/{page}.md"
        for page in (
            "architecture",
            "clusters",
            "data",
            "experiments",
            "scale",
            "spec",
            "students",
            "teachers",
        )
    ),
]
SPECS = sorted((ROOT / "search_spaces").glob("*.yaml"))


def floor_of(dotted: str) -> int | None:
    part = dotted.split(".")[1] if "." in dotted else ""
    return FLOORS.index(part) if part in FLOORS else None


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    floor = floor_of(dotted)
    if floor is None:
        return
    above = [
        module
        for module in imports_of(path)
        if module.startswith("bdistil.") and (floor_of(module) or 0) > floor
    ]
    assert not above


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_core_to_deploy_need_neither_ray_nor_optuna(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0]
    allowed = {"cluster": {"ray"}, "searching": {"optuna"}}.get(room, set())
    assert not {module.split(".")[0] for module in imports_of(path)} & {"ray", "optuna"} - allowed


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_pickle_is_ever_read(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"\bpickle\.loads?\b|joblib\.load|allow_pickle=True", text)
    for call in re.findall(r"(?<!safetensors\.)torch\.load\([^)]*\)", text):
        assert "weights_only=True" in call


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_ray_task_is_cancelled(path: Path) -> None:
    """Ray aborts the driver if the cancellation meets the task's answer; actors can be killed."""
    assert not re.search(r"\bray\.cancel\(", path.read_text())


def test_the_field_reference_names_every_field() -> None:
    text = (ROOT / "docs" / "spec.md").read_text()
    for title, model in [
        ("data", DataSpec),
        ("teacher", TeacherSpec),
        ("space", SpaceSpec),
        ("search", SearchSpec),
        ("workers", WorkerSpec),
        ("tracking", TrackingSpec),
    ]:
        section = text.split(f"## {title}\n")[1].split("\n## ")[0]
        documented = set(re.findall(r"^\| `(\w+)` \|", section, flags=re.M))
        assert documented == set(model.model_fields), title


def test_the_readme_shows_the_example_as_it_is() -> None:
    assert (ROOT / "examples" / "digits.py").read_text().strip() in (ROOT / "README.md").read_text()


def test_the_readmes_search_space_is_valid() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    assert blocks
    for block in blocks:
        load_spec(yaml.safe_load(block))


def test_the_examples_of_teachers_are_valid() -> None:
    text = (ROOT / "docs" / "teachers.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", text, flags=re.S)
    assert len(blocks) == 8
    for block in blocks:
        load_spec(yaml.safe_load(block))


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_every_search_space_is_valid(path: Path) -> None:
    assert load_spec(path).name == path.stem


@pytest.mark.parametrize("name", PAGES)
def test_links_to_files_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), link
