"""Trials shown to TensorBoard, MLflow or Weights & Biases, through Ray Tune's own loggers."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from bdistil.cluster.trainable import RESULT, Report, metrics
from bdistil.errors import BdistilError, BdistilWarning, MissingDependencyError, SpecError
from bdistil.runs.trial import Cohort, Place, TrialRequest
from bdistil.searching.optuna_study import database_problem
from bdistil.spec import CallbackSpec, Spec, TrackingSpec

# Name in the spec: package it needs, module and class of Ray's logger.
LOGGERS = {
    "tensorboard": ("tensorboardX", "ray.tune.logger", "TBXLoggerCallback"),
    "mlflow": ("mlflow", "ray.air.integrations.mlflow", "MLflowLoggerCallback"),
    "wandb": ("wandb", "ray.air.integrations.wandb", "WandbLoggerCallback"),
}


class Tracker(tune.Callback):
    """Shows finished candidates to loggers of Tune.

    A logger hears of a trial when its result is there: only then is it known which values it had,
    as workers take their requests late. An error of a logger, such as a server that is gone, ends
    the tracking and not the search.

    Args:
        loggers: by their names in the spec.
        folder: of the run, where loggers leave files, one folder a trial.
        cohort_of: the cohort at a place.
    """

    def __init__(
        self,
        loggers: Mapping[str, tune.Callback],
        folder: Path,
        cohort_of: Callable[[Place], Cohort],
    ) -> None:
        self.loggers = dict(loggers)
        self.folder = folder
        self.cohort_of = cohort_of

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks, and what loggers need stays here."""
        return {}

    def setup(self, *args: Any, **info: Any) -> None:
        """At the start of the search."""
        if self.loggers:
            self.folder.mkdir(parents=True, exist_ok=True)
        self.tell("setup", **info)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Show the candidates that have finished; one that failed or lost has no figures."""
        if not self.loggers or RESULT not in result:
            return
        told = {"iteration": iteration, "trials": trials, "trial": trial}
        plain = {name: value for name, value in result.items() if name != RESULT}
        report = Report.model_validate_json(result[RESULT])
        cohort = self.cohort_of(report.place)
        for request, answer in zip(cohort.requests, report.answers, strict=True):
            if answer.status != "finished":
                continue
            describe(trial, request, self.folder)
            self.tell("on_trial_start", **told)
            self.tell("on_trial_result", **told, result=plain | metrics(request, answer))
            self.tell("on_trial_complete", **told)

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """At the end of the search."""
        self.tell("on_experiment_end", trials=trials)

    def tell(self, event: str, **info: Any) -> None:
        """Pass an event to every logger; one that fails hears no more."""
        for name, logger in list(self.loggers.items()):
            try:
                getattr(logger, event)(**info)
            except Exception as error:
                del self.loggers[name]
                detail = " ".join(str(error).split())[:200]
                warnings.warn(
                    f"{name} tracking ends here ({type(error).__name__}: {detail}); the search "
                    f"goes on, and trials.parquet of the run has every trial.",
                    BdistilWarning,
                    stacklevel=2,
                )


def describe(trial: Trial, request: TrialRequest, folder: Path) -> None:
    """Give a Tune trial the name, values and folder of the request that it ran."""
    trial.custom_trial_name = f"round-{request.round:03d}-trial-{request.number:03d}"
    trial.config = {name: value for name, value in request.params.items() if value is not None}
    trial.evaluated_params = trial.config
    ours = folder / trial.custom_trial_name
    shutil.rmtree(ours, ignore_errors=True)  # of a round that was cut short and is played again
    ours.mkdir(parents=True)
    # Tune would move loggers' files only when the search ends.
    staging = Path(str(trial.local_path))
    if staging.is_symlink():  # of the cohort's member before
        staging.unlink()
    else:
        staging.rmdir()
    staging.symlink_to(ours.resolve())


def make_tracker(spec: Spec, folder: Path, cohort_of: Callable[[Place], Cohort]) -> Tracker:
    """The loggers of `tracking.callbacks`.

    Raises:
        SpecError: if a logger does not take its options.
    """
    entries = spec.tracking.callbacks
    loggers: dict[str, tune.Callback] = {
        entry.name: make_logger(entry, spec.name, folder) for entry in entries
    }
    return Tracker(loggers, folder, cohort_of)


def make_logger(entry: CallbackSpec, name: str, folder: Path) -> tune.Callback:
    """One of Ray's loggers, with the user's options over ours."""
    _, module, attribute = LOGGERS[entry.name]
    options = default_options(entry.name, name, folder) | entry.options
    try:
        logger: tune.Callback = getattr(import_module(module), attribute)(**options)
    except TypeError as error:
        raise SpecError(
            f"tracking.callbacks: {entry.name} does not take {entry.options} ({error}); see Ray's "
            f"{attribute} for its options."
        ) from None
    return logger


def default_options(logger: str, name: str, folder: Path) -> dict[str, Any]:
    """What makes a logger work without options: named after the search, kept in its folder."""
    if logger == "mlflow":
        here = f"sqlite:///{folder.resolve()}/mlflow.db"
        return {
            "experiment_name": name,
            "tracking_uri": os.environ.get("MLFLOW_TRACKING_URI", here),
        }
    if logger == "wandb":
        return {"project": os.environ.get("WANDB_PROJECT", name)}
    return {}


def check_tracking(tracking: TrackingSpec) -> None:
    """Make sure that a search can be tracked as its spec wants.

    Raises:
        MissingDependencyError: if a package is missing.
        SpecError: if the study's database does not open.
    """
    for problem in tracking_problems(tracking):
        raise problem


def tracking_problems(tracking: TrackingSpec) -> list[BdistilError]:
    """Everything that keeps a search from being tracked as its spec wants."""
    packages = {entry.name: LOGGERS[entry.name][0] for entry in tracking.callbacks}
    found: list[BdistilError] = [
        MissingDependencyError(
            f"tracking.callbacks names {name}, but {package} is not installed; install it with: "
            f"pip install {package}."
        )
        for name, package in packages.items()
        if not find_spec(package)
    ]
    if problem := database_problem(tracking.optuna_storage):
        found.append(problem)
    return found
