"""Search spaces and overrides of any content are read, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from fuzzing import damaged, fuzz, hostile, mutated, right_or_one_sentence, write
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny

from bdistil.datasets.catalogue import load_dataset
from bdistil.searching.resolve import resolve
from bdistil.spec import load_spec

SPACES = Path(__file__).parents[2] / "search_spaces"
TREE = tiny("workers.count=0").model_dump(mode="json")
KEYS = [f"{section}.{key}" for section, own in TREE.items() if isinstance(own, dict) for key in own]
CUBE = load_dataset(tiny().data, 0)


def use(source: Any, overrides: list[str] | None = None) -> None:
    """As far as a search goes before anything is trained."""
    with right_or_one_sentence():
        spec = load_spec(source, overrides or [])
        if spec.data == tiny().data and not spec.modules:
            resolve(spec, CUBE)


@fuzz(200)
@given(mutated(TREE))
def test_fields_of_any_value(tree: Any) -> None:
    if isinstance(tree, dict):
        use(tree)


@fuzz(100)
@given(st.data())
def test_files_of_any_content(tmp_path_factory: Any, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(sorted(SPACES.glob("*.yaml"))))
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    use(write(path, data.draw(damaged(file.read_bytes()))))


@fuzz(80)
@given(mutated(TREE), st.sampled_from((None, "|", "'", '"')), st.booleans())
def test_yaml_however_it_is_written(
    tmp_path_factory: Any, tree: Any, style: str | None, flow: bool
) -> None:
    text = yaml.safe_dump(tree, default_style=style, default_flow_style=flow, allow_unicode=True)
    use(write(tmp_path_factory.getbasetemp() / "fuzzed.yaml", text.encode("utf-8", "replace")))


@fuzz(150)
@given(st.sampled_from(KEYS), hostile)
def test_overrides_of_any_value(key: str, value: Any) -> None:
    use(TREE, [f"{key}={value}"])


@fuzz(60)
@given(st.text(max_size=20))
def test_overrides_of_any_text(text: str) -> None:
    use(TREE, [text])
