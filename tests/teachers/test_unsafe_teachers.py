"""What could run code when it is read is never opened."""

from __future__ import annotations

import io
import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from own_teachers import (
    assert_answers,
    export,
    loaded,
    network,
    spec_of,
    taught,
    users_folder,
)
from torch.export.pt2_archive import PT2ArchiveWriter

from bdistil.cluster.launch import launch_search
from bdistil.errors import (
    TeacherError,
)
from bdistil.teachers.obtain import check_teacher

pytestmark = pytest.mark.filterwarnings("ignore:the teacher's validation metric")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return users_folder(tmp_path, monkeypatch)


class Bomb:
    """What a pickle of unknown origin may hold: it makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def rewritten(source: str, target: str, member: str, content: bytes) -> None:
    """An exported program with one member replaced or added."""
    reader = torch._C.PyTorchFileReader(source)
    with PT2ArchiveWriter(target) as writer:
        for name in {*reader.get_all_records(), member}:
            if "/" in name and not name.startswith(".data"):
                writer.write_bytes(name, content if name == member else reader.get_record(name))


def with_bombs(bomb: Path) -> dict[str, bytes]:
    """Members of an exported program that make `bomb` when torch.export.load reads them."""
    reader = torch._C.PyTorchFileReader("program.pt2")
    graph = reader.get_record("models/model.json").decode()
    buffer = io.BytesIO()
    torch.save((Bomb(bomb),), buffer)
    evil = f"__import__('os').mkdir('{bomb}')"
    shape = re.search(r"Symbol\('s\d+'[^)]*\)", graph)
    assert shape is not None
    target = "torch.ops.aten.tanh.default"
    config = "data/weights/model_weights_config.json"
    weights = reader.get_record(config).decode()
    return {
        "sample": buffer.getvalue(),
        "shape": graph.replace(shape[0], evil).encode(),
        "operator": graph.replace(target, "torch.os.mkdir").encode(),
        "file operator": graph.replace(target, "torch.ops.aten.save.default").encode(),
        "name": graph.replace('"p_0_weight"', f'"p=print({bomb.name!r})"').encode(),
        "pickle": weights.replace('"use_pickle": false', '"use_pickle": true').encode(),
        "library": b"\x7fELF",
    }


MEMBERS = {
    "sample": "data/sample_inputs/model.pt",
    "pickle": "data/weights/model_weights_config.json",
    "library": "data/aotinductor/model/code.so",
}


@pytest.mark.parametrize(
    "case", ["sample", "shape", "operator", "file operator", "name", "pickle", "library"]
)
def test_a_program_that_could_run_code_is_not_opened(place: Path, case: str) -> None:
    export("program.pt2")
    content = with_bombs(place / "bomb")[case]
    rewritten("program.pt2", "evil.pt2", MEMBERS.get(case, "models/model.json"), content)
    spec = spec_of("evil.pt2")
    with pytest.raises(TeacherError, match=r"evil.pt2 is not opened, since reading it could run"):
        check_teacher(loaded(spec), spec)
    assert not (place / "bomb").exists()


@pytest.mark.parametrize("case", ["sample", "shape"])
def test_those_programs_would_have_run_code(place: Path, case: str) -> None:
    """The check is needed: torch itself runs what they hold."""
    export("program.pt2")
    content = with_bombs(place / "bomb")[case]
    rewritten("program.pt2", "evil.pt2", MEMBERS.get(case, "models/model.json"), content)
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever comes after the bomb
        torch.export.load("evil.pt2")
    assert (place / "bomb").exists()


@pytest.mark.usefixtures("place")
def test_a_program_copied_without_a_bomb_is_read() -> None:
    export("program.pt2")
    graph = torch._C.PyTorchFileReader("program.pt2").get_record("models/model.json")
    rewritten("program.pt2", "copy.pt2", "models/model.json", graph)
    dataset, logits, _ = taught(spec_of("copy.pt2"))
    assert_answers(logits, network(), dataset)


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "model.pt", "model.ckpt"])
def test_a_pickled_model_is_not_opened(place: Path, name: str) -> None:
    bomb = place / "bomb"
    (place / name).write_bytes(pickle.dumps(Bomb(bomb)))
    spec = spec_of(name)
    with pytest.raises(TeacherError, match=r"can hold pickles, .* so it is not opened"):
        launch_search(spec, place / "run")
    assert not bomb.exists()
    pickle.loads((place / name).read_bytes())
    assert bomb.exists()  # it would have


@pytest.mark.parametrize("how", ["pickled", "zipped", "module"])
def test_weights_that_are_more_than_weights_are_not_opened(place: Path, how: str) -> None:
    bomb = place / "bomb"
    if how == "pickled":
        (place / "evil.pt").write_bytes(pickle.dumps(Bomb(bomb)))
    else:
        torch.save(Bomb(bomb) if how == "zipped" else network(), "evil.pt")
    spec = spec_of("code.py:network", weights="evil.pt")
    with pytest.raises(TeacherError, match=r"evil.pt holds more than weights, .* not opened"):
        launch_search(spec, place / "run")
    assert not bomb.exists()
    assert not (place / "run").exists()
