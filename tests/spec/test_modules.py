"""Users' own modules: imported once in every process that needs them, or refused in a sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bdistil.errors import SpecError
from bdistil.spec import load_spec
from bdistil.spec.user_modules import UserModule, import_modules
from bdistil.zoo import registry
from bdistil.zoo.registry import student_class

STUDENT = '''
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from bdistil.zoo import register_student


@dataclass
class Settings:  # needs its module in sys.modules
    least: ClassVar[int] = 1


@register_student("line", domains=("tabular",), lr=0.02, growth=1.25)
def line(input_shape: tuple[int, ...], width: int) -> nn.Module:
    """Linear features."""
    body = nn.Linear(input_shape[0], max(Settings.least, width))
    body.features = body.out_features
    return body
'''


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_STUDENTS", dict(registry._STUDENTS))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my_students.py"
    path.write_text(STUDENT)
    return path


def test_a_file_registers_its_students_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    [module] = import_modules(["my_students.py"])
    assert module.name == str(file)
    assert student_class("line").build((4,), 3)(torch.zeros(2, 4)).shape == (2, 3)
    assert import_modules([str(file), "my_students.py"]) == (module, module)


def test_a_file_that_was_imported_by_name_is_not_run_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(file.parent)
    import_modules(["my_students"])
    import_modules([str(file)])
    assert student_class("line").description == "Linear features."


def test_workers_need_the_text_and_not_the_file(file: Path) -> None:
    module = UserModule.of(str(file))
    file.unlink()
    module.load()
    assert student_class("line").lr == 0.02


def test_a_program_may_name_itself(file: Path) -> None:
    file.write_text(
        f"{STUDENT}\nif __name__ == '__main__':\n"
        "    from bdistil.spec.user_modules import import_modules\n"
        "    import_modules([__file__])\n"
        "    print('once')\n"
    )
    done = subprocess.run(
        [sys.executable, file.name], cwd=file.parent, capture_output=True, text=True, check=False
    )
    assert done.stdout == "once\n", done.stderr


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("1 / 0", r"my_students\.py cannot be imported \(ZeroDivisionError: division by zero\)"),
        ("def (", r"cannot be imported \(SyntaxError: invalid syntax"),
        ("import nothing_like_it", r"No module named 'nothing_like_it'"),
        (STUDENT.replace('"line"', '"mlp"'), r"student name 'mlp' is taken"),
    ],
)
def test_a_file_that_fails_is_named_and_can_be_mended(
    file: Path, content: str, sentence: str
) -> None:
    file.write_text(content)
    with pytest.raises(SpecError, match=sentence):
        import_modules([str(file)])
    file.write_text(STUDENT)
    import_modules([str(file)])
    assert student_class("line")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nowhere.py", r"modules: nowhere\.py cannot be read .*; give a Python file\."),
        ("no_such_package", r"modules: no_such_package cannot be imported .*a file such as"),
    ],
)
def test_what_is_not_there_is_named(name: str, sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        import_modules([name])


def test_a_run_may_be_resumed_with_its_modules_elsewhere(file: Path) -> None:
    here, there = (
        load_spec({"data": {"name": "cube"}, "modules": modules}) for modules in (["a.py"], [])
    )
    assert here.identity() == there.identity()
