"""Searches that learn from others first: what is refused before anything is trained, and told."""

from __future__ import annotations

from pathlib import Path

import pytest
from reporters import Heard
from tiny import tiny

from bdistil.cluster.launch import launch_search
from bdistil.errors import BdistilError
from bdistil.runs.run_directory import RunDirectory

QUICK = ("workers.count=0", "search.rounds=2", "space.epochs=1", "teacher.epochs=1")


@pytest.mark.parametrize(
    ("place", "refusal"), [("nowhere", "is no run directory"), ("run", "the run itself")]
)
def test_what_is_no_other_run_is_refused_before_the_teacher_is_trained(
    place: str, refusal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = tiny(*QUICK, f"search.warm_start=[./{place}]")
    with pytest.raises(BdistilError, match=refusal):
        launch_search(spec, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_how_many_trials_are_learnt_from_is_told(tmp_path: Path) -> None:
    first = tmp_path / "first"
    launch_search(tiny(*QUICK), first)
    compared = [t for record in RunDirectory(first).journal.read() for t in record.compared]
    fast = [t for t in compared if t.request.params["lr"] >= 0.03]
    assert 0 < len(fast) < len(compared)

    def said(*overrides: str) -> str:
        heard = Heard()
        spec = tiny(*QUICK, f"search.warm_start=[{first}]", *overrides)
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        launch_search(spec, folder, reporter=heard)
        return next(text for text in heard.messages if "warm_start" in text)

    has = f"has {len(compared)} trials"
    assert f"{has}; {len(compared)} have a value in each dimension" in said()
    assert f"{has}; {len(fast)} have" in said("space.lr={low: 0.03, high: 0.05}")
    assert f"{has}, but none with a value in" in said("space.lr={low: 0.5, high: 0.9}")
    assert "algorithm: random learns nothing" in said("search.algorithm=random")
