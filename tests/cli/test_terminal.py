"""What a search says at each moment; its live table is in tests/cluster/test_live_table.py."""

from __future__ import annotations

import pytest
from records import record

from bdistil.cli.display import advice_without_weak_learner, open_round_line, told_trials
from bdistil.searching.progress import Snapshot
from bdistil.words import counted


def snapshot(accepted: int, best_edge: float | None = None) -> Snapshot:
    return Snapshot(
        round=min(accepted + 1, 3),
        rounds=3,
        running=2,
        done=1,
        best_edge=best_edge,
        records=[record(number + 1) for number in range(accepted)],
        seconds=75,
    )


def test_the_line_below_the_table() -> None:
    first = "round 1/3: 2 running, 1 done, best edge none yet; 1:15 elapsed"
    assert open_round_line(snapshot(0)) == first
    second = "round 2/3: 2 running, 1 done, best edge -0.250; 1:15 elapsed, about 1:00 left"
    assert open_round_line(snapshot(1, -0.25)) == second
    assert open_round_line(snapshot(3)) == "3 rounds in 1:15\n"


def test_advice_names_the_labels_whose_edges_failed() -> None:
    advice = advice_without_weak_learner(record(1, edge=-0.3, edges=(0.1, -0.02, -0.3, -0.1, -0.2)))
    assert "negative edges of 4 labels, worst: 2 (-0.3), 4 (-0.2), 3 (-0.1)" in advice
    advice = advice_without_weak_learner(record(1, edge=0.1, edges=(0.1,), gain=0.05))
    assert "the least edge is +0.1, below search.min_edge" in advice
    advice = advice_without_weak_learner(record(1, edge=0.1, edges=(0.1,), gain=-0.05))
    assert "the edges hold, but validation loss did not fall (gain -0.050)" in advice


def test_a_weak_learner_that_was_passed_over_is_told() -> None:
    kept, passed = record(1, edge=0.1, edges=(0.1,), gain=-0.05), record(1, weak=True)
    both = kept.model_copy(update={"trials": (kept.result, passed.result)})
    advice = advice_without_weak_learner(both)
    assert advice.endswith("its answers are clearly better than those of 1 that was")


def test_one_is_no_plural() -> None:
    alone = record(1)
    assert told_trials(alone) == "1 trial"
    cut = alone.result.model_copy(update={"status": "cut", "epochs": 1})
    both = alone.model_copy(update={"cut": (cut,)})
    assert told_trials(both) == "2 trials (1 cut: 1 after 1 epoch)"
    advice = advice_without_weak_learner(record(1, edge=-0.3, edges=(0.1, -0.3)))
    assert "negative edges of 1 label, worst: 1 (-0.3)" in advice


@pytest.mark.parametrize(
    ("count", "noun", "plural", "said"),
    [
        (1, "trial", "s", "1 trial"),
        (0, "trial", "s", "0 trials"),
        (1079, "example", "s", "1,079 examples"),
        (1.0, "CPU", "s", "1 CPU"),
        (0.5, "GPU", "s", "0.5 GPUs"),
        (2, "search", "es", "2 searches"),
    ],
)
def test_things_are_counted_in_words(count: float, noun: str, plural: str, said: str) -> None:
    assert counted(count, noun, plural) == said
