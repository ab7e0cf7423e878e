"""The files of a foreign teacher: which they are, their hash, and the weights in them."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from bdistil.errors import TeacherError, told
from bdistil.spec import TeacherSpec

PROGRAMS = (".onnx", ".pt2")
PICKLES = (".pkl", ".pickle", ".joblib", ".dill", ".pt", ".pth", ".ckpt", ".bin")
WEIGHTS = (".safetensors", ".pt", ".pth")
NESTED = ("state_dict", "model_state_dict", "model")  # keys of common training checkpoints


def files_of(settings: TeacherSpec) -> list[Path]:
    """The files that hold what a foreign teacher has learnt."""
    if settings.weights is not None:
        return [settings.weights]
    path = Path(settings.model)
    if path.suffix not in PROGRAMS:
        return []
    outside = path.with_name(path.name + ".data")  # where ONNX exports put large weights
    return [path, *([outside] if outside.is_file() else [])]


def files_sha256(settings: TeacherSpec) -> str | None:
    """Hash of :func:`files_of`; None if there are none or one is gone."""
    files = files_of(settings)
    if not files or not all(file.is_file() for file in files):
        return None
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def check_program(model: str) -> None:
    """Refuse a model file that is no program, above all pickles.

    Raises:
        TeacherError: naming the file, and what to give instead.
    """
    path = Path(model)
    if path.suffix in PICKLES:
        raise TeacherError(
            f"teacher.model is {model!r}, a format that can hold pickles, which run any code when "
            f"they are read, so it is not opened; give module:factory as teacher.model (with "
            f"teacher.weights=FILE.safetensors for a network), or a .onnx file."
        )
    if path.suffix not in PROGRAMS:
        raise TeacherError(
            f"teacher.model is {model!r}; the file type must be one of {', '.join(PROGRAMS)}."
        )
    if not path.is_file():
        raise TeacherError(f"teacher.model: {path} does not exist or is no file; correct the path.")


def load_weights(network: nn.Module, path: Path) -> None:
    """Put the weights of a file into a network.

    Raises:
        TeacherError: if the file is missing, damaged, holds more than tensors, or does not fit.
    """
    state = read_weights(path)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).partition("\n")[2] or str(error)
        raise TeacherError(
            f"{path} does not fit teacher.model: {told(RuntimeError(first))}; give the weights "
            f"of this very model, with one output a class."
        ) from None


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict; no file is ever unpickled freely.

    Raises:
        TeacherError: if the file is missing, damaged or holds more than tensors.
    """
    if path.suffix not in WEIGHTS:
        raise TeacherError(
            f"teacher.weights is {str(path)!r}; the file type must be one of {', '.join(WEIGHTS)}, "
            f"since other formats can run code when they are read."
        )
    if not path.is_file():
        raise TeacherError(
            f"teacher.weights: {path} does not exist or is no file; correct the path."
        )
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise TeacherError(
            f"{path} holds more than weights, which could run code when it is read, so it is not "
            f"opened; save the weights alone: torch.save(model.state_dict(), 'weights.pt')."
        ) from None
    except Exception as error:  # damaged bytes make the readers raise anything
        raise TeacherError(
            f"{path} is damaged ({type(error).__name__}: {told(error)}); save the weights "
            f"again, best as .safetensors."
        ) from None
    return _state_dict(content, path)


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """The weights in what was read, or under the key where training scripts put them."""
    candidates = [content]
    if isinstance(content, Mapping):
        candidates += [content[key] for key in NESTED if key in content]
    for state in candidates:
        if isinstance(state, Mapping) and all(isinstance(v, Tensor) for v in state.values()):
            return dict(state)
    raise TeacherError(
        f"{path} holds no weights by name; save them as torch.save(model.state_dict(), "
        f"'weights.pt')."
    )
