"""Run directories at a URI: worked on in a temporary folder, kept where pyarrow can write.

The copy at the URI is the run; the folder lives as long as a command. After each accepted round
the files that changed are sent, the journal after the students that it names.
"""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from bdistil.errors import CheckpointError
from bdistil.optional import require
from bdistil.paths import fault_of_path, shown_path
from bdistil.store.durable import PARTIAL
from bdistil.store.lease import LEASE, Lease
from bdistil.store.scratch import ScratchFolder

OBJECT_STORES = ("s3", "gcs", "abfs")
MOST_RENAMED = 2**32  # bytes; S3 copies up to 5 GB at once
SPEC_FILE = "spec.yaml"  # every run has it
LAST = ("config.json", "rounds.jsonl")  # name other files, so they are sent after all those

State = tuple[int, int]  # size and time of the last change, by which changed files are known


def is_uri(place: str | Path) -> bool:
    """Whether a run lies somewhere else than in a folder."""
    return "://" in str(place)


class Remote:
    """Files below a URI.

    Args:
        uri: anything that ``pyarrow.fs.FileSystem.from_uri`` knows, such as ``s3://bucket/run``.

    Raises:
        MissingDependencyError: if pyarrow is not installed.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.fs = require("pyarrow.fs", "table")

    @cached_property
    def place(self) -> tuple[Any, str]:
        """The file system and the folder in it; asking for a bucket may go over the network."""
        with self.named_errors():
            there, root = self.fs.FileSystem.from_uri(self.uri)
        return there, root.rstrip("/")

    @property
    def there(self) -> Any:
        """The file system."""
        return self.place[0]

    @property
    def root(self) -> str:
        """The folder in it."""
        return self.place[1]

    def files(self) -> dict[str, State]:
        """All files by their paths relative to the URI, without hidden ones."""
        with self.named_errors():
            selector = self.fs.FileSelector(self.root, recursive=True, allow_not_found=True)
            infos = self.there.get_file_info(selector)
        found = {
            info.path[len(self.root) :].lstrip("/"): (info.size, info.mtime_ns or 0)
            for info in infos
            if info.type == self.fs.FileType.File
        }
        return {name: state for name, state in found.items() if not _is_hidden(name)}

    def fetch(self, name: str, target: Path) -> bool:
        """Copy a file from there; false if it is there no more."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with self.named_errors():
            try:
                self.copy(f"{self.root}/{name}", str(target), self.there, self.fs.LocalFileSystem())
            except FileNotFoundError:
                return False
        return True

    def send(self, source: Path, name: str) -> None:
        """Copy a file there; whoever reads it meanwhile sees the old one or the new one whole.

        Object stores cannot rename what is very large. It appears when the stream is closed, which
        an interrupt does, too; only a teacher's files are that large, and its card comes last.
        """
        here = self.fs.LocalFileSystem()
        folder, _, base = f"{self.root}/{name}".rpartition("/")
        partial = f"{folder}/.{base}{PARTIAL}"
        is_object = self.there.type_name in OBJECT_STORES
        with self.named_errors():
            if is_object and source.stat().st_size > MOST_RENAMED:
                self.copy(str(source), f"{folder}/{base}", here, self.there)
                return
            if not is_object:
                self.there.create_dir(folder, recursive=True)
            self.copy(str(source), partial, here, self.there)
            self.there.move(partial, f"{folder}/{base}")

    def copy(self, source: str, target: str, here: Any, there: Any) -> None:
        """Copy a file between two file systems."""
        with here.open_input_stream(source) as stream, there.open_output_stream(target) as sink:
            while block := stream.read(2**22):
                sink.write(block)

    def read(self, name: str) -> bytes | None:
        """A small file; None if it is not there."""
        with self.named_errors():
            try:
                with self.there.open_input_stream(f"{self.root}/{name}") as stream:
                    content: bytes = stream.readall()
                    return content
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "file"
            source.write_bytes(content)
            self.send(source, name)

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        with self.named_errors(), contextlib.suppress(FileNotFoundError):
            self.there.delete_file(f"{self.root}/{name}")

    @contextlib.contextmanager
    def named_errors(self) -> Iterator[None]:
        """Turn what pyarrow raises into one sentence that names the URI."""
        try:
            yield
        except (OSError, ValueError, NotImplementedError) as error:
            detail = " ".join(str(error).split())[:300]
            raise CheckpointError(
                f"{self.uri} cannot be used: {detail}; check the URI, its credentials and the "
                f"connection, or choose another place."
            ) from error


def unusable(uri: str) -> str:
    """Why a run cannot be kept at a URI; empty if a probe was written, read and deleted there."""
    name, content = f".bdistil-doctor-{uuid.uuid4().hex}", b"bdistil"
    try:
        remote = Remote(uri)
        remote.write(name, content)
        same = remote.read(name) == content
        remote.delete(name)
    except CheckpointError as error:
        return str(error)
    return "" if same else f"{uri} does not give back what it was sent; choose another --out."


class WorkingCopy:
    """A run's folder on this machine, wherever the run lies.

    Args:
        place: a path, which is then the folder itself, or a URI.

    Attributes:
        folder: where to work; empty for a URI until it is fetched.
    """

    def __init__(self, place: str | Path) -> None:
        if (fault := fault_of_path(place)) and not is_uri(place):
            raise CheckpointError(f"{shown_path(place)} {fault}; give another folder.")
        self.remote = Remote(str(place)) if is_uri(place) else None
        self.here: dict[str, State] = {}  # files as they were when both places were alike
        self.there: dict[str, State] = {}
        self.lease: Lease | None = None
        if self.remote is None:
            self.folder = Path(place)
        else:
            self.temporary = ScratchFolder("run")
            self.folder = self.temporary.path / "run"

    @property
    def is_held(self) -> bool:
        """Whether a search has left its lease at the URI; of a path, its lock tells."""
        return self.remote is not None and self.remote.read(LEASE) is not None

    def fetch(self, leave_out: Collection[str] = ()) -> None:
        """Bring the folder up to the URI; the journal first, so that all that it names is there.

        Args:
            leave_out: folders of a run that are not needed; what is no run comes whole.

        Raises:
            CheckpointError: if the URI cannot be read.
        """
        if self.remote is None:
            return
        files = self.remote.files()
        if SPEC_FILE not in files:  # an ensemble alone, whose teacher/ has its exported teacher
            leave_out = ()
        for name in sorted(files, key=_rank, reverse=True):
            if name.partition("/")[0] in leave_out or self.there.get(name) == files[name]:
                continue
            if self.remote.fetch(name, self.folder / name):  # and nobody has deleted it just now
                self.here[name], self.there[name] = _state(self.folder / name), files[name]

    def send(self) -> None:
        """Bring the URI up to the folder.

        Raises:
            CheckpointError: if it cannot be written, or another search has taken it over.
        """
        if self.remote is None or not self.folder.exists():
            return
        if self.lease is not None:
            self.lease.check()
        files = [file for file in self.folder.rglob("*") if file.is_file()]
        names = (file.relative_to(self.folder).as_posix() for file in files)
        for name in sorted((name for name in names if not _is_hidden(name)), key=_rank):
            state = _state(self.folder / name)
            if self.here.get(name) != state:
                self.remote.send(self.folder / name, name)
                self.here[name] = state

    def remove(self, file: Path) -> None:
        """Delete a file of the folder, and its copy at the URI.

        Raises:
            CheckpointError: if the URI cannot be written, or another search has taken it over.
        """
        file.unlink(missing_ok=True)
        name = file.relative_to(self.folder).as_posix()
        if self.remote is not None and name in self.here:
            if self.lease is not None:
                self.lease.check()
            self.remote.delete(name)
            self.here.pop(name)
            self.there.pop(name, None)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other searches out; at the end, send what is there, whatever ended the body.

        Raises:
            CheckpointError: if another search holds the URI.
        """
        if self.remote is None:
            yield
            return
        self.lease = Lease(self.remote)
        try:
            self.fetch()  # once more: another search may have ended just now
            yield
        finally:
            try:
                self.send()
            finally:
                self.lease.release()
                self.lease = None


def _rank(name: str) -> tuple[int, str]:
    """The order in which files are sent."""
    base = name.rpartition("/")[2]
    return (LAST.index(base) + 1 if base in LAST else 0), name


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _state(file: Path) -> State:
    found = file.stat()
    return found.st_size, found.st_mtime_ns
