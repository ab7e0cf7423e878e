"""What a run says of the theory: premises that hold or not, and a certificate that always does."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from tiny import bdistil, tiny

from bdistil.cluster.launch import launch_search
from bdistil.core.game import log_entries
from bdistil.core.tensors import as_tensor
from bdistil.data.standardise import standardised
from bdistil.runs.journal import GameFigures, RoundRecord
from bdistil.searching.guarantee import Guarantee
from bdistil.searching.result import SearchResult


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    spec = tiny("workers.count=0", "search.rounds=3", "search.select=best")
    return launch_search(spec, tmp_path_factory.mktemp("game") / "run")


def test_the_certificate_is_no_smaller_than_the_largest_distance(run: SearchResult) -> None:
    dataset, logits = run.dataset, run.run.teacher.logits()
    inputs = as_tensor(standardised(dataset, dataset.train))
    with torch.no_grad():
        stages = list(run.students.stages(inputs))
    for record, stage in zip(run.rounds, stages, strict=True):
        assert record.game is not None
        gap = (stage - as_tensor(logits["train"])).abs().max().item()
        assert gap <= record.game.certificate * (1 + 1e-5)


def test_it_is_recomputed_from_the_definition(run: SearchResult) -> None:
    """max_j log Σ_i 2 cosh(M_ij) / (η T) in float64, with M from the students."""
    dataset, logits = run.dataset, run.run.teacher.logits()["train"]
    inputs = as_tensor(standardised(dataset, dataset.train))
    with torch.no_grad():
        *_, last = run.students.stages(inputs)
    game, rounds = run.rounds[-1].game, len(run.rounds)
    assert game is not None
    margin = game.step * rounds * (last.numpy().astype(np.float64) - logits)
    expected = np.log((2 * np.cosh(margin)).sum(axis=0)).max() / (game.step * rounds)
    assert game.certificate == pytest.approx(expected, rel=1e-4)
    assert game.assumed_gap == pytest.approx(2 * np.abs(logits).max())
    entries = log_entries(len(logits), logits.shape[1], "joint")
    planned = run.run.spec().search.most_rounds
    assert game.step == pytest.approx(math.sqrt(entries / planned) / game.assumed_gap)


def test_status_and_report_say_it(run: SearchResult) -> None:
    told = bdistil("status", run.run.path).stdout
    figures = json.loads(bdistil("status", run.run.path, "--json").stdout)["game"]
    assert figures["certificate"] == run.rounds[-1].game.certificate
    assert "game: joint, eta" in told
    assert "on the training split" in " ".join(told.split())


def records(edges: list[float], gap: float) -> list[RoundRecord]:
    game = GameFigures(step=0.1, assumed_gap=5.0, certificate=3.0)
    source = {
        "round": 1,
        "student": {"kind": "mlp", "width": 2, "connection": "none", "skip": False},
        "file": "f",
        "sha256": "",
        "margin_sha256": "",
        "trials": [],
        "seconds": 1.0,
        "game": game,
    }
    request = {"round": 1, "number": 0, "rung": 0, "attempt": 0, "params": {}, "seed": 0}
    answer = {"request": request, "status": "finished", "largest_gap": gap}
    return [
        RoundRecord.model_validate(source | {"result": answer | {"edge": edge}}) for edge in edges
    ]


@pytest.mark.parametrize(
    ("edges", "gap", "planned", "words"),
    [
        ([0.1, 0.0], 4.0, 2, "by the paper's bound at most 5"),
        ([0.1, -0.1], 4.0, 2, "edges held in 1 of 2 rounds"),
        ([0.1, 0.1], 6.0, 2, "G reached 6, beyond the 5 of eta"),
        ([0.1, 0.1], 4.0, 5, "2 of the 5 rounds of eta played"),
    ],
)
def test_every_premise_that_fails_is_named(
    edges: list[float], gap: float, planned: int, words: str
) -> None:
    found = Guarantee.of(records(edges, gap), planned, "per_label")
    assert found is not None
    assert words in str(found)
    assert (found.paper_bound is None) == bool(found.missing)


def test_older_runs_have_no_game() -> None:
    old = [record.model_copy(update={"game": None}) for record in records([0.1], 1.0)]
    assert Guarantee.of(old, 1, "joint") is None
    assert Guarantee.of([], 1, "joint") is None
