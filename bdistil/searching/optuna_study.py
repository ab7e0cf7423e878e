"""The Optuna study on disk or in a database, for optuna-dashboard; the search never reads it."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from bdistil.errors import BdistilError, BdistilWarning, MissingDependencyError, SpecError
from bdistil.runs.journal import RoundRecord
from bdistil.searching.dimensions import conditional_distributions, distributions
from bdistil.searching.trial_values import frozen_trial
from bdistil.spec import Spec
from bdistil.store.durable import disk_errors


def mirror_study(path: Path, spec: Spec, records: Sequence[RoundRecord]) -> None:
    """Bring the study up to the accepted rounds, in the journal file or `tracking.optuna_storage`.

    A study that cannot be written costs nothing but the mirror: a damaged file is written anew, a
    database that is gone gets a warning and, with the next round, all that it missed.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    free = distributions(spec.space) | conditional_distributions(spec.space)
    trials = [frozen_trial(trial, free) for record in records for trial in record.compared]
    url = spec.tracking.optuna_storage
    if url is None:
        mirror_to_file(path, spec.name, trials)
        return
    try:
        with database(url) as storage:
            mirror(storage, study_name(spec, records), trials)
    except Exception as error:
        warnings.warn(
            f"{unopened(url, error)}; the search goes on and tries again after the next round.",
            BdistilWarning,
            stacklevel=2,
        )


def mirror(storage: BaseStorage, name: str, trials: Sequence[FrozenTrial]) -> None:
    """Make a study hold exactly `trials`, adding what is missing.

    One that holds others, of rounds that were cut off and played again, is written anew.
    """
    study = open_study(storage, name)
    there = [identity(trial) for trial in study.trials]
    if there != [identity(trial) for trial in trials[: len(there)]]:
        optuna.delete_study(study_name=name, storage=storage)
        study, there = open_study(storage, name), []
    study.add_trials(trials[len(there) :])


def mirror_to_file(path: Path, name: str, trials: Sequence[FrozenTrial]) -> None:
    """The same in a journal file; one that a crash left damaged is written anew.

    Raises:
        CheckpointError: if the disk is full or not writable.
    """
    with disk_errors(path):
        try:
            mirror(journal(path), name, trials)
        except (ValueError, KeyError):  # half a line, or operations on what half a line began
            path.unlink()
            mirror(journal(path), name, trials)


def open_study(storage: BaseStorage, name: str) -> optuna.Study:
    """The study of a search, empty if it is new."""
    return optuna.create_study(
        storage=storage, study_name=name, direction="maximize", load_if_exists=True
    )


def study_name(spec: Spec, records: Sequence[RoundRecord]) -> str:
    """A name that no other run of a shared database has, and that moves along with this one."""
    first = hashlib.sha256(records[0].model_dump_json().encode())  # holds its wall time
    return f"{spec.name}-{first.hexdigest()[:8]}"


def identity(trial: FrozenTrial) -> tuple[object, ...]:
    """What tells trials apart wherever they are kept."""
    place = trial.user_attrs.get("round"), trial.user_attrs.get("number")
    return *place, trial.value, tuple(sorted(trial.params.items()))


def journal(path: Path) -> JournalStorage:
    """The storage in a journal file."""
    return JournalStorage(JournalFileBackend(str(path)))


@contextmanager
def database(url: str) -> Iterator[RDBStorage]:
    """The storage at a URL; its connections are closed again."""
    storage = RDBStorage(url)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def database_problem(url: str | None) -> BdistilError | None:
    """Why a database cannot be used; None if it can."""
    if url is None:
        return None
    try:
        with database(url):
            return None
    except ImportError as error:
        return MissingDependencyError(
            f"tracking.optuna_storage {url} needs a database driver ({error.__cause__ or error}); "
            f"install it, for PostgreSQL with: pip install 'psycopg[binary]'."
        )
    except Exception as error:
        return SpecError(f"{unopened(url, error)}; check the URL and that the database runs.")


def unopened(url: str, error: Exception) -> str:
    """What happened to a database, in words."""
    detail = " ".join(str(error.__cause__ or error).split())[:200]
    return f"tracking.optuna_storage {url} cannot be used ({detail})"
