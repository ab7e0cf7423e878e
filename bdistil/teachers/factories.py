"""What ``teacher.model`` builds: the user's ``module:factory``, or a model of a library by name."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from bdistil.data.dataset import Dataset
from bdistil.errors import FOREIGN, BdistilError, TeacherError, told
from bdistil.zoo.libraries import check_listed, timm_package, torchvision_models

USERS_MODULE = "bdistil_users_teacher"  # name of a Python file's module while it is imported


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
    if not path.is_file():
        raise TeacherError(f"teacher.model: {path} does not exist; correct the path.")
    spec = importlib.util.spec_from_file_location(USERS_MODULE, path.resolve())
    assert spec is not None  # since the file ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[USERS_MODULE] = module  # dataclasses look their module up
    try:
        with _importable(path.resolve().parent):
            spec.loader.exec_module(module)
    except FOREIGN as error:
        raise TeacherError(
            f"teacher.model: {path} cannot be imported ({type(error).__name__}: "
            f"{told(error)}); correct the file."
        ) from error
    return module


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a file import its neighbours, as ``python file.py`` would."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
