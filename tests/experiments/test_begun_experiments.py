"""An experiment's folder met again: by other versions, with other defaults or other cells."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tiny import tiny

from bdistil.cli import ablate_command
from bdistil.errors import SpecError
from bdistil.experiments.design import Run
from bdistil.experiments.plan import PLAN_FILE, Plan

CELLS = ("--vary", "space.skip=[true, false]")


def source(folder: Path, name: str = "one", *overrides: str) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(tiny(f"name={name}", *overrides).to_yaml())
    return path


def ablation(*sources: Path, overrides: tuple[str, ...] = (), skip: bool = False) -> Plan:
    cells = [{"space.skip": True}, {"space.skip": skip}]
    return Plan.of("ablation", "?", sources, overrides, cells)


def begun_by(plan: Plan, folder: Path, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Keep an experiment as another version wrote it."""
    plan.keep(folder)
    content: dict[str, Any] = json.loads((folder / PLAN_FILE).read_text())
    change(content)
    (folder / PLAN_FILE).write_text(json.dumps(content))
    return content


def without_series(content: dict[str, Any]) -> None:
    """As a version wrote it that did not know the field."""
    for space in content["spaces"].values():
        del space["data"]["series"]


def named_by(space: Mapping[str, Any], seed: int) -> str:
    """A teacher's folder as the version that wrote the search space named it: by all it knew."""
    parts = [space["data"], space["teacher"], seed]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return f"teachers/{space['name']}-{digest[:10]}-{seed}"


@pytest.fixture
def carried_out(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Plan, list[Run]]]:
    """What commands would carry out."""
    found: list[tuple[Plan, list[Run]]] = []

    def carry_out(plan: Plan, runs: list[Run], *_: Any) -> None:
        found.append((plan, runs))

    monkeypatch.setattr(ablate_command, "carry_out", carry_out)
    return found


def test_the_teachers_of_an_earlier_version_keep_their_names(
    tmp_path: Path, bdistil: Callable[..., Any], carried_out: list[tuple[Plan, list[Run]]]
) -> None:
    spec, out = source(tmp_path), tmp_path / "out"
    earlier = begun_by(ablation(spec), out, without_series)
    answer = bdistil("ablate", spec, *CELLS, "--seeds", 2, "--out", out, "--title", "Why?")
    assert answer.status == 0, answer.errors
    [(plan, runs)] = carried_out
    folders = {named_by(earlier["spaces"]["one"], seed) for seed in (0, 1)}
    assert {run.teacher_folder for run in runs} == folders
    plan.keep(out)
    assert json.loads((out / PLAN_FILE).read_text()) == earlier | {"question": "Why?"}


def test_a_new_experiments_teachers_are_named_by_all_fields(tmp_path: Path) -> None:
    plan = ablation(source(tmp_path))
    [folder] = {run.teacher_folder for run in plan.runs([3])}
    assert folder == named_by(plan.spaces["one"], 3)


def test_a_field_that_is_not_known_there_counts_where_it_is_no_default(tmp_path: Path) -> None:
    plan = ablation(source(tmp_path))
    begun_by(plan, tmp_path / "out", lambda content: content["spaces"]["one"]["teacher"].pop("lr"))
    begun = plan.as_begun_in(tmp_path / "out")
    other = begun.model_copy(update={"cells": [{"teacher.lr": 0.1}, {"teacher.lr": 0.2}]})
    assert len({run.teacher_folder for run in other.runs([0])}) == 2


@pytest.mark.parametrize(
    ("field", "value", "there", "override"),
    [
        ("recipe", "accurate", "'accurate'", "space.recipe=accurate"),
        ("skip", True, "True", "space.skip=true"),
        ("lr", {"low": 0.1, "high": 0.5, "log": True}, "{'low': 0.1, ", None),
    ],
)
def test_another_default_is_named_with_the_override_that_goes_on(
    field: str, value: Any, there: str, override: str | None, tmp_path: Path
) -> None:
    spec, out = source(tmp_path), tmp_path / "out"

    def change(content: dict[str, Any]) -> None:
        content["spaces"]["one"]["space"][field] = value

    begun_by(ablation(spec), out, change)
    with pytest.raises(SpecError, match="holds another experiment") as told:
        ablation(spec).check(out)
    assert f"(space.{field} of one is {there}" in str(told.value)
    if override is not None:
        assert f" here); give {override} to go on with it, or choose another" in str(told.value)
    given = shlex.split(str(told.value).split("; give ")[1])[0]
    ablation(spec, overrides=(given,)).check(out)


def test_several_other_defaults_are_all_given(tmp_path: Path) -> None:
    spec, out = source(tmp_path), tmp_path / "out"
    ablation(spec, overrides=("space.epochs=7", "teacher.epochs=8")).keep(out)
    with pytest.raises(
        SpecError, match=r"teacher\.epochs of one is 8 .* 5 here, and 1 more\)"
    ) as e:
        ablation(spec).check(out)
    assert "give teacher.epochs=8 space.epochs=7 to go on with it" in str(e.value)


def test_no_override_is_named_that_would_change_another_space(tmp_path: Path) -> None:
    one, two = source(tmp_path), source(tmp_path, "two", "space.epochs=9")
    ablation(one, two).keep(tmp_path / "out")
    source(tmp_path, "one", "space.epochs=5")
    with pytest.raises(SpecError, match=r"give the search spaces as they are there to go on"):
        ablation(one, two).check(tmp_path / "out")


def test_other_cells_spaces_and_kinds_are_named(tmp_path: Path) -> None:
    one, out = source(tmp_path), tmp_path / "out"
    ablation(one).keep(out)
    varied = ablation(one).model_copy(update={"cells": [{"space.skip": True}]})
    for other, match in (
        (varied, r"the cell 'skip=false' is there and not here\); give the same --vary and"),
        (ablation(one, source(tmp_path, "two")), r"are one there and one, two here\)"),
        (ablation(one).model_copy(update={"kind": "comparison"}), r"\(an ablation\); .*ablate`"),
    ):
        with pytest.raises(SpecError, match=rf"holds another experiment .*{match}"):
            other.check(out)


def test_methods_that_go_on_with_a_comparison_are_named(tmp_path: Path) -> None:
    spec, out = source(tmp_path), tmp_path / "out"
    methods = [{"method": name} for name in ("ours", "oracle", "single")]
    Plan.of("comparison", "?", [spec], [], methods).keep(out)
    more = Plan.of("comparison", "?", [spec], [], [*methods, {"method": "nested"}])
    with pytest.raises(SpecError, match=r"'method=nested' is here and not .* --method single to"):
        more.check(out)
    Plan.of("comparison", "?", [spec], [], methods[::-1]).check(out)


def test_seeds_and_workers_of_a_search_space_make_no_other_experiment(tmp_path: Path) -> None:
    """The experiment sets them, so that no override could bring them back."""
    spec, out = source(tmp_path), tmp_path / "out"
    ablation(spec).keep(out)
    ablation(source(tmp_path, "one", "seed=5", "workers.cpus=2")).check(out)
    with pytest.raises(SpecError, match="holds another experiment"):
        ablation(source(tmp_path, "one", "workers.compile=true")).check(out)


def test_cells_that_differ_in_writing_alone_are_one(
    tmp_path: Path, bdistil: Callable[..., Any]
) -> None:
    """Their runs have one folder, and ran in it side by side."""
    values = "space.epochs=[3, '3']"
    answer = bdistil("ablate", source(tmp_path), "--vary", values, "--out", tmp_path / "out")
    assert answer.status == 2
    assert "the cell 'epochs=3' is given twice; name it once." in answer.errors
