"""How busy 8, 16 and 64 workers are with every search space that is shipped.

The simulated backend runs the real controller in virtual time: trial times spread by 25% (standard
deviation over mean, log-normal), every second candidate is a weak learner. Beside it stands the
same search with as many cohorts in a class as workers. A round's length is in times of one trial.
Needs no arguments; a minute on one core.
"""

from __future__ import annotations

import json
from pathlib import Path

from bdistil.searching.utilisation import Utilisation, expected_utilisation, with_workers
from bdistil.spec import Spec, load_spec

SPACES = Path(__file__).parents[1] / "search_spaces"
WORKERS = (8, 16, 64)


def main() -> None:
    specs = [load_spec(str(file)) for file in sorted(SPACES.glob("*.yaml"))]
    on_clusters = [spec for spec in specs if spec.search.tries_per_class is None]
    print(
        "share of the workers' time in trials, a round's length; one cohort a worker | as shipped"
    )
    print("search space    ", *(f"{workers:>28d} workers" for workers in WORKERS))
    found: dict[int, list[Utilisation]] = {workers: [] for workers in WORKERS}
    for spec in on_clusters:
        cells = []
        for workers in WORKERS:
            single = expected_utilisation(one_cohort_each(spec, workers), workers)
            shipped = expected_utilisation(spec, workers)
            found[workers].append(shipped)
            cells.append(
                f"{single.share:.1%} in {single.round:.1f} | {shipped.share:.1%} in "
                f"{shipped.round:.1f}, tries {with_workers(spec, workers).search.tries:4d}"
            )
        print(f"{spec.name:16s}", *(f"{cell:>36s}" for cell in cells), flush=True)
    least = {f"least_{n}": min(each.share for each in all_) for n, all_ in found.items()}
    print(json.dumps(least | {"ratio": min(least.values())}))


def one_cohort_each(spec: Spec, workers: int) -> Spec:
    """The spec with as many cohorts in a class as there are workers."""
    tries = workers * spec.search.together
    return spec.model_copy(
        update={"search": spec.search.model_copy(update={"tries_per_class": tries})}
    )


if __name__ == "__main__":
    main()
