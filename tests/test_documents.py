"""Documents that must not drift from the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from draw_rooms import PAGE, PICTURE, draw

from bdistil.core import connections
from bdistil.datasets import catalogue
from bdistil.spec import load_spec
from bdistil.spec.reference import schema, with_reference
from bdistil.spec.user_modules import import_modules
from bdistil.teachers import select
from bdistil.testing import check_dataset, check_student, check_teacher
from bdistil.zoo import registry
from bdistil.zoo.dry_run import check_connection_runs

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "results" / "README.md"]
SPECS = sorted((ROOT / "search_spaces").glob("*.yaml"))
LINES = re.compile(r"([\d,]+) lines")


def test_the_picture_of_the_rooms_is_up_to_date() -> None:
    """To the arrow; lines may differ by a fifth, so that not every change needs a new picture."""
    found = PICTURE.search(PAGE.read_text())
    assert found is not None
    committed, now = found.group(), draw()
    remedy = "draw it anew: make picture"
    assert LINES.sub("", committed) == LINES.sub("", now), remedy
    for old, new in zip(LINES.findall(committed), LINES.findall(now), strict=True):
        before, after = int(old.replace(",", "")), int(new.replace(",", ""))
        assert abs(after - before) <= max(100, 0.2 * before), remedy


def test_contributing_names_every_room() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"^\| `(\w+)/` \|", text, flags=re.M))
    assert named == {file.parent.name for file in (ROOT / "bdistil").glob("*/__init__.py")}


def test_the_reference_of_a_spec_is_that_of_the_models() -> None:
    page, stored = ROOT / "docs" / "spec.md", ROOT / "docs" / "spec.schema.json"
    remedy = "a field has changed; run make reference"
    assert with_reference(page.read_text()) == page.read_text(), remedy
    assert schema() == stored.read_text(), remedy


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


@pytest.fixture
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with every file that the documents show, where what they register is forgotten."""
    catalogue.list_datasets()
    for owner, name in (
        (registry, "_STUDENTS"),
        (registry, "_TEACHERS"),
        (catalogue, "_entries"),
        (connections, "_CONNECTIONS"),
    ):
        monkeypatch.setattr(owner, name, dict(getattr(owner, name)))
    monkeypatch.setattr(select, "_USERS", [])
    for page in PAGES:
        for name, text in re.findall(
            r"```python\n# (my_\w+\.py)\n(.*?)```", page.read_text(), re.S
        ):
            (tmp_path / name).write_text(text)
    return tmp_path


def test_the_parts_that_the_documents_show_keep_the_contracts(own_files: Path) -> None:
    names = ["my_connection.py", "my_data.py", "my_network.py", "my_students.py", "my_teacher.py"]
    assert sorted(file.name for file in own_files.iterdir()) == names
    import_modules(str(own_files / name) for name in names)
    check_dataset("mine")
    check_teacher("mine", {"tabular": [(16,)]}, larger={"widths": [300, 128]})
    check_student("line", [(16,), (1,)])
    check_connection_runs("mean")
    data = {"name": "mine", "options": {"noise": 0.1}}
    spec = load_spec({"data": data, "teacher": {"model": "service:x"}})
    source = select.teacher_source(catalogue.load_dataset(spec.data, 0), spec)
    assert source.kind == "service"


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_every_search_space_is_valid(path: Path) -> None:
    assert load_spec(path).name == path.stem


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), link
