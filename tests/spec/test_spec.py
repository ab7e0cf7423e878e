"""Every mistake in a spec is one sentence that names the field, the value and the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bdistil.errors import SpecError
from bdistil.names import RECIPE_NAMES, RecipeName
from bdistil.spec import Spec, load_spec

CUBE = {"data": {"name": "cube"}}


def problem(*overrides: str, base: Any = CUBE) -> str:
    with pytest.raises(SpecError) as caught:
        load_spec(base, overrides)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.count(". ") == 0
    return sentence


MISTAKES = {
    # unknown keys
    "serach.rounds=3": "unknown key 'serach'; did you mean 'search'?",
    "search.round=3": "unknown key 'search.round'; did you mean 'rounds'?",
    "search.strategy=tpe": "unknown key 'search.strategy'; known: algorithm, rounds,",
    "workers.int=1": "unknown key 'workers.int'; known: count, cpus, gpus, compile, autoscale.",
    "teacher.hidden=[3]": "unknown key 'teacher.hidden'; known: model, options,",
    "space.lr={lo: 0.1, high: 1}": "unknown key 'space.lr.lo'; did you mean 'low'?",
    "search..rounds=3": "unknown key 'search.'",
    # missing keys
    "space.lr={low: 1}": "space.lr.high is missing",
    # wrong types
    "search=5": "search is 5, but holds keys: algorithm, rounds,",
    "data=cube": "data is 'cube', but holds keys: name, path,",
    "teacher=null": "teacher is None, but holds keys: model,",
    "search.rounds=three": "search.rounds is 'three': input should be a valid integer",
    "search.rounds=2.5": "search.rounds is 2.5: input should be a valid integer",
    "search.rounds=true": "search.rounds: must not be true, which is for switches",
    "search.grace=true": "search.grace: must not be true, which is for switches",
    "space.lr=fast": "space.lr is 'fast': input should be a valid number",
    "space.lr=[0.1, fast]": "space.lr is 'fast': input should be a valid number",
    "space.lr={low: a, high: 2}": "space.lr.low is 'a': input should be a valid number",
    "space.skip=maybe": "space.skip is 'maybe': input should be a valid boolean",
    "space.ladder=8": "space.ladder is 8: input should be a valid list",
    "data.features=age": "data.features is 'age': input should be a valid list",
    "teacher.columns=logit": "teacher.columns is 'logit': input should be a valid list",
    "name=3": "name is 3: input should be a valid string",
    "seed=abc": "seed is 'abc': input should be a valid integer",
    # one of several names
    "space.recipe=best": "space.recipe is 'best': input should be 'auto', 'paper', 'faithful',",
    "space.recipe=[paper, best]": "space.recipe is 'best': input should be 'paper', 'faithful',",
    "search.algorithm=evolution": "search.algorithm is 'evolution': input should be 'tpe',",
    "search.precision=fp16": "search.precision is 'fp16': input should be 'fp32' or 'bf16'",
    "workers.compile=fast": "workers.compile is 'fast': input should be a valid boolean",
    "data.task=clustering": "data.task is 'clustering': input should be 'auto',",
    "teacher.outputs=odds": "teacher.outputs is 'odds': input should be 'logits' or 'probab",
    # ranges of values
    "search.rounds=0": "search.rounds is 0: input should be greater than 0",
    "search.time_budget=0": "search.time_budget is 0: input should be greater than 0",
    "search.grace=-1": "search.grace is -1: input should be greater than or equal to 0",
    "seed=-1": "seed is -1: input should be greater than or equal to 0",
    "workers.count=-1": "workers.count is -1",
    "workers.cpus=0": "workers.cpus is 0",
    "workers.gpus=-1": "workers.gpus is -1",
    "teacher.epochs=0": "teacher.epochs is 0",
    "data.validation=0": "data.validation is 0: input should be greater than 0",
    "data.test=1": "data.test is 1: input should be less than 1",
    "space.lr=0": "space.lr is 0: input should be greater than 0",
    "space.lr=[0.1, -1]": "space.lr is -1: input should be greater than 0",
    "space.gamma={low: -1, high: 2}": "space.gamma: input should be greater than 0, not -1 to 2",
    "space.epochs=[5, 0]": "space.epochs is 0: input should be greater than 0",
    "space.batch_size=0": "space.batch_size is 0: input should be greater than 0",
    "space.temperature=-2": "space.temperature is -2: input should be greater than 0",
    "space.label_share=1.5": "space.label_share is 1.5: input should be less than or equal to 1",
    "space.label_share={low: -1, high: 1}": "space.label_share: input should be greater than",
    "space.growth=0.5": "space.growth: must be above 1, or 0 for equal widths, not 0.5",
    "space.growth=1": "space.growth: must be above 1, or 0 for equal widths, not 1",
    "space.growth=-1": "space.growth is -1: input should be greater than or equal to 0",
    "space.lr=.nan": "space.lr is nan: input should be a finite number",
    "space.lr={low: 1, high: .inf}": "space.lr.high is inf: input should be a finite number",
    "search.min_edge=.nan": "search.min_edge is nan: input should be a finite number",
    "workers.cpus=.inf": "workers.cpus is inf: input should be a finite number",
    # lists and ranges
    "space.lr=[]": "space.lr is []: list should have at least 1 item",
    "space.label_share=[]": "space.label_share is []: list should have at least 1 item",
    "space.temperature=[]": "space.temperature is []: list should have at least 1 item",
    "space.student=[]": "space.student is []: list should have at least 1 item",
    "space.skip=[]": "space.skip is []: list should have at least 1 item",
    "space.ladder=[]": "space.ladder",
    "space.ladder=[8, 4]": "space.ladder: widths must be positive and growing, not [8, 4]",
    "space.ladder=[8, 8]": "space.ladder: widths must be positive and growing, not [8, 8]",
    "space.ladder=[true]": "space.ladder: must not be true, which is for switches",
    "space.lr=[0.1, true]": "space.lr: must not be true, which is for switches",
    "space.ladder=[0, 4]": "space.ladder: widths must be positive and growing, not [0, 4]",
    "space.lr={low: 1, high: 0.1}": "space.lr: low (1) must be below high (0.1)",
    "space.lr={low: 0, high: 1, log: true}": "space.lr: a log range needs low > 0, not 0",
    "space.ladder=[9223372036854775807]": "space.ladder: widths go up to 1,000,000, not 9,2",
    "space.batch_size=9999999999999": "input should be less than or equal to 1000000000",
    "search.rounds=9999999999999": "input should be less than or equal to 1000000000",
    "seed=0xffffffffffffffffffffffff": "seed is a whole number of 96 bits; give one of at most 63",
    "teacher.options={widths: [8, 99999999999999999999]}": "teacher.options.widths.1 is a whole",
    "teacher.lr=" + 5000 * "9": "override 'teacher.lr=9",
    "teacher.lr=1e39": "teacher.lr: must be at most 1e+30 in size, not 1e+39",
    "space.temperature=[1, 1e39]": "space.temperature: must be at most 1e+30 in size",
    "space.lr={low: 0.1, high: 1e39}": "space.lr.high: must be at most 1e+30 in size",
    # names of folders
    "name=../../etc": "name: must be fit for a folder, without slashes, not '../../etc'",
    'name="a\\0b"': "name: must be fit for a folder",
    'name=""': "name: must be fit for a folder",
    # sources of data
    "data.name=null": "data: give either name (a known data set) or path (your own file)",
    "data.path=mine.csv": "data: give either name (a known data set) or path (your own file)",
    # overrides
    "rounds": "override 'rounds' must have the form key=value",
    "=3": "override '=3' must have the form key=value",
    "data.name.first=3": "override 'data.name.first=3': 'name' holds a value, not keys",
    "name=[1,": "what follows = is no YAML (expected the node content, but found",
    "name=2020-13-45": "override 'name=2020-13-45': what follows = is no YAML",
    "name=" + 5000 * "[": "what follows = is no YAML (it is nested too deeply); put text in",
    "space.skip=!!bool nope": "is no YAML (a value cannot be read (KeyError: 'nope'))",
    "data.ignore=[on]": "data.ignore is True: input should be a valid string; YAML takes on,",
}


@pytest.mark.parametrize("override", MISTAKES, ids=lambda text: text[:40])
def test_a_mistake_is_one_sentence_with_field_value_and_remedy(override: str) -> None:
    assert MISTAKES[override] in problem(override)


def test_settings_that_exclude_each_other() -> None:
    grid = problem("search.algorithm=grid", "space.gamma={low: 1, high: 2}")
    assert grid == "space.gamma is a range; algorithm: grid needs a list."
    assert "grace goes with select: first" in problem("search.select=best", "search.grace=3")
    assert "sum below 1" in problem("data.validation=0.6", "data.test=0.4")


@pytest.mark.parametrize("bad", [[1, 2], 5, None, "[data]"])
def test_a_source_that_is_no_mapping(bad: Any) -> None:
    problem("search.rounds=3", base=bad)


def test_a_mapping_that_yaml_cannot_hold() -> None:
    assert "keys must be str" in problem(base={("a", "b"): 1})
    endless: dict[str, Any] = {}
    endless["data"] = endless
    assert "Circular reference" in problem(base=endless)
    assert "seed is a whole number of 3322 bits" in problem(base={"seed": 10**1000})
    assert "data is missing" in problem(base={})


def test_nested_aliases_are_counted_before_they_are_written_out(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    file = tmp_path / "spec.yaml"
    file.write_text("\n".join(lines))  # 9 to the power of 12 values
    with pytest.raises(SpecError, match="its aliases stand for more than 100,000 values"):
        load_spec(file)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "must hold keys such as data: and search:, not None"),
        (b"- a\n- b\n", "must hold keys such as data: and search:, not ['a', 'b']"),
        (b"a: [1\nb: }", "is not valid YAML"),
        (bytes(range(256)), "is not valid YAML"),
        (b"PK\x03\x04\xff\xfe", "is not valid YAML"),
        (b"!!python/object/apply:os.system ['touch hacked']", "is not valid YAML"),
        (
            b"seed: 1\ndata: {name: cube}\nseed: 2",
            "key 'seed' stands twice, again in line 3; keep one",
        ),
        (b"seed: !!int seven", "a value cannot be read (ValueError"),
        (
            b"seed: 012",
            "line 1 holds 012, which YAML takes for a number to the base of 8; write it",
        ),
        (b"search: {time_budget: 1:30}", "holds 1:30, which YAML takes for a number to the base"),
        (b"search: {grace: -1:30.5}", "to the base of 60; write it in quotes, or as the number"),
        (b"seed: !!nothing 7", "could not determine a constructor"),
        (b"data: &a {name: cube, options: *a}", "line 1 holds an alias of itself"),
        (b"#" * 2**21, "larger than 1 MiB"),
        (b"1: 2\ndata: {name: cube}", "a key is 1: keys should be strings"),
        (b"data: {name: cube, nmae: x}", "unknown key 'data.nmae'; did you mean 'name'?"),
    ],
)
def test_a_file_that_is_no_spec(tmp_path: Path, content: bytes, sentence: str) -> None:
    file = tmp_path / "spec.yaml"
    file.write_bytes(content)
    message = problem(base=file)
    assert sentence in message
    assert "spec.yaml" in message
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "none.yaml does not exist; see search_spaces/" in problem(base=tmp_path / "none.yaml")
    assert "cannot be read: Is a directory" in problem(base=tmp_path)
    assert "embedded null byte" in problem(base="a\0b.yaml")


def test_overrides_reach_into_sections_that_the_source_leaves_out() -> None:
    spec = load_spec(CUBE, ["space.lr.low=0.01", "space.lr.high=1e-1", "search.rounds=3", "seed=7"])
    assert spec.space.values("lr") == (0.01, 0.1)
    assert (spec.search.rounds, spec.seed) == (3, 7)


def test_the_source_is_not_changed_by_overrides() -> None:
    source = {"data": {"name": "cube"}}
    load_spec(source, ["data.name=digits", "seed=3"])
    assert source == {"data": {"name": "cube"}}


positive = st.floats(1e-9, 1e9)
ranges = st.tuples(positive, positive, st.booleans()).filter(lambda ends: ends[0] < ends[1])
numbers = (
    st.none()
    | positive
    | st.lists(positive, min_size=1, max_size=3)
    | ranges.map(lambda ends: dict(zip(("low", "high", "log"), ends, strict=True)))
)
recipes = st.sampled_from(RECIPE_NAMES)
names = st.text(min_size=1).filter(lambda s: s.isprintable() and not set(s) & set("/\\."))


@given(
    name=names,
    label=st.text(),
    lr=numbers,
    gamma=numbers,
    recipe=recipes | st.lists(recipes, min_size=1),
    skip=st.none() | st.booleans() | st.lists(st.booleans(), min_size=1),
    epochs=st.none() | st.integers(1, 10**9) | st.lists(st.integers(1, 10**9), min_size=1),
    share=st.none() | st.floats(0, 1),
    options=st.dictionaries(
        st.text(), st.integers(-(2**62), 2**63 - 1) | st.text() | st.booleans() | st.none()
    ),
)
def test_yaml_gives_the_same_spec_again(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    label: str,
    lr: Any,
    gamma: Any,
    recipe: RecipeName | list[RecipeName],
    skip: Any,
    epochs: Any,
    share: float | None,
    options: dict[str, Any],
) -> None:
    spec = load_spec(
        {
            "name": name,
            "data": {"name": "cube", "label": label, "options": options},
            "space": {
                "lr": lr,
                "gamma": gamma,
                "recipe": recipe,
                "skip": skip,
                "epochs": epochs,
                "label_share": share,
            },
        }
    )
    file = tmp_path_factory.mktemp("spec") / "spec.yaml"
    file.write_text(spec.to_yaml(), encoding="utf-8")
    assert load_spec(file) == spec
    assert load_spec(file).identity() == spec.identity()


@pytest.mark.parametrize(
    "override",
    [
        "workers.count=9",
        "workers.gpus=0.5",
        "workers.compile=true",
        "teacher.workers=2",
        "name=other",
        "search.time_budget=60",
        "search.grace=2",
        "search.max_failures=1",
        "search.warm_start=[runs/other]",
        "goal.keep=0.9",
    ],
)
def test_workers_name_and_budgets_do_not_change_what_is_searched(override: str) -> None:
    first = "search.select=first"
    assert load_spec(CUBE, [first, override]).identity() == load_spec(CUBE, [first]).identity()


def test_training_by_several_needs_workers() -> None:
    with pytest.raises(
        SpecError, match=r"teacher\.workers is 2, but without Ray .* there are none"
    ):
        load_spec(CUBE, ["teacher.workers=2", "workers.count=0"])


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "search.rounds=2",
        "search.select=first",
        "search.fallback=none",
        "search.precision=bf16",
        "space.lr=0.1",
        "data.test=0.1",
        "teacher.lr=1",
        "teacher.precision=bf16",
    ],
)
def test_everything_else_does(override: str) -> None:
    assert load_spec(CUBE, [override]).identity() != load_spec(CUBE).identity()


def test_a_resolved_spec_is_plain_yaml() -> None:
    text = load_spec({"data": {"path": "some/file.csv"}}).to_yaml()
    assert yaml.safe_load(text)["data"]["path"] == "some/file.csv"


def test_specs_are_immutable() -> None:
    spec: Spec = load_spec(CUBE)
    with pytest.raises(ValueError, match=r"frozen"):
        spec.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("overrides", "options", "begins"),
    [
        ((), {}, "FILE: space.gamma is -1"),
        (("space.gamma=4", "search.rounds=0"), {}, "override 'search.rounds=0': search.rounds is"),
        (("space.gamma=-2",), {}, "space.gamma is -2"),
        (("search.algorithm=grid", "space.gamma=4"), {}, "override 'search.algorithm=grid': sp"),
        (("search.rounds=0", "space.gamma=4", "seed=-1"), {}, "search.rounds is 0"),
        (("space.gamma=4", "search.rounds=0"), {"search.rounds=0": "--rounds"}, "--rounds: search"),
        (("seed=1",), {"seed=1": "--seed"}, "FILE: space.gamma is -1"),
    ],
)
def test_a_mistake_is_told_of_what_brought_it_in(
    overrides: tuple[str, ...], options: dict[str, str], begins: str, tmp_path: Path
) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("data: {name: cube}\nspace: {gamma: -1, lr: {low: 0.01, high: 0.1}}\n")
    with pytest.raises(SpecError) as refused:
        load_spec(file, overrides, options)
    assert str(refused.value).replace(str(file), "FILE").startswith(begins)


def test_a_mapping_is_no_file_and_its_overrides_are_told_as_fields() -> None:
    with pytest.raises(SpecError, match=r"^search\.rounds is 0"):
        load_spec({"data": {"name": "cube"}}, ["search.rounds=0"])
