"""Students as safetensors: the configuration travels in the file's metadata, never as a pickle."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from bdistil.core.student import Student, StudentConfig
from bdistil.errors import FOREIGN, CheckpointError, MissingDependencyError, SpecError
from bdistil.zoo.registry import is_of_library, student_class, student_classes

METADATA_KEY = "bdistil.student"


def build_student(
    config: StudentConfig, input_shape: Sequence[int], outputs: int, earlier: Sequence[int]
) -> Student:
    """A fresh student with random weights (see :class:`~bdistil.core.student.Student`)."""
    body = student_class(config.kind).build(tuple(input_shape), config.width)
    return Student(config, body, outputs, earlier)


def check_known(configs: Iterable[StudentConfig], origin: object) -> None:
    """Refuse students of classes that nobody has registered in this process.

    Raises:
        CheckpointError: naming the class and what to import.
        MissingDependencyError: if it is a network of a library that is not installed.
    """
    known = {entry.name for entry in student_classes()}
    for kind in dict.fromkeys(config.kind.partition("(")[0] for config in configs):
        if is_of_library(kind):
            _check_in_library(kind, origin)
        elif kind not in known:
            raise CheckpointError(
                f"{origin} has a student of class {kind!r}, which is not registered; first import "
                f"the module with its @register_student (the command line takes --module FILE)."
            )


def _check_in_library(kind: str, origin: object) -> None:
    library = kind.partition(":")[0]
    try:
        student_class(kind)
    except MissingDependencyError as error:
        raise MissingDependencyError(f"{origin} has a student {kind!r}, but {error}") from None
    except SpecError:
        raise CheckpointError(
            f"{origin} has a student {kind!r}, which the {library} that is installed does not "
            f"have; install the version with which it was made."
        ) from None


def check_size(build: Callable[[], Iterable[nn.Module]], weights: Mapping[str, Tensor]) -> None:
    """Refuse modules that are larger than their weights, before memory is made for them.

    Raises:
        ValueError: if they are.
    """
    try:
        with torch.device("meta"):
            states = [module.state_dict() for module in build()]
    except FOREIGN:  # a user's class that takes no meta device, or what building tells anyway
        return
    wanted = sum(tensor.numel() for state in states for tensor in state.values())
    there = sum(tensor.numel() for tensor in weights.values())
    if wanted > there:
        raise ValueError(f"it holds {there:,} values, but {wanted:,} are described")


def check_finite(weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that answer nothing.

    Raises:
        ValueError: naming the tensor.
    """
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{name} holds values that are not finite")


def student_to_bytes(student: Student) -> bytes:
    """Weights and configuration of one student as a safetensors file."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in student.state_dict().items()}
    metadata = {METADATA_KEY: json.dumps(dataclasses.asdict(student.config))}
    return safetensors.torch.save(tensors, metadata)


def student_from_bytes(
    blob: bytes, input_shape: Sequence[int], outputs: int, earlier: Sequence[int], origin: str
) -> Student:
    """The student written by :func:`student_to_bytes`, in evaluation mode.

    Args:
        blob: the file's content.
        input_shape: shape of one example.
        outputs: L.
        earlier: features of the students before it.
        origin: the file's name, for the error.

    Raises:
        CheckpointError: if the bytes are no student, one for other data, or of an unknown class.
    """
    try:
        config = student_config(blob)
        check_known([config], origin)
        weights = safetensors.torch.load(blob)
        check_finite(weights)
        check_size(lambda: [build_student(config, input_shape, outputs, earlier)], weights)
        student = build_student(config, input_shape, outputs, earlier)
        student.load_state_dict(weights)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, SpecError) as error:
        detail = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{origin} is damaged or of another run: {detail}.") from None
    return student.eval()


def student_config(blob: bytes) -> StudentConfig:
    """The configuration in a student's file."""
    length = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8 : 8 + length])
    return StudentConfig(**json.loads(header["__metadata__"][METADATA_KEY]))
