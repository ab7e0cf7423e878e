"""A file with the teacher's network is run once in a process, whoever names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bdistil.data.dataset import Dataset
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import TeacherError
from bdistil.spec import DataSpec
from bdistil.spec.user_modules import import_modules
from bdistil.teachers import factories
from bdistil.zoo import registry

FILE = """
from dataclasses import dataclass

from torch import nn

from bdistil.zoo import register_teacher

print("run")


@dataclass
class Layer(nn.Module):  # needs its module in sys.modules
    size: int = 3


@register_teacher("mine", domains=("tabular",))
def mine(input_shape, outputs):
    return nn.Linear(input_shape[0], outputs)


def network():
    return nn.Linear(16, 4)
"""


@pytest.fixture(autouse=True)
def own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "_TEACHERS", dict(registry._TEACHERS))
    monkeypatch.setattr(factories, "_RUN", {})
    monkeypatch.chdir(tmp_path)
    Path("both.py").write_text(FILE)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(DataSpec(name="cube", options={"examples": 60}), 0)


@pytest.mark.parametrize("modules", [[], ["both.py"]])
def test_a_file_that_registers_too_is_run_once(
    dataset: Dataset, capsys: pytest.CaptureFixture[str], modules: list[str]
) -> None:
    import_modules(modules)
    for _ in range(3):
        assert factories.build("both.py:network", {}, dataset).out_features == 4
    import_modules(["both.py"])
    assert capsys.readouterr().out == "run\n"


def test_a_file_that_has_changed_is_run_again(dataset: Dataset) -> None:
    for outputs in (4, 5, 4):
        Path("own.py").write_text(f"from torch import nn\ndef a(): return nn.Linear(2, {outputs})")
        assert factories.build("own.py:a", {}, dataset).out_features == outputs


def test_a_file_that_failed_can_be_mended(dataset: Dataset) -> None:
    Path("own.py").write_text("1 / 0")
    with pytest.raises(TeacherError, match=r"own\.py cannot be imported \(ZeroDivisionError: div"):
        factories.build("own.py:network", {}, dataset)
    Path("own.py").write_text("from torch import nn\ndef network(): return nn.Linear(2, 3)")
    assert factories.build("own.py:network", {}, dataset).out_features == 3
