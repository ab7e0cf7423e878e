"""What a search leaves, read on demand: its data are loaded once, whoever asks."""

from __future__ import annotations

import contextlib
import copy
import warnings
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.core.tensors import as_tensor
from bdistil.data.data_card import DataCard, stored_card
from bdistil.data.dataset import Dataset
from bdistil.data.standardise import standardised
from bdistil.errors import BdistilWarning, CheckpointError
from bdistil.export.early_prediction import EarlyPoint, early_prediction
from bdistil.export.ensemble import Ensemble
from bdistil.export.evaluation import Evaluation, streamed_flops
from bdistil.runs.journal import EndRecord, RoundRecord
from bdistil.runs.run_directory import RunDirectory
from bdistil.searching.guarantee import Guarantee
from bdistil.searching.outcome import (
    accepted,
    calibrated,
    contents_hash,
    evaluate_on_test,
    for_raw_data,
    load_students,
    run_dataset,
    standardised_padding,
    write_trials,
)
from bdistil.searching.resolve import normalisation_of
from bdistil.store.durable import disk_errors, read_file


class SearchResult:
    """A run and what it amounts to.

    Args:
        run: the run directory.
        dataset: its data, if they are loaded already.

    Attributes:
        run: the run directory.
        directory: the folder; for a URI, a copy that lives as long as this object.
    """

    def __init__(self, run: RunDirectory, dataset: Dataset | None = None) -> None:
        self.run = run
        self.directory = run.path
        if dataset is not None:
            self.dataset = dataset

    @classmethod
    def of(cls, place: str | Path) -> SearchResult:
        """The result in a run directory, a path or a URI.

        Raises:
            CheckpointError: if `place` holds no run.
        """
        return cls(RunDirectory.existing(place))

    @property
    def rounds(self) -> list[RoundRecord]:
        """The accepted rounds."""
        return self.run.journal.read()

    @property
    def ended(self) -> EndRecord | None:
        """Why the search was over before its last round; None if it was not."""
        return self.run.journal.end()

    @property
    def guarantee(self) -> Guarantee | None:
        """What the theory says of the accepted rounds; None for runs of older versions."""
        spec = self.run.spec()
        normalisation = normalisation_of(spec)
        return Guarantee.of(self.rounds, spec.search.most_rounds, normalisation)

    @property
    def complete(self) -> bool:
        """Whether no further round will be played."""
        return self.run.journal.is_over(self.run.spec().search.most_rounds)

    @property
    def data_card(self) -> DataCard | None:
        """What was read and how; None for a run older than this."""
        return stored_card(self.run.data_file)

    @cached_property
    def dataset(self) -> Dataset:
        """The run's data, split as the search saw them.

        Raises:
            CheckpointError: if the user's file has changed since.
            SpecError: if a module of the user's cannot be imported.
        """
        return run_dataset(self.run)

    @cached_property
    def students(self) -> ProgressiveEnsemble:
        """The accepted students, in standardised inputs and targets.

        Raises:
            CheckpointError: if no round is accepted yet or a file is damaged.
        """
        accepted(self.run)  # before the data are loaded for nothing
        return load_students(self.run, self.dataset)

    @cached_property
    def evaluation(self) -> Evaluation:
        """The anytime curve on the test split; kept on disk for the same teacher and students.

        Raises:
            CheckpointError: if no round is accepted yet or a file is damaged.
        """
        run, key = self.run, contents_hash(self.run)
        with contextlib.suppress(OSError, ValueError):  # it can be computed again
            stored = Evaluation.model_validate_json(read_file(run.evaluation_file))
            if stored.of == key and len(stored.stages) == len(self.rounds):
                return stored
        found = evaluate_on_test(run, self.dataset, self.students)
        found = found.model_copy(update={"of": key})
        try:
            run.write(run.evaluation_file, found.model_dump_json(indent=2).encode())
        except CheckpointError as error:
            if run.lock:
                raise  # a search keeps what it found
            warnings.warn(f"the figures are not kept: {error}", BdistilWarning, stacklevel=2)
        return found

    @cached_property
    def early_points(self) -> tuple[EarlyPoint, ...]:
        """Early prediction on the test split; empty unless the data are sequences with labels."""
        dataset = self.dataset
        if dataset.domain != "sequence" or dataset.task == "regression":
            return ()
        return early_prediction(
            self.students,
            as_tensor(standardised(dataset, dataset.test)),
            as_tensor(dataset.test.y),
            padding=standardised_padding(dataset),
            teacher_network=self.run.teacher.network(),
            task=dataset.task,
        )

    @cached_property
    def ensemble(self) -> Ensemble:
        """The ensemble, for raw features, as the search has written it."""
        return Ensemble.from_pretrained(self.run.ensemble)

    def build_ensemble(self) -> Ensemble:
        """The ensemble for raw features and raw targets, with its figures.

        Raises:
            CheckpointError: if no round is accepted yet or a file is damaged.
        """
        students, figures = copy.deepcopy(self.students), self.evaluation
        logits, name = self.run.teacher.logits()["validation"], self.run.spec().name
        built = for_raw_data(students, self.dataset, name, figures, logits)
        return built.with_fastest_ways()

    def first_stages(self, built: Ensemble, stages: int) -> Ensemble:
        """The first `stages` students of what :meth:`build_ensemble` gave.

        Temperatures, early exits and when to ask the teacher are measured for them.

        Raises:
            DataError: if there is no such stage.
        """
        short = built.truncated(stages)
        if stages < len(built):
            students = ProgressiveEnsemble(short.outputs, short)
            costs = streamed_flops(students, self.dataset.input_shape)
            logits = self.run.teacher.logits()["validation"]
            calibration = calibrated(students, self.dataset, costs, logits)
            short.config = replace(short.config, calibration=calibration)
        return short

    def write(self) -> None:
        """The trials' table, the figures and the ensemble."""
        write_trials(self.run, self.rounds)
        built = self.build_ensemble()
        with self.run.while_there():
            with disk_errors(self.run.ensemble):
                self.run.ensemble.mkdir(exist_ok=True)  # not the run, where that is gone
            built.save_pretrained(self.run.ensemble)
