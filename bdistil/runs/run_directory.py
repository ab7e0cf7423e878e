"""The run directory: one place for everything a search leaves, with relative paths only."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from bdistil.errors import CheckpointError, SpecError
from bdistil.runs.journal import Journal
from bdistil.spec import Spec, load_spec
from bdistil.store.durable import disk_errors, write_atomic
from bdistil.store.folder_lock import LOCK_FILE, locked_folder
from bdistil.store.remote import SPEC_FILE, WorkingCopy
from bdistil.teachers.teacher_store import TeacherStore
from bdistil.teachers.trained import TrainedSource


class RunDirectory:
    """Paths of a run and the rules of opening it.

    Layout: ``spec.yaml`` (resolved), ``data.json`` (what was read), ``teacher/``, ``rounds.jsonl``
    (the journal), ``students/``, ``open/`` (trials of the open round), ``trials.parquet``,
    ``optuna.journal``, ``ensemble/``, ``evaluation.json``, ``report.html``.

    Args:
        place: a folder, or a URI that pyarrow's file systems know; `path` then is a working copy.
    """

    def __init__(self, place: str | Path) -> None:
        self.place = str(place)
        self.copy = WorkingCopy(place)
        self.path = path = self.copy.folder
        self.spec_file = path / SPEC_FILE
        self.data_file = path / "data.json"
        self.teacher = TeacherStore(path / "teacher")
        self.journal = Journal(path / "rounds.jsonl")
        self.open_round = path / "open"
        self.trials_file = path / "trials.parquet"
        self.study_file = path / "optuna.journal"
        self.ensemble = path / "ensemble"
        self.evaluation_file = path / "evaluation.json"
        self.report_file = path / "report.html"
        self.lock: TextIO | None = None

    @classmethod
    def existing(cls, place: str | Path) -> RunDirectory:
        """A run directory that is there already.

        Raises:
            CheckpointError: if `place` holds no run.
        """
        run = cls(place).fetched()
        if run.path.is_file():
            raise CheckpointError(
                f"{place} is no run directory but a file; give the folder that `bdistil search` "
                "named."
            )
        if not run.spec_file.exists():
            raise CheckpointError(
                f"{place} is no run directory (it has no spec.yaml); give {run.likelier}."
            )
        return run

    @property
    def likelier(self) -> str:
        """What whoever gave a folder that is no run may have meant, in words."""
        searches = sorted(self.path.glob("runs/*/spec.yaml"))
        if searches:
            return f"one of the searches in it, such as {searches[0].parent}"
        return "the folder that `bdistil search` named"

    def fetched(self) -> RunDirectory:
        """Itself, brought up to the place where the run lies.

        Raises:
            CheckpointError: if that cannot be read.
        """
        self.copy.fetch()
        return self

    def spec(self) -> Spec:
        """The resolved spec of the run.

        What older versions left open of the teacher is what its card says.
        """
        try:
            spec = load_spec(self.spec_file)
        except SpecError as error:
            if "unknown key" not in str(error):
                raise
            raise CheckpointError(
                f"{error} If nobody edited that file, a newer bdistil began this run; install that."
            ) from None
        if spec.teacher.model != "auto" or not self.teacher.exists:
            return spec
        card = self.teacher.card()
        if card.source != TrainedSource.kind:
            return spec
        teacher = spec.teacher.model_copy(update={"model": card.network})
        return spec.model_copy(update={"teacher": teacher})

    def check_sources(self, spec: Spec) -> None:
        """Say how to go on where the user's files were moved.

        Args:
            spec: of the run, perhaps with another place of the files.

        Raises:
            CheckpointError: naming the first one that is gone.
        """
        for key, path in spec.data.sources.items():
            if not path.exists():
                raise CheckpointError(
                    f"{path}, on which {self.place} was searched, is not there; if it was moved, "
                    f"say where to: bdistil resume {shlex.quote(self.place)} data.{key}=FILE."
                )

    def student_file(self, round_number: int) -> Path:
        """Where the student of a round is kept."""
        return self.path / "students" / f"{round_number:03d}.safetensors"

    def check(self, spec: Spec) -> None:
        """Refuse a folder that belongs to another search or whose journal is damaged.

        A run that has accepted nothing yet may become another search.

        Raises:
            CheckpointError: naming the first difference, or the damaged line.
        """
        if self.spec_file.exists():
            difference = first_difference(self.spec().identity(), spec.identity())
            if difference and self.journal.read():
                raise CheckpointError(
                    f"{self.place} holds another search ({difference}); leave that as it is there "
                    f"to go on, choose another --out of `bdistil search`, or delete that folder to "
                    f"start over."
                )
            self.journal.read()
        elif self.path.exists() and (not self.path.is_dir() or any(self._visible())):
            raise CheckpointError(f"{self.place} exists and is no run directory; choose another.")

    def has_teacher_of(self, spec: Spec) -> bool:
        """Whether a whole teacher is there, of the same data and seed."""
        return self.teacher.exists and self.spec().teacher_identity() == spec.teacher_identity()

    def create(self, spec: Spec) -> None:
        """Write the spec; later changes of workers or budgets are taken over.

        A teacher of other data or another seed, left by a failed start of another search, goes.
        """
        other = self.spec_file.exists() and (
            self.spec().teacher_identity() != spec.teacher_identity()
        )
        if other:
            with disk_errors(self.teacher.path), contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self.teacher.path)
        self.write(self.spec_file, spec.to_yaml().encode())

    def _visible(self) -> Iterator[Path]:
        """What is in the folder, but for the lock and half-written files of a killed start."""
        return (entry for entry in self.path.iterdir() if not entry.name.startswith("."))

    def shown(self, path: Path) -> str:
        """A path of the run as users know it."""
        inside = path.is_relative_to(self.path)
        return f"{self.place}/{path.relative_to(self.path)}" if inside else str(path)

    def keep(self) -> None:
        """Send what is new to the place where the run lies, if that is not this folder.

        Raises:
            CheckpointError: if it cannot be written, or another search has taken it over.
        """
        self.copy.send()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second search out while this one runs; freed by the system if it dies.

        Raises:
            CheckpointError: if another process holds the folder or URI.
        """
        with self._folder_locked(), self.copy.held():
            yield

    @contextlib.contextmanager
    def _folder_locked(self) -> Iterator[None]:
        with locked_folder(self.path, "search") as self.lock:
            try:
                yield
            finally:
                self.lock = None

    @property
    def lock_file(self) -> Path:
        """Locked by the search that runs in the folder."""
        return self.path / LOCK_FILE

    @property
    def is_there(self) -> bool:
        """Whether the folder is still the one that this run has locked, if it has."""
        try:
            return self.lock is None or os.path.samestat(
                os.fstat(self.lock.fileno()), self.lock_file.stat()
            )
        except OSError:
            return False

    def check_there(self) -> None:
        """Refuse to go on where somebody has deleted or replaced the folder.

        What would be written then is half a run, and another search may be at work in it.

        Raises:
            CheckpointError: if somebody has.
        """
        if not self.is_there:
            raise CheckpointError(
                f"{self.place} was deleted or replaced while the search ran, so it ends here; "
                "start it again, and leave its folder alone."
            )

    @contextlib.contextmanager
    def while_there(self) -> Iterator[None]:
        """Run a body that writes files of the run, and tell if its folder is gone before or in it.

        Raises:
            CheckpointError: if it is, instead of what could not be written.
        """
        self.check_there()
        try:
            yield
        except CheckpointError:
            self.check_there()
            raise

    def write(self, file: Path, content: bytes) -> None:
        """Write a file of the run, whole or not at all; once locked, a deleted run stays deleted.

        Raises:
            CheckpointError: if it has, or the disk is full or not writable.
        """
        with self.while_there():
            write_atomic(file, content, root=self.path if self.lock else None)

    def remove(self, files: Iterable[Path]) -> None:
        """Delete files of one folder of the run in their order, and the folder if it is empty then.

        Raises:
            CheckpointError: if the disk is not writable, or another search has taken the run over.
        """
        for file in files:
            with disk_errors(file):
                self.copy.remove(file)
            with contextlib.suppress(OSError):
                file.parent.rmdir()

    @property
    def is_running(self) -> bool:
        """Whether a search holds the folder right now; at a URI, whether one has left its lease."""
        if self.copy.is_held:
            return True
        if not self.lock_file.is_file():
            return False
        try:
            with self.lock_file.open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


def first_difference(there: Any, here: Any, path: str = "") -> str:
    """The first key whose values differ between two nested mappings, in words; else empty."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(here.keys() | there.keys()):
            found = first_difference(there.get(key), here.get(key), f"{path}.{key}".lstrip("."))
            if found:
                return found
        return ""
    return "" if there == here else f"{path} is {there!r} there and {here!r} here"
