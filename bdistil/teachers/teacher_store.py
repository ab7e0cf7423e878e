"""``teacher/`` of a run directory: card, weights and logits of all splits."""

from __future__ import annotations

import contextlib
import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from torch import nn

from bdistil.errors import CheckpointError
from bdistil.export.checkpoint import check_size
from bdistil.names import Domain
from bdistil.store.durable import check_regular, replacing, write_atomic
from bdistil.teachers.source import Rows
from bdistil.zoo.registry import build_teacher

SPLITS = ("train", "validation", "test")
OUT_OF_FOLD = "out_of_fold"  # of the training split, by teachers that have not seen the example
VIEWS = "views"  # of the training split's copies, float16 (K, N, L)
Logits = dict[str, NDArray[Any]]
AUTO_OF_OLDER_RUNS: dict[Domain, str] = {"tabular": "mlp", "image": "cnn", "sequence": "cnn1d"}
"""What `auto` stood for when cards did not yet say what had been decided."""


class TeacherCard(BaseModel):
    """What is known of a run's teacher.

    Attributes:
        source: the kind of teacher; see :mod:`bdistil.teachers`.
        came_trained: whether others have trained it, on rows that nobody here knows.
        files_sha256: of the files that hold what a foreign teacher has learnt; None if it has none.
        validation_metric: accuracy, micro F1 of labels, or R² for regression.
        flops: of one example; None where they cannot be counted.
        seconds: see :class:`~bdistil.teachers.source.Teacher`.
        crossfit: folds of the out-of-fold logits that stand beside the splits'; 0 for none.
        data_sha256: of the user's file as it was learnt from; None for named data sets.
        logits_sha256: of the file that holds them; empty in runs of older versions.
        views: copies of the training examples whose answers stand beside the splits'.
        views_identity: of what those answers depend on.
        version: of bdistil that obtained it; empty in runs of older versions.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    came_trained: bool = False
    model: str
    options: dict[str, Any]
    domain: Domain
    input_shape: tuple[int, ...]
    outputs: int
    validation_metric: float
    flops: int | None = None
    parameters: int | None = None
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    files_sha256: str | None = None
    crossfit: int = 0
    data_sha256: str | None = None
    logits_sha256: str = ""
    views: int = 0
    views_identity: str = ""
    version: str = ""

    @property
    def content(self) -> str:
        """All but the version, as JSON: what is made of it can be kept under another one."""
        return self.model_dump_json(exclude={"version"})

    @property
    def network(self) -> str:
        """The name of the teacher of the zoo."""
        return AUTO_OF_OLDER_RUNS[self.domain] if self.model == "auto" else self.model

    def build(self) -> nn.Module:
        """A teacher of the zoo with random weights."""
        return build_teacher(
            self.network, self.domain, self.input_shape, self.outputs, self.options
        )


class TeacherStore:
    """``teacher/`` of a run directory: card, weights and logits of all splits."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.card_file = path / "config.json"
        self.weights_file = path / "model.safetensors"
        self.logits_file = path / "logits.safetensors"

    @property
    def exists(self) -> bool:
        """Whether a whole teacher is there; the card is written last."""
        return self.card_file.exists()

    def save(self, card: TeacherCard, model: nn.Module | None, logits: Logits) -> None:
        """Write a teacher; the weights of one that was trained here."""
        if model is not None and card.source == "trained":
            state = {k: v.contiguous() for k, v in model.state_dict().items()}
            self._write(self.weights_file, safetensors.torch.save(state))
        with replacing(self.logits_file, self.path.parent) as temporary, _as_disk_error():
            safetensors.numpy.save_file(logits, temporary)
        card = card.model_copy(update={"logits_sha256": _sha256(self.logits_file)})
        self._write(self.card_file, card.model_dump_json(indent=2).encode())
        for file in self.path.glob("crossfit-*.safetensors"):
            file.unlink()  # they are in the logits' file now

    def _write(self, file: Path, content: bytes) -> None:
        """Not where somebody has deleted the run's folder meanwhile."""
        write_atomic(file, content, root=self.path.parent)

    def fold_file(self, number: int) -> Path:
        """Where the logits of a fold are kept until all folds are there."""
        return self.path / f"crossfit-{number:02d}.safetensors"

    def save_fold(
        self, number: int, rows: Rows, logits: NDArray[np.float32], data_sha256: str | None
    ) -> None:
        """Keep the logits (n, L) of a fold, given by its rows of the training split."""
        content: dict[str, NDArray[Any]] = {
            "rows": rows.astype(np.int64),
            "logits": np.ascontiguousarray(logits),
        }
        metadata = {"data_sha256": data_sha256 or ""}
        self._write(self.fold_file(number), safetensors.numpy.save(content, metadata))

    def fold(self, number: int, rows: Rows, data_sha256: str | None) -> NDArray[np.float32] | None:
        """The logits of a fold; None if they are not there, damaged, or of other rows or data."""
        try:
            with safetensors.safe_open(self.fold_file(number), "np") as file:
                known = file.metadata()["data_sha256"]
                kept, logits = file.get_tensor("rows"), file.get_tensor("logits")
        except (OSError, SafetensorError, KeyError, TypeError):
            return None
        same = known == (data_sha256 or "") and np.array_equal(kept, rows)
        return logits if same and len(logits) == len(rows) else None

    def view_file(self, copy: int) -> Path:
        """Where the answers to a copy of the training examples are kept."""
        return self.path / f"view-{copy:03d}.safetensors"

    def save_view(self, copy: int, logits: NDArray[np.float16], identity: str) -> None:
        """Keep the answers (N, L) to a copy of the training examples."""
        content = safetensors.numpy.save({"logits": logits}, {"identity": identity})
        self._write(self.view_file(copy), content)

    def view(self, copy: int, identity: str) -> NDArray[np.float16] | None:
        """The answers to a copy; None if they are not there, damaged, or of something else."""
        try:
            with safetensors.safe_open(self.view_file(copy), "np") as file:
                known, logits = file.metadata()["identity"], file.get_tensor("logits")
        except (OSError, SafetensorError, KeyError, TypeError):
            return None
        return logits if known == identity else None

    def views(self) -> NDArray[np.float16]:
        """The answers to all copies of the training examples, float16 (K, N, L).

        Raises:
            CheckpointError: if any is missing or damaged.
        """
        card = self.card()
        found = [self.view(copy, card.views_identity) for copy in range(card.views)]
        for copy, logits in enumerate(found):
            if logits is None:
                raise CheckpointError(
                    f"{self.view_file(copy)} is missing or damaged; delete its folder to make the "
                    f"teacher anew."
                )
        return np.stack([logits for logits in found if logits is not None])

    def card(self) -> TeacherCard:
        """The teacher's card."""
        with _damage_named(self.card_file):
            return TeacherCard.model_validate_json(self.card_file.read_bytes())

    def logits(self) -> Logits:
        """Logits of each split, float32 (N, L); they stay on disk until they are read.

        After cross-fitting also :data:`OUT_OF_FOLD`, those of the training split that the game is
        played on.

        Raises:
            CheckpointError: if the file is missing, damaged or not what the teacher answered.
        """
        card = self.card()
        expected = card.logits_sha256
        with _damage_named(self.logits_file):
            loaded = safetensors.torch.load_file(self.logits_file)
            names = [*SPLITS, OUT_OF_FOLD] if card.crossfit else SPLITS
            logits = {name: loaded[name].numpy() for name in names}
        if expected and _sha256(self.logits_file) != expected:
            raise CheckpointError(
                f"{self.logits_file} is not what the teacher answered; restore it from a copy, or "
                f"choose another --out."
            )
        return logits

    def all_logits(self) -> Logits:
        """The same and, with copies of the training examples, :data:`VIEWS`; for who trains.

        Raises:
            CheckpointError: as :meth:`logits` and :meth:`views`.
        """
        return self.logits() | ({VIEWS: self.views()} if self.card().views else {})

    def network(self) -> nn.Module | None:
        """The network that was trained here, in evaluation mode; None for other teachers."""
        card = self.card()
        if card.source != "trained":
            return None
        with _damage_named(self.weights_file):
            weights = safetensors.torch.load(self.weights_file.read_bytes())
            check_size(lambda: [card.build()], weights)
            network = card.build()
            network.load_state_dict(weights)
        return network.eval()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _as_disk_error() -> Iterator[None]:
    """What safetensors raises when it cannot write."""
    try:
        yield
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error)) from None


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn reading errors of the body into one sentence that names the file."""
    try:
        check_regular(path)
        yield
    except PermissionError:
        raise CheckpointError(
            f"{path} cannot be read: permission denied; check the permissions of its folder too."
        ) from None
    except (OSError, SafetensorError, KeyError, RuntimeError, ValueError):
        raise CheckpointError(
            f"{path} is missing or damaged; delete its folder to make the teacher anew."
        ) from None
