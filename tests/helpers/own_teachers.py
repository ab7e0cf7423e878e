"""A user's folder with data, a network's code and its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from bdistil.data.dataset import Dataset
from bdistil.datasets.catalogue import load_dataset
from bdistil.spec import Spec, load_spec
from bdistil.teachers.answers import centred
from bdistil.teachers.obtain import check_teacher, obtain_teacher
from bdistil.teachers.teacher_store import SPLITS, Logits, TeacherCard, TeacherStore

FACTORY = """
import neighbour
from torch import nn

def network(hidden=5, classes=neighbour.CLASSES):
    return nn.Sequential(nn.Linear(4, hidden), nn.Tanh(), nn.Linear(hidden, classes))

def softmax():
    return nn.Sequential(*network(), nn.Softmax(dim=1))

def tied():
    first, last = nn.Linear(4, 4), nn.Linear(4, 4)
    last.weight = first.weight
    return nn.Sequential(first, nn.Tanh(), last, nn.Linear(4, neighbour.CLASSES))

def number():
    return 3

class Pair(nn.Linear):
    def forward(self, x):
        return super().forward(x), x

def pair():
    return Pair(4, 3)

def broken():
    raise ValueError("no such luck")
"""


def network(hidden: int = 5, classes: int = 3) -> nn.Module:
    torch.manual_seed(hidden)
    return nn.Sequential(nn.Linear(4, hidden), nn.Tanh(), nn.Linear(hidden, classes)).eval()


def users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's and the working directory, with data, code and weights."""
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.chdir(folder)
    random = np.random.default_rng(0)
    x = (random.normal(size=(90, 4)) * [1, 10, 100, 1] + 5).astype(np.float32)
    np.savez("data.npz", x=x, y=np.arange(90) % 3)
    Path("code.py").write_text(FACTORY)
    Path("neighbour.py").write_text("CLASSES = 3")
    safetensors.torch.save_file(network().state_dict(), "weights.safetensors")
    torch.save(network().state_dict(), "weights.pt")
    return folder


def spec_of(model: str, data: str = "data.npz", **teacher: Any) -> Spec:
    return load_spec({"data": {"path": data}, "teacher": {"model": model} | teacher})


def loaded(spec: Spec) -> Dataset:
    return load_dataset(spec.data, spec.seed, spec.teacher.columns)


def taught(spec: Spec) -> tuple[Dataset, Logits, TeacherCard]:
    """Checked and asked, as a search does."""
    dataset, store = loaded(spec), TeacherStore(Path("teacher"))
    check_teacher(dataset, spec)
    return dataset, obtain_teacher(store, dataset, spec), store.card()


def answers(model: nn.Module, x: Any) -> Any:
    with torch.no_grad():
        return centred(model(torch.as_tensor(np.asarray(x, np.float32))).numpy())


def assert_answers(logits: Logits, model: nn.Module, dataset: Dataset) -> None:
    for name in SPLITS:
        expected = answers(model, getattr(dataset, name).x)
        np.testing.assert_allclose(logits[name], expected, atol=1e-4)


OWN = {"weights": "weights.safetensors"}
FOREST = "sklearn.ensemble:RandomForestClassifier"


def export(path: str, batch: int = 3, dynamic: bool = True) -> None:
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    example = (torch.randn(batch, 4),)
    torch.export.save(torch.export.export(network(), example, dynamic_shapes=shapes), path)
