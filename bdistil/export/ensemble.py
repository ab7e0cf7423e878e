"""The ensemble as users keep it: raw features in, answers out, saved as safetensors and JSON."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn

from bdistil.core.connections import Hidden
from bdistil.core.folding import FoldedPrefix
from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.core.student import Student
from bdistil.errors import CheckpointError, DataError, SpecError
from bdistil.export.card import model_card
from bdistil.export.checkpoint import build_student, check_finite, check_known, check_size
from bdistil.export.config import CONFIG, EnsembleConfig
from bdistil.export.fastest import fastest_way, random_inputs, ways_to
from bdistil.export.flattening import flattened
from bdistil.export.merged_layers import Affine
from bdistil.export.stacking import StackedStages
from bdistil.names import STACKINGS, Stacking
from bdistil.runtime.cascade import TEACHER_FOLDER
from bdistil.runtime.config_file import CONFIG_FILE, ensemble_folder, named_path, read_config
from bdistil.runtime.hashes import described_files, sha256, with_config_hash
from bdistil.runtime.manifest import Manifest
from bdistil.runtime.onnx_runner import INT8_FOLDER, ONNX_FOLDER
from bdistil.spec.mistakes import first_fault
from bdistil.store.durable import disk_errors, read_file, replacing_files, write_atomic

WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
GRAPH_FOLDERS = (ONNX_FOLDER, INT8_FOLDER, "programs", "executorch", "web", "c", "litert")
GRAPH_SUFFIXES = (".onnx", ".pt2", ".pte")  # of those whose hashes.json does not name its files


class Ensemble(ProgressiveEnsemble):
    """A progressive ensemble that takes raw features.

    ``ensemble(x, stages=k)`` runs straight to stage k with folded heads, and stacked where the
    configuration says that this is faster; ``ensemble.stages(x)`` yields one answer after another
    and can be left at any time.

    Args:
        config: what is built.
        students: first to last.
        shift: of the standardisation, broadcastable to one example.
        scale: of the standardisation, broadcastable to one example.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self, config: EnsembleConfig, students: Iterable[Student], shift: Tensor, scale: Tensor
    ) -> None:
        super().__init__(config.outputs, students)
        self.config = config
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)
        self._prefixes: dict[int, FoldedPrefix] = {}
        self._stacks: dict[int | None, tuple[nn.Module | None, torch.dtype]] = {}
        self.register_load_state_dict_post_hook(_fold_anew)  # type: ignore[no-untyped-call]
        self.eval()

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> Ensemble:
        """Load an ensemble saved by :meth:`save_pretrained`; a run directory will do as well.

        Raises:
            CheckpointError: if files are missing, damaged or of a newer format, or a student is of
                a class of the user's own whose module was not imported.
        """
        path = ensemble_folder(directory)
        config = _read_config(path / CONFIG_FILE)
        check_known(config.students, path / CONFIG_FILE)
        try:
            content = read_file(path / WEIGHTS_FILE)
            _check_hash(content, config)
            weights = safetensors.torch.load(content)
            _check_numbers(weights)
            shift, scale = weights["shift"].float(), weights["scale"].float()
            _check_fits_an_example(shift, scale, config.input_shape)
            check_size(lambda: _empty_students(config), weights)
            ensemble = cls(config, _empty_students(config), shift, scale)
            ensemble.load_state_dict(weights)
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError, SpecError) as error:
            detail = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"{path / WEIGHTS_FILE} is missing or does not fit {CONFIG_FILE}: {detail}."
            ) from None
        return ensemble.eval()

    def save_pretrained(self, directory: str | Path) -> None:
        """Write ``model.safetensors``, a model card and, last, ``config.json``.

        Raises:
            CheckpointError: if `directory` is a file or holds another project's files of these
                names, or the disk is full or not writable; what was there still loads.
        """
        with self.saving(directory):
            pass

    @contextlib.contextmanager
    def saving(self, directory: str | Path) -> Iterator[Path]:
        """As :meth:`save_pretrained`, with the body's files: all are written aside and then moved.

        If the body fails, the directory is as it was. Graphs, programs, pages and C code of other
        weights are removed, as they no longer belong to the ensemble.

        Yields:
            the folder where the files are until they are moved.

        Raises:
            CheckpointError: see there.
        """
        path = named_path(directory)
        _refuse_others_files(path)
        weights = self._weights()
        config = replace(self.config, weights_hash=sha256(weights))
        with replacing_files(
            path, CONFIG_FILE, clear=lambda: _remove_graphs_of_other_weights(path, config)
        ) as aside:
            write_atomic(aside / WEIGHTS_FILE, weights)
            write_atomic(aside / CARD_FILE, model_card(config).encode())
            write_atomic(aside / CONFIG_FILE, with_config_hash(CONFIG.dump_json(config)))
            yield aside
        self.config = config

    def weights_hash(self) -> str:
        """SHA-256 of ``model.safetensors`` as it would be written."""
        return sha256(self._weights())

    def _weights(self) -> bytes:
        tensors = {k: v.detach().cpu().contiguous() for k, v in self.state_dict().items()}
        return safetensors.torch.save(tensors)

    def truncated(self, stages: int) -> Ensemble:
        """The first `stages` students as an ensemble of their own; weights are shared.

        Raises:
            DataError: if there is no such stage.
        """
        self.config.check_stage(stages)
        config = self.config.truncated(stages)
        return Ensemble(config, list(self)[:stages], self.shift, self.scale)

    def standardise(self, x: Tensor) -> Tensor:
        """Raw features (B, ...) as the students expect them.

        Raises:
            DataError: if the shape of an example is another one.
        """
        self.config.check_shape(x.shape)
        scaled: Tensor = (x - self.shift) / self.scale
        return scaled.to(self.shift.dtype)

    def steps(self, x: Tensor) -> Iterator[tuple[Tensor, Hidden]]:
        """Cumulative logits and hidden state of each stage, for raw features (B, ...)."""
        yield from super().steps(self.standardise(x))

    def forward(self, x: Tensor, stages: int | None = None) -> Tensor:
        """F_k after `stages` = k students (all, if left out), float (B, L), for raw features.

        Gradients reach the students; where none are wanted (``torch.no_grad``), copies of their
        weights may run stacked.

        Raises:
            DataError: if there is no such stage, or `x` is no tensor.
        """
        if not isinstance(x, Tensor):
            raise DataError(
                f"an ensemble is called with a tensor, not {type(x).__name__}; predict takes "
                "arrays and tables."
            )
        if not torch.is_grad_enabled():
            stacked, dtype = self._stacks.get(stages) or self._stack_once(stages)
            if stacked is not None:
                self.config.check_shape(x.shape)
                logits: Tensor = stacked(x if x.dtype is dtype else x.to(dtype))
                return logits
        prefix = self.prefix(len(self) if stages is None else stages)
        logits = prefix(self.standardise(x))
        return logits

    def _stack_once(self, stages: int | None) -> tuple[nn.Module | None, torch.dtype]:
        """What goes straight to a stage, if not its prefix, and the precision that it takes."""
        stage = len(self) if stages is None else stages
        self._stacks[stages] = self.stacked(stage), self.shift.dtype
        return self._stacks[stages]

    def prefix(self, stage: int) -> FoldedPrefix:
        """The module that goes straight to a stage, for standardised features."""
        self.config.check_stage(stage)
        if stage not in self._prefixes:
            with torch.inference_mode(False):  # of whoever is the first to ask; exporters are next
                self._prefixes[stage] = FoldedPrefix(self, stage)
        return self._prefixes[stage]

    def stacked(self, stage: int) -> nn.Module | None:
        """From raw features straight to a stage, stacked anew; None if this was not faster."""
        self.config.check_stage(stage)
        way = self.config.stacking[stage - 1] if self.config.stacking else "none"
        if way == "none" or self.shift.dtype not in (torch.float32, torch.float64):
            return None
        return self.stack(stage, way)

    def stack(self, stages: int | Sequence[int], way: Stacking = "block") -> nn.Module:
        """One network from raw features to a stage, or to several at once.

        It answers as the ensemble does, up to rounding, on copies of its weights.

        Args:
            stages: one, for logits (B, L), or several, for (B, stages, L).
            way: how layers after the first are stacked.

        Raises:
            DataError: if there is no such stage.
        """
        return flattened(self._stacked_stages(stages, way))

    @property
    def affine(self) -> Affine:
        """The standardisation of raw features."""
        return Affine(self.shift, self.scale)

    def kept_apart(self) -> dict[str, str]:
        """Student classes whose bodies run one by one in any case, each with the reason."""
        return self._stacked_stages(len(self), "apart").apart

    def with_fastest_ways(self) -> Ensemble:
        """The same, measured: it goes straight to each stage in the way that is fastest here."""
        affine, shape = self.affine, self.config.input_shape
        inputs = random_inputs(affine, shape)
        found = [
            fastest_way(ways_to(self, affine, shape, stage), inputs)
            for stage in range(1, len(self) + 1)
        ]
        config = replace(self.config, stacking=tuple(found))
        return Ensemble(config, list(self), self.shift, self.scale)

    def _stacked_stages(self, stages: int | Sequence[int], way: Stacking) -> StackedStages:
        wanted = list(stages) if isinstance(stages, Iterable) else [stages]
        for stage in wanted:
            self.config.check_stage(stage)
        if not wanted:
            raise DataError("stages is empty; give the number of one stage, or several.")
        if way not in STACKINGS:
            raise SpecError(f"way is {way!r}; choose one of {', '.join(STACKINGS)}.")
        return StackedStages(self, self.affine, self.config.input_shape, stages, way).eval()

    @torch.no_grad()
    def predict(self, x: Any, stages: int | None = None) -> NDArray[Any]:
        """Answers for raw features: an array or tensor (B, ...), or a table if trained on one.

        Returns:
            Names of the classes (B,), labels 0 and 1, int64 (B, L), or predicted targets (B, L)
            for regression.
        """
        return self.config.values(self(self.as_inputs(x), stages).float().cpu().numpy())

    def as_inputs(self, x: Any) -> Tensor:
        """A float32 tensor on the ensemble's device; tables are encoded as in training.

        Raises:
            DataError: if the examples do not fit, or a value is missing, infinite or no number.
        """
        if isinstance(x, Tensor):
            if x.is_meta:
                raise DataError("x is a tensor on the device 'meta', which holds no numbers.")
            x = x.detach().float().cpu()
        return torch.as_tensor(self.config.as_examples(x), device=self.shift.device)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Ensemble:
        self._prefixes, self._stacks = {}, {}  # copies of weights, not part of the module tree
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


def _refuse_others_files(directory: Path) -> None:
    """Keep a user's README.md and config.json from being written over."""
    signs = {CARD_FILE: b"library_name: bdistil", CONFIG_FILE: b'"students"'}
    for name, sign in signs.items():
        file = directory / name
        if file.is_file() and sign not in file.read_bytes():
            raise CheckpointError(
                f"{file} is there already and not of a saved ensemble; delete it, or choose "
                f"an empty folder."
            )


def _remove_graphs_of_other_weights(folder: Path, config: EnsembleConfig) -> None:
    """So that no runner takes those of an earlier ensemble in the same folder for this one's."""
    weights = folder / WEIGHTS_FILE
    if not weights.is_file() or sha256(weights.read_bytes()) == config.weights_hash:
        return
    with disk_errors(folder):
        for name in (*GRAPH_FOLDERS, TEACHER_FOLDER):
            written = described_files(folder / name)
            for file in (folder / name).glob("*.*"):
                if file.suffix in GRAPH_SUFFIXES or file.name in written:
                    file.unlink()
            with contextlib.suppress(OSError):  # missing, or not empty
                (folder / name).rmdir()


def _check_hash(content: bytes, config: EnsembleConfig) -> None:
    if config.weights_hash and sha256(content) != config.weights_hash:
        raise ValueError("it is damaged or of another ensemble, since its hash is another one")


def _check_numbers(weights: dict[str, Tensor]) -> None:
    check_finite(weights)
    if not (weights["scale"] > 0).all():
        raise ValueError("scale holds values that are not positive")


def _fold_anew(ensemble: Ensemble, _: object) -> None:
    """After new weights were loaded, also as a part of a larger module."""
    ensemble._prefixes, ensemble._stacks = {}, {}


def _check_fits_an_example(shift: Tensor, scale: Tensor, shape: tuple[int, ...]) -> None:
    if torch.broadcast_shapes(shift.shape, scale.shape, shape) != shape:
        raise KeyError(f"shift and scale do not fit the input_shape {shape}")


def _empty_students(config: EnsembleConfig) -> list[Student]:
    students: list[Student] = []
    for student in config.students:
        sizes = [earlier.features for earlier in students]
        students.append(build_student(student, config.input_shape, config.outputs, sizes))
    return students


def _read_config(path: Path) -> EnsembleConfig:
    Manifest.read(path.parent)  # what a device checks, in terms of JSON
    content = read_config(path)
    try:
        return CONFIG.validate_python(content)
    except ValidationError as error:
        raise CheckpointError(f"{path} is damaged ({first_fault(error)}).") from None
