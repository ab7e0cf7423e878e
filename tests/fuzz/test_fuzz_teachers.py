"""Teachers' files of any content: finite answers for every example, or one sentence."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import own_teachers
import pytest
import torch
from fuzzing import damaged, fuzz, hostile, right_or_one_sentence
from hypothesis import given
from hypothesis import strategies as st

from bdistil.spec import load_spec

pytestmark = pytest.mark.filterwarnings("ignore")
FILES = ("teacher.onnx", "teacher.pt2", "weights.safetensors", "weights.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        folder = own_teachers.users_folder(tmp_path_factory.mktemp("users"), patch)
        network, example = own_teachers.network(), torch.zeros(1, 4)
        axes = {"x": {0: "batch"}}
        torch.onnx.export(
            network, (example,), "teacher.onnx", dynamo=False, input_names=["x"], dynamic_axes=axes
        )
        rows = ({0: torch.export.Dim("batch")},)
        program = torch.export.export(network, (torch.zeros(2, 4),), dynamic_shapes=rows)
        torch.export.save(program, "teacher.pt2")
        for name in FILES:
            shutil.copy(name, f"whole-{name}")
            assert teach(**teacher_in(name))
        yield folder


def teacher_in(file: str) -> dict[str, str]:
    weights = {"model": "code.py:network", "weights": file}
    return weights if file.startswith("weights") else {"model": file}


def teach(**teacher: Any) -> bool:
    """Whether the teacher answered; if not, it was refused in a sentence."""
    shutil.rmtree("teacher", ignore_errors=True)
    with right_or_one_sentence():
        spec = load_spec({"data": {"path": "data.npz"}, "teacher": teacher})
        dataset, logits, _ = own_teachers.taught(spec)
        for name in ("train", "validation", "test"):
            assert logits[name].shape == (len(getattr(dataset, name)), 3)
            assert np.isfinite(logits[name]).all()
        return True
    return False


@fuzz(45)
@given(st.data())
@pytest.mark.parametrize("name", FILES)
def test_damaged_files(folder: Path, name: str, data: st.DataObject) -> None:
    file = Path(name)
    file.write_bytes(data.draw(damaged(Path(f"whole-{name}").read_bytes())))
    teach(**teacher_in(name))


MODELS = st.sampled_from(
    ["code.py:network", "code.py:number", "code.py:", ":", "code.py:pair", "whole-teacher.onnx"]
)


@fuzz(100)
@given(MODELS | st.text(max_size=12), st.dictionaries(st.sampled_from(["hidden", "x"]), hostile))
def test_models_and_options_of_any_kind(folder: Path, model: str, options: dict[str, Any]) -> None:
    if isinstance(options.get("hidden"), int) and abs(options["hidden"]) > 9999:
        options["hidden"] = 9999  # memory is the factory's affair
    teach(model=model, options=options)
