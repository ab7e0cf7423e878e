"""What teacher a search has where nobody names it, and what becomes of it in a later version."""

from __future__ import annotations

from pathlib import Path

import pytest
from reporters import Heard
from tiny import students, tiny

import bdistil.zoo.defaults as defaults
import bdistil.zoo.registry as registry
from bdistil.cluster.launch import launch_search
from bdistil.errors import CheckpointError
from bdistil.runs.run_directory import RunDirectory
from bdistil.spec import Spec

QUICK = ("workers.count=0", "space.epochs=1", "teacher.model=auto", "teacher.options={}")


def begun(run: Path, *overrides: str) -> Spec:
    """A search for four rounds of which two are done."""
    spec = tiny(*QUICK, "search.rounds=4", "teacher.epochs=1", *overrides)
    launch_search(spec, run)
    journal = run / "rounds.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:2]))
    return spec


@pytest.fixture
def a_later_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose teachers of tables are others, of other cost."""
    monkeypatch.setattr(registry, "_TEACHERS", {**registry._TEACHERS})

    @registry.register_teacher("of_later", domains=("tabular",))
    def of_later(input_shape: tuple[int, ...], outputs: int) -> object:
        return registry.build_teacher("mlp", "tabular", input_shape, outputs, {"widths": [99]})

    monkeypatch.setitem(defaults._DEFAULTS, "tabular", "of_later")


def test_a_run_names_its_teacher(tmp_path: Path) -> None:
    begun(tmp_path / "run")
    assert RunDirectory(tmp_path / "run").spec().teacher.model == "mlp"
    assert "model: mlp" in (tmp_path / "run" / "spec.yaml").read_text()


@pytest.mark.parametrize("named", [True, False])
def test_a_run_goes_on_with_its_teacher(
    tmp_path: Path, named: bool, request: pytest.FixtureRequest
) -> None:
    """Also one of a version that left its name to the card."""
    spec = begun(tmp_path / "run")
    whole = students(tmp_path / "run")
    stored = tmp_path / "run" / "spec.yaml"
    if not named:
        stored.write_text(stored.read_text().replace("model: mlp", "model: auto"))
    card = RunDirectory(tmp_path / "run").teacher.card()
    request.getfixturevalue("a_later_version")
    for again in (spec, RunDirectory(tmp_path / "run").spec()):
        result = launch_search(again, tmp_path / "run")
        assert len(result.rounds) == 4
    assert RunDirectory(tmp_path / "run").teacher.card() == card
    assert students(tmp_path / "run") == whole


def test_another_teacher_is_still_another_search(tmp_path: Path) -> None:
    begun(tmp_path / "run")
    with pytest.raises(CheckpointError, match="holds another search"):
        launch_search(tiny(*QUICK, "teacher.epochs=2"), tmp_path / "run")


def test_an_earlier_epoch_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard()
    launch_search(tiny(*QUICK, "search.rounds=1"), tmp_path / "last", reporter=heard)
    assert not [text for text in heard.messages if "an earlier epoch" in text]
    monkeypatch.setattr("bdistil.zoo.training._standard_error", lambda *_: 0.0)
    heard = Heard()
    spec = tiny(*QUICK, "search.rounds=1", "teacher.epochs=30", "teacher.lr=0.3")
    launch_search(spec, tmp_path / "earlier", reporter=heard)
    assert [text for text in heard.messages if "an earlier epoch is kept, with" in text]
