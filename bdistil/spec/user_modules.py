"""Users' own code: modules that register students, teachers or data sets when they are imported."""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bdistil.errors import FOREIGN, BdistilError, SpecError, told
from bdistil.paths import shown_path


@dataclass(frozen=True)
class UserModule:
    """A module that a spec names, ready to be loaded in any process.

    Attributes:
        name: of an installed module, or the absolute path of a Python file.
        source: the file's text, which travels to workers; None if the module is installed.
    """

    name: str
    source: str | None = None

    @classmethod
    def of(cls, name: str) -> UserModule:
        """The module of that name, or in that file.

        Raises:
            SpecError: if the file cannot be read, or it is neither.
        """
        if not is_file(name):
            _check_name(name)
            return cls(name)
        path = Path(name).resolve()
        try:
            return cls(str(path), path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SpecError(
                f"modules: {name} cannot be read ({reason}); give a Python file."
            ) from None

    def load(self) -> None:
        """Run the module's code, unless this process has done so.

        Raises:
            SpecError: if it is not installed or fails.
        """
        try:
            if self.source is None:
                importlib.import_module(self.name)
            elif loaded_file(Path(self.name)) is None:
                execute(Path(self.name), self.source)
        except BdistilError:
            raise
        except FOREIGN as error:
            raise SpecError(
                f"modules: {self.name} cannot be imported ({type(error).__name__}: {told(error)}); "
                f"give an installed module, or a file such as my_students.py."
            ) from error


def loaded_file(path: Path) -> types.ModuleType | None:
    """The module of a file, given with its absolute path, that this process has run.

    Also if it was imported by its own name, or is the program that runs.
    """
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and Path(file).resolve() == path:
            return module
    return None


def execute(path: Path, source: str | bytes) -> types.ModuleType:
    """Run a file's text as the module of that path, which :func:`loaded_file` finds if it ends."""
    name = str(path)  # the stem may be another module's name
    module = types.ModuleType(name)
    module.__file__ = name
    before = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        exec(compile(source, name, "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
        raise
    return module


def is_file(name: str) -> bool:
    """Whether an entry of ``modules`` names a file."""
    return name.endswith(".py")


def _check_name(name: str) -> None:
    """Refuse what can be no installed module, before Python looks for one.

    Raises:
        SpecError: saying what it is.
    """
    is_name = all(part.isidentifier() for part in name.split("."))
    if is_name and not ("." in name and Path(name).is_file()):
        return
    with contextlib.suppress(OSError, ValueError):  # too long, or a NUL
        if Path(name).exists():
            raise SpecError(
                f"modules: {name} is no Python file (*.py); give one, such as my_students.py, or "
                "an installed module by its name."
            )
    raise SpecError(
        f"modules: {shown_path(name)} is neither a Python file (*.py) nor the name of a module; "
        "give one of them, such as my_students.py."
    )


def import_modules(names: Iterable[str]) -> tuple[UserModule, ...]:
    """Load modules in this process; returns what other processes load.

    Args:
        names: of installed modules or Python files, as in the spec's ``modules``.

    Raises:
        SpecError: if one cannot be imported.
    """
    modules = tuple(map(UserModule.of, names))
    for module in modules:
        module.load()
    return modules
