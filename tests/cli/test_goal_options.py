"""What the command line says of a goal, as the spec that is searched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bdistil.cli import search_command
from bdistil.cli.app import app
from bdistil.errors import SpecError
from bdistil.spec import Spec


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Spec]:
    """The specs that would be searched."""
    specs: list[Spec] = []
    monkeypatch.setattr(search_command, "run", lambda spec, *_: specs.append(spec))
    return specs


@pytest.mark.parametrize(
    ("options", "goal"),
    [
        ((), {"keep": 0.99, "within": 0.5, "within_time": "auto"}),
        (("--within", "40%"), {"keep": 0.99, "within": 0.4}),
        (("--within-parameters", "25%"), {"keep": 0.99, "within_parameters": 0.25}),
        (("--within-parameters", "20000"), {"keep": 0.99, "within_parameters": 20000}),
        (
            ("--within-parameters", "25%", "--within", "9000"),
            {"keep": 0.99, "within_parameters": 0.25, "within": 9000},
        ),
        (
            ("--within-time", "2ms", "--runtime", "onnxruntime", "--threads", "2"),
            {"keep": 0.99, "within_time": "2ms", "runtime": "onnxruntime", "threads": 2},
        ),
    ],
)
def test_limits_of_the_shortest_command(
    asked: list[Spec], options: tuple[str, ...], goal: dict[str, Any]
) -> None:
    given = ["search", "--data", "my.parquet", "--label", "y", *options]
    assert CliRunner().invoke(app, given).exit_code == 0
    [spec] = asked
    assert spec.goal is not None
    found = spec.goal.model_dump(exclude_none=True)
    assert found == {"threads": 1} | goal
    assert spec.search.rounds is None


def test_limits_stand_beside_those_of_a_spec(asked: list[Spec], tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("data: {name: digits}\ngoal: {keep: .9, within: 30%}\n")
    given = ["search", str(file), "--within-parameters", "10%", "--rounds", "4"]
    assert CliRunner().invoke(app, given).exit_code == 0
    [spec] = asked
    assert spec.goal is not None
    assert (spec.goal.within, spec.goal.within_parameters) == (0.3, 0.1)
    assert spec.search.rounds == 4


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--rounds", "0"), "--rounds: search.rounds is 0"),
        (("--runtime", "foo"), "--runtime: goal.runtime is 'foo'"),
        (("--within-parameters", "x"), "--within-parameters: goal.within_parameters"),
    ],
)
def test_an_option_that_cannot_be_is_named(
    asked: list[Spec], tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("data: {name: digits}\nsearch: {rounds: 8}\ngoal: {keep: .9}\n")
    error = CliRunner().invoke(app, ["search", str(file), *options]).exception
    assert isinstance(error, SpecError)
    assert str(error).startswith(told)
    assert not asked
