"""The files of a foreign teacher: which they are, their hash, and the weights in them."""

from __future__ import annotations

import hashlib
import pickle
import warnings
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from bdistil.errors import BdistilWarning, TeacherError, told
from bdistil.files.wording import some
from bdistil.spec import TeacherSpec

PROGRAMS = (".onnx", ".pt2")
PICKLES = (".pkl", ".pickle", ".joblib", ".dill", ".pt", ".pth", ".ckpt", ".bin")
WEIGHTS = (".safetensors", ".pt", ".pth", ".th", ".ckpt")
NESTED = ("state_dict", "model_state_dict", "model")  # keys of common training checkpoints
COUNTER = "num_batches_tracked"  # of batch norm: training alone reads it, and older files lack it


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
    own, read = network.state_dict(keep_vars=True), read_weights(path)
    counted = any(name.endswith(COUNTER) for name in read)
    wanted = {name: own[name] for name in own if counted or not name.endswith(COUNTER)}
    state = _under_their_names(read, wanted, path)
    sizes = {name: (tuple(state[name].shape), tuple(wanted[name].shape)) for name in wanted}
    unfit = [f"{name} ({mine}, not {its})" for name, (mine, its) in sizes.items() if mine != its]
    if unfit:
        raise TeacherError(
            f"{path} does not fit teacher.model: size mismatch for {some(unfit)}; give the weights "
            "of this very model, with one output a class."
        )
    try:
        network.load_state_dict({**own, **state})
    except RuntimeError as error:
        raise TeacherError(
            f"{path} does not fit teacher.model: {told(error)}; give the weights of this very "
            "model, with one output a class."
        ) from None


def _under_their_names(
    state: dict[str, Tensor], wanted: Mapping[str, Any], path: Path
) -> dict[str, Tensor]:
    """The weights a network wants, of all that are in a file.

    Wrappers that people train in (DataParallel, torch.compile, Lightning, averaged models) put a
    prefix before every name, and files may hold a tensor that several names share only once.

    Raises:
        TeacherError: if weights are missing or too many, or several prefixes would do.
    """
    twins = _names_of_one_tensor(wanted)

    def found(name: str, prefix: str) -> str | None:
        return next((prefix + twin for twin in twins[name] if prefix + twin in state), None)

    first = next(iter(wanted), "")
    ends = [
        name.removesuffix(twin)
        for twin in twins.get(first, ())
        for name in state
        if name == twin or name.endswith(f".{twin}")
    ]
    fitting = [p for p in dict.fromkeys(["", *ends]) if all(found(name, p) for name in wanted)]
    if "" in fitting or not fitting:
        _check_names(state, [name for name in wanted if not found(name, "")], wanted, path)
        return {name: state[str(found(name, ""))] for name in wanted}
    if len(fitting) > 1:
        raise TeacherError(
            f"{path} holds weights that fit teacher.model more than once, under "
            f"{some(list(map(repr, fitting)))}; save one of them alone."
        )
    [prefix] = fitting
    used = {found(name, prefix) for name in wanted}
    rest = [name for name in state if name not in used]
    left = f"; of no use to teacher.model are {some(rest)}" if rest else ""
    warnings.warn(
        f"{path}: weights are taken without {prefix!r} before their names{left}.",
        BdistilWarning,
        stacklevel=2,
    )
    return {name: state[str(found(name, prefix))] for name in wanted}


def _names_of_one_tensor(wanted: Mapping[str, Any]) -> dict[str, list[str]]:
    """For each name those of the same tensor, itself first."""
    by_tensor: dict[int, list[str]] = defaultdict(list)
    for name, tensor in wanted.items():
        by_tensor[id(tensor)].append(name)
    return {
        name: [name, *(twin for twin in by_tensor[id(tensor)] if twin != name)]
        for name, tensor in wanted.items()
    }


def _check_names(
    state: Mapping[str, Any], missing: list[str], wanted: Mapping[str, Any], path: Path
) -> None:
    unknown = [name for name in state if name not in wanted]
    found = [f"it lacks {some(missing)}"] if missing else []
    found += [f"the model has no {some(unknown)}"] if unknown else []
    if found:
        raise TeacherError(
            f"{path} does not fit teacher.model: {', and '.join(found)}; give the weights of this "
            "very model, with one output a class."
        )


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
