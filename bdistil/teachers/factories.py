"""What ``teacher.model`` builds: the user's ``module:factory``, or a model of a library by name."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from bdistil.data.dataset import Dataset
from bdistil.errors import FOREIGN, BdistilError, TeacherError, told
from bdistil.spec.user_modules import execute, loaded_file
from bdistil.zoo.libraries import check_listed, timm_package, torchvision_models

_RUN: dict[Path, tuple[bytes, ModuleType]] = {}  # by place: text and module of files run here


def build(model: str, options: Mapping[str, Any], dataset: Dataset) -> Any:
    """Call what ``torchvision:NAME``, ``timm:NAME`` or ``place:factory`` names with `options`.

    Args:
        model: `place` is an importable module or the path of a Python file.
        options: keyword arguments.
        dataset: decides on the outputs and input channels of a library's model.

    Raises:
        TeacherError: if it cannot be imported, found or called.
        SpecError: if a library does not know the name.
        MissingDependencyError: if the library is not installed.
    """
    place, _, name = model.rpartition(":")
    factory = LIBRARIES.get(place)
    try:
        if factory is not None:
            return factory(name, dict(options), dataset)
        return _factory(model, place, name)(**options)
    except BdistilError:
        raise
    except FOREIGN as error:
        raise TeacherError(
            f"teacher.model {model!r} cannot be built with teacher.options {dict(options)}: "
            f"{told(error)}; correct the options or the factory."
        ) from error


def _torchvision(name: str, options: dict[str, Any], dataset: Dataset) -> Any:
    models = torchvision_models()
    check_listed(name, models.list_models(), "torchvision", "teacher.model")
    return models.get_model(name, weights=None, **{"num_classes": dataset.outputs} | options)


def _timm(name: str, options: dict[str, Any], dataset: Dataset) -> Any:
    timm = timm_package()
    check_listed(name.partition(".")[0], timm.list_models(), "timm", "teacher.model")
    shape = {"num_classes": dataset.outputs, "in_chans": dataset.input_shape[0]}
    return timm.create_model(name, pretrained=False, **shape | options)


LIBRARIES: dict[str, Callable[[str, dict[str, Any], Dataset], Any]] = {
    "torchvision": _torchvision,
    "timm": _timm,
}


def _factory(model: str, place: str, name: str) -> Callable[..., Any]:
    is_file = Path(place).suffix == ".py"
    module = _file_module(Path(place)) if is_file else _named_module(model, place)
    found: Callable[..., Any] | None = getattr(module, name, None)
    if not callable(found):
        raise TeacherError(
            f"teacher.model is {model!r}, but {place} has no callable {name!r}; name a class or "
            f"function of it that gives the network."
        )
    return found


def _named_module(model: str, place: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except FOREIGN as error:  # importing runs foreign code
        raise TeacherError(
            f"teacher.model is {model!r}, but module {place!r} cannot be imported "
            f"({told(error)}); install it, or give a file as path/to/file.py:factory."
        ) from error


def _file_module(path: Path) -> ModuleType:
    """The file's module, which is run once, and again if the file has changed."""
    if not path.is_file():
        raise TeacherError(f"teacher.model: {path} does not exist; correct the path.")
    place = path.resolve()
    try:
        source = place.read_bytes()
        if place in _RUN:
            known, module = _RUN[place]
            if known == source:
                return module
        elif (loaded := loaded_file(place)) is not None:  # by the spec's `modules`, or by its name
            return loaded
        with _importable(place.parent):
            module = execute(place, source)
    except FOREIGN as error:
        raise TeacherError(
            f"teacher.model: {path} cannot be imported ({type(error).__name__}: "
            f"{told(error)}); correct the file."
        ) from error
    _RUN[place] = source, module
    return module


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a file import its neighbours, as ``python file.py`` would."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
