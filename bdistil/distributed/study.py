"""The Optuna study on disk, for optuna-dashboard; the search itself never reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from bdistil.distributed.journal import RoundRecord
from bdistil.distributed.sampling import distributions, frozen_trial
from bdistil.spec import Spec


def mirror_study(path: Path, spec: Spec, records: Sequence[RoundRecord]) -> None:
    """Bring the study in a journal file up to the accepted rounds.

    A file that holds other trials (of a search that was killed and resumed) is written anew.
    """
    free = distributions(spec.space)
    trials = [frozen_trial(trial, free) for record in records for trial in record.trials]
    study = open_study(path, spec.name)
    known = len(study.trials)
    if known > len(trials):
        path.unlink()
        study, known = open_study(path, spec.name), 0
    study.add_trials(trials[known:])


def open_study(path: Path, name: str) -> optuna.Study:
    """The study in a journal file."""
    storage = JournalStorage(JournalFileBackend(str(path)))
    return optuna.create_study(
        storage=storage, study_name=name, direction="maximize", load_if_exists=True
    )
