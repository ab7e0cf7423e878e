"""A search on Ray around trials that train nothing: what is left is the search's own time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bdistil.cluster.ray_backend import RayBackend
from bdistil.runs.run_directory import RunDirectory
from bdistil.searching.backend import opened
from bdistil.searching.ledger import Ledger
from bdistil.searching.loop import Accepted
from bdistil.searching.problem import Part, Problem
from bdistil.searching.progress import Reporter, Silent
from bdistil.searching.run import search_rounds
from bdistil.searching.trial_runner import TrialRunner
from bdistil.searching.workbench import Material
from bdistil.spec import Spec

FEATURES, OUTPUTS, EXAMPLES = 4, 3, 64


def random_part() -> Part:
    """A few rows, since nobody trains on them."""
    random = np.random.default_rng(0)
    x = random.normal(size=(EXAMPLES, FEATURES)).astype(np.float32)
    g = random.normal(size=(EXAMPLES, OUTPUTS)).astype(np.float32)
    return Part(x, g, g.argmax(axis=1))


def run_bare_search(
    spec: Spec,
    make_runner: Callable[[Material], TrialRunner],
    accepted: Accepted,
    reporter: Reporter | None = None,
) -> None:
    """All rounds of a search whose trials are run by what `make_runner` makes in each worker."""
    part = random_part()
    problem = Problem.of("classification", [part.teacher_logits], part)
    backend = RayBackend(make_runner=make_runner)
    with tempfile.TemporaryDirectory() as folder, opened(backend, spec):
        ledger = Ledger(RunDirectory(Path(folder)), problem)
        search_rounds(spec, ledger, iter([part]), backend, reporter or Silent(), accepted)
