"""Documents that must not drift from the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from draw_rooms import PAGE, PICTURE, draw

from bdistil.spec import load_spec
from bdistil.spec.reference import schema, with_reference

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


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_every_search_space_is_valid(path: Path) -> None:
    assert load_spec(path).name == path.stem


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), link
