"""How busy workers would be: arithmetic for trials of one length, the aim on what is shipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from bdistil.searching.utilisation import BUSY, advise, expected_utilisation, with_workers
from bdistil.spec import Spec, load_spec

SPACES = Path(__file__).parents[2] / "search_spaces"
ON_CLUSTERS = [
    file for file in sorted(SPACES.glob("*.yaml")) if "tries_per_class" not in file.read_text()
]


def spec_of(workers: int = 2, **search: object) -> Spec:
    content = {
        "data": {"name": "cube"},
        "space": {"ladder": [4]},
        "search": {"rounds": 3} | search,
        "workers": {"count": workers},
    }
    return load_spec(content)


@pytest.mark.parametrize(
    ("tries", "workers", "share", "waves"), [(4, 2, 1, 2), (3, 2, 3 / 4, 2), (5, 4, 5 / 8, 2)]
)
def test_trials_of_equal_length_leave_the_last_wave_half_empty(
    tries: int, workers: int, share: float, waves: float
) -> None:
    found = expected_utilisation(spec_of(tries_per_class=tries), workers, spread=1e-9)
    assert found.share == pytest.approx(share)
    assert found.round == pytest.approx(waves)


def test_one_worker_never_waits() -> None:
    assert expected_utilisation(spec_of(), 1).share == pytest.approx(1)


@pytest.mark.parametrize("file", ON_CLUSTERS, ids=lambda file: file.stem)
@pytest.mark.parametrize(
    "workers", [8, *(pytest.param(n, marks=pytest.mark.nightly) for n in (16, 64))]
)
def test_shipped_search_spaces_keep_workers_busy(file: Path, workers: int) -> None:
    assert expected_utilisation(load_spec(str(file)), workers).share >= BUSY


def test_few_workers_get_the_tries_that_one_process_has() -> None:
    for cohort in (1, 4, 32):
        spec = spec_of(cohort=cohort)
        tries = {with_workers(spec, workers).search.tries for workers in (0, 1, 2)}
        assert tries == {max(4, 2 * cohort)}


def test_advice_does_what_it_says() -> None:
    few = spec_of(tries_per_class=4)
    told = " ".join(advise(few, 16))
    assert "16 workers would be busy 2" in told
    assert "search.tries_per_class=80 (8" in told
    assert "workers.count=2 (" in told
    assert len(advise(spec_of(), 16)) == 1  # nothing is to be changed


def test_a_limit_on_the_round_is_to_be_lifted_too() -> None:
    told = advise(spec_of(trials_per_round=4), 16)
    assert "search.tries_per_class=80 and search.trials_per_round=null" in told[1]
