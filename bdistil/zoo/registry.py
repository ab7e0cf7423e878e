"""The registries of student bodies and teachers.

A *student body* maps standardised inputs, float32 (B, *input_shape), to features,
(B, body.features); connections and heads are added by ``bdistil.core``. A *teacher* maps the same
inputs to logits, (B, outputs). Both must run on every device, ``meta`` included: FLOPs are counted
there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel
from torch import nn

from bdistil.errors import (
    FOREIGN,
    BdistilError,
    SpecError,
    TeacherError,
    is_ours,
    suggest,
    told,
)
from bdistil.names import Domain
from bdistil.zoo.defaults import default_teacher
from bdistil.zoo.options import checked_options, options_of, read, written

BuildStudent = Callable[..., nn.Module]
BuildTeacher = Callable[..., nn.Module]

_AXES: dict[Domain, str] = {
    "tabular": "(features,)",
    "sequence": "(time, features)",
    "image": "(channels, height, width)",
}


@dataclass(frozen=True)
class StudentClass:
    """A family of student bodies that grow with their width.

    Attributes:
        name: what a spec calls it.
        build: ``(input_shape, width) -> body``; raises SpecError if the body cannot take the input.
        domains: the kinds of input it takes.
        lr: learning rate that suits it.
        growth: cumulative FLOPs of stage t + 1 over stage t that suits it.
        options: a model whose fields are the options of its architecture, with types and defaults.
        description: one line for people.
    """

    name: str
    build: BuildStudent
    domains: tuple[Domain, ...]
    lr: float
    growth: float
    options: type[BaseModel]
    description: str

    def described_options(self) -> list[tuple[str, str, str]]:
        """Of each option its name, values and default, in words."""
        found = []
        for name, field in self.options.model_fields.items():
            kind = field.annotation
            values = get_args(kind) if get_origin(kind) is Literal else ()
            if kind is bool:
                values = (False, True)
            words = ", ".join(map(written, values)) or getattr(kind, "__name__", str(kind))
            found.append((name, words, written(field.default)))
        return found

    def with_options(self, options: Mapping[str, Any]) -> StudentClass:
        """The class with some options set: by its name, ``cnn(kernel=5)``, it is found again.

        Raises:
            SpecError: if an option or its value is unknown.
        """
        values = checked_options(
            self.name, self.options, options, "student", f"space.options.{self.name}"
        )
        set_ = {k: v for k, v in values.items() if v != self.options.model_fields[k].default}
        if not set_:
            return self
        words = ", ".join(f"{name}={written(value)}" for name, value in set_.items())
        return replace(self, name=f"{self.name}({words})", build=partial(self.build, **set_))


@dataclass(frozen=True)
class TeacherClass:
    """A family of teachers.

    Attributes:
        name: what a spec calls it.
        build: ``(input_shape, outputs, **options) -> teacher``, unchecked; see `build_teacher`.
        domains: the kinds of input it takes.
        options: a model whose fields are the options with their types and defaults.
        description: one line for people.
    """

    name: str
    build: BuildTeacher
    domains: tuple[Domain, ...]
    options: type[BaseModel]
    description: str


Entry = TypeVar("Entry", StudentClass, TeacherClass)
Builder = TypeVar("Builder", bound=Callable[..., nn.Module])

_STUDENTS: dict[str, StudentClass] = {}
_LIBRARIES: dict[str, Callable[[str], StudentClass]] = {}
_TEACHERS: dict[str, TeacherClass] = {}


def register_student(
    name: str, *, domains: tuple[Domain, ...], lr: float, growth: float
) -> Callable[[Builder], Builder]:
    """Make ``(input_shape, width, *, <options>) -> body`` known as a student class.

    Its keyword-only parameters, with their annotations and defaults, are the options of its
    architecture, which `space.options` makes dimensions of a search. The first line of its
    docstring becomes the description. The body needs an int attribute ``features``, and its FLOPs
    must grow strictly with the width.

    Raises:
        SpecError: if the name is taken.
    """

    def register(build: Builder) -> Builder:
        words = _first_line(build)
        entry = described_student(
            name, build, domains=domains, lr=lr, growth=growth, description=words
        )
        _add(_STUDENTS, entry, "student")
        return build

    return register


def described_student(
    name: str,
    build: BuildStudent,
    *,
    domains: tuple[Domain, ...],
    lr: float,
    growth: float,
    description: str,
) -> StudentClass:
    """A student class that is not registered; see :func:`register_student`."""
    checked = partial(_build_student, name, build)
    return StudentClass(name, checked, domains, lr, growth, options_of(build), description)


def register_library(library: str, find: Callable[[str], StudentClass]) -> None:
    """Let each ``library:NAME`` be a student class, which `find` makes when it is asked for NAME.

    `find` raises SpecError for names that it does not know, MissingDependencyError where the
    library is not installed.
    """
    _LIBRARIES[library] = find


def register_teacher(name: str, *, domains: tuple[Domain, ...]) -> Callable[[Builder], Builder]:
    """Make ``(input_shape, outputs, *, <options>) -> teacher`` known as a teacher.

    Its keyword-only parameters, with their annotations and defaults, are the options.

    Raises:
        SpecError: if the name is taken.
    """

    def register(build: Builder) -> Builder:
        entry = TeacherClass(name, build, domains, options_of(build), _first_line(build))
        _add(_TEACHERS, entry, "teacher")
        return build

    return register


def student_classes() -> tuple[StudentClass, ...]:
    """Every registered student class, by name."""
    return tuple(_STUDENTS[name] for name in sorted(_STUDENTS))


def teacher_classes() -> tuple[TeacherClass, ...]:
    """Every registered teacher, by name."""
    return tuple(_TEACHERS[name] for name in sorted(_TEACHERS))


def student_class(name: str) -> StudentClass:
    """The student class of that name, maybe with options: ``cnn`` or ``cnn(kernel=5)``.

    Raises:
        SpecError: if there is none, or an option or its value is unknown.
        MissingDependencyError: if it is a network of a library that is not installed.
    """
    name, bracket, words = name.partition("(")
    if is_of_library(name):
        library, _, network = name.partition(":")
        entry = _LIBRARIES[library](network)
    else:
        entry = _look_up(_STUDENTS, name, "student")
    if not bracket:
        return entry
    pairs = [pair.partition("=") for pair in words.removesuffix(")").split(",")]
    return entry.with_options({key.strip(): read(value.strip()) for key, _, value in pairs})


def is_of_library(name: str) -> bool:
    """Whether a student class is a network of a library, ``timm:NAME``."""
    library, colon, _ = name.partition(":")
    return bool(colon) and library in _LIBRARIES


def teacher_class(name: str) -> TeacherClass:
    """The teacher of that name.

    Raises:
        SpecError: if there is none.
    """
    return _look_up(_TEACHERS, name, "teacher")


def build_teacher(
    name: str,
    domain: Domain,
    input_shape: tuple[int, ...],
    outputs: int,
    options: Mapping[str, Any],
) -> nn.Module:
    """A new teacher with random weights.

    Args:
        name: a registered teacher, or ``auto`` to let the domain choose.
        domain: the data set's domain.
        input_shape: shape of one example.
        outputs: number of logits.
        options: arguments of the teacher, such as ``widths``.

    Returns:
        A module from float32 (B, *input_shape) to logits (B, outputs).

    Raises:
        SpecError: if the name, an option or its value is unknown, or the input does not fit.
        TeacherError: if a user's own cannot be built.
    """
    teacher = teacher_class(default_teacher(domain) if name == "auto" else name)
    _check_shape(teacher, input_shape, "teacher", _TEACHERS)
    checked = checked_options(teacher.name, teacher.options, options, "teacher", "teacher.options")
    try:
        built = teacher.build(input_shape, outputs, **checked)
    except BdistilError:
        raise
    except FOREIGN as error:
        if is_ours(teacher.build):
            raise
        raise TeacherError(
            f"teacher {teacher.name!r} cannot be built for inputs of shape {input_shape} and "
            f"{outputs} outputs ({type(error).__name__}: {told(error)}); correct the class or "
            f"teacher.options."
        ) from error
    if not isinstance(built, nn.Module):
        raise TeacherError(
            f"teacher {teacher.name!r} gives {type(built).__name__}; make it give a "
            f"torch.nn.Module."
        )
    return built


def _build_student(
    name: str, build: BuildStudent, input_shape: tuple[int, ...], width: int, **options: Any
) -> nn.Module:
    _check_shape(student_class(name), input_shape, "student", _STUDENTS)
    if width < 1:
        raise SpecError(
            f"space.ladder: the width of student {name!r} must be at least 1, not {width}."
        )
    try:
        body = build(input_shape, width, **options)
    except BdistilError:
        raise
    except FOREIGN as error:  # a user's own class
        raise SpecError(
            f"student {name!r} cannot be built with width {width} for inputs of shape "
            f"{input_shape}: {told(error)}; correct the class or space.ladder."
        ) from error
    if not isinstance(body, nn.Module):
        raise SpecError(
            f"student {name!r} gives {type(body).__name__} with width {width}; make it give a "
            f"torch.nn.Module."
        )
    return body


def _domain_of(input_shape: tuple[int, ...]) -> Domain | None:
    if any(size < 1 for size in input_shape):
        return None
    by_rank: dict[int, Domain] = {1: "tabular", 2: "sequence", 3: "image"}
    return by_rank.get(len(input_shape))


def _check_shape(
    entry: Entry, input_shape: tuple[int, ...], kind: str, registry: dict[str, Entry]
) -> None:
    domain = _domain_of(input_shape)
    if domain in entry.domains:
        return
    takes = " or ".join(_AXES[d] for d in entry.domains)
    fitting = [name for name in sorted(registry) if domain in registry[name].domains]
    remedy = f"choose {', '.join(fitting)}" if fitting else "reshape the data"
    raise SpecError(
        f"{kind} {entry.name!r} takes inputs of shape {takes}, not {input_shape}; {remedy}."
    )


def _look_up(registry: dict[str, Entry], name: str, kind: str) -> Entry:
    if name in registry:
        return registry[name]
    raise SpecError(f"{kind} {name!r} is unknown; {suggest(name, sorted(registry))}.")


def _add(registry: dict[str, Entry], entry: Entry, kind: str) -> None:
    if entry.name in registry or entry.name == "auto":
        raise SpecError(f"{kind} name {entry.name!r} is taken; register it under another name.")
    registry[entry.name] = entry


def _first_line(build: Callable[..., nn.Module]) -> str:
    lines = (inspect.getdoc(build) or "").splitlines()
    return lines[0] if lines else ""
