"""C headers, compiled by the system's compiler with all warnings as errors."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deployed import deploy, examples
from small_ensembles import small_ensemble
from torch import Tensor, nn

from bdistil.core.connections import connection_names
from bdistil.errors import CheckpointError, SpecError
from bdistil.export.c_code import compiled, header
from bdistil.export.c_code.compiled import HEADER_FILE, CompiledEnsemble, find_compiler
from bdistil.export.c_code.literals import float_literal, string_literal
from bdistil.export.c_export import export_c
from bdistil.export.ensemble import Ensemble
from bdistil.runtime.predictor import Predictor
from bdistil.zoo import registry
from bdistil.zoo.registry import register_student, student_classes

COMPILER = find_compiler()
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-O2")
EXAMPLE = Path(__file__).parents[2] / "examples" / "microcontroller.c"
SHAPES: dict[str, tuple[int, ...]] = {"tabular": (5,), "sequence": (6, 3), "image": (2, 9, 8)}
OPTIONS = {
    "convnet(kernel=5,depth=3,cells=2)": "image",
    "convnet(activation=relu)": "image",
    "separable(activation=relu)": "image",
    "fcn(depth=4)": "sequence",
    "gru(layers=2,bidirectional=true)": "sequence",
    "lstm(layers=2,bidirectional=true)": "sequence",
    "mlp(activation=relu)": "tabular",
    "mlp(activation=tanh,depth=2)": "tabular",
}
ALWAYS = ("convnet", "gru(layers=2,bidirectional=true)")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler on PATH")


def every_class() -> list[Any]:
    """Each class with a shape of its domain; of images and sequences one in every run."""
    classes = {entry.name: entry.domains[-1] for entry in student_classes()} | OPTIONS
    return [
        pytest.param(kind, SHAPES[domain], marks=() if kind in ALWAYS else pytest.mark.nightly)
        for kind, domain in classes.items()
    ]


def largest_difference(ensemble: Ensemble, folder: Path, x: np.ndarray) -> float:
    """Of any stage, over the largest logit, compiled with all warnings as errors."""
    assert COMPILER
    export_c(ensemble, folder, x)
    found = CompiledEnsemble(folder / HEADER_FILE, folder, COMPILER, STRICT).every_stage(x)
    with torch.no_grad():
        expected = torch.stack(list(ensemble.stages(torch.as_tensor(x))), dim=1).numpy()
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@needs_compiler
@pytest.mark.parametrize(("kind", "shape"), every_class())
def test_every_class_answers_as_torch_at_every_stage(
    kind: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    students = [(kind, 2, "none", True), (kind, 3, "dense", False)]
    ensemble = small_ensemble(*students, input_shape=shape)
    assert largest_difference(ensemble, tmp_path, torch.randn(20, *shape).numpy()) < 1e-5


@needs_compiler
def test_every_connection_answers_as_torch_at_every_stage(tmp_path: Path) -> None:
    torch.manual_seed(0)
    widths = (3, 4, 4, 2, 3, 3, 4)  # projected where they differ
    names = [*connection_names(), "lstm", "none"]
    assert {"residual", "dense", "lstm", "gru"} < set(names)
    students = [("mlp", *each, each[0] < 4) for each in zip(widths, names, strict=True)]
    ensemble = small_ensemble(*students)
    assert largest_difference(ensemble, tmp_path, examples("mlp", 20)) < 1e-5


@needs_compiler
def test_the_example_answers_as_the_predictor_and_leaves_early(tmp_path: Path) -> None:
    assert COMPILER
    saved = deploy(tmp_path, ("mlp", 3, "none", True), ("mlp", 4, "dense", True))
    x = examples("mlp", 5)
    export_c(saved, tmp_path / "c", x)
    program = tmp_path / "answer"
    command = [COMPILER, *STRICT, f"-I{tmp_path / 'c'}", EXAMPLE, "-o", program, "-lm"]
    subprocess.run(command, check=True)

    def answers(text: str, *arguments: str) -> list[str]:
        done = subprocess.run([program, *arguments], input=text, capture_output=True, text=True)
        assert done.returncode == (0 if text.endswith("\n") else 1)
        return done.stdout.splitlines()

    stages = list(Predictor(tmp_path).stages(x))
    sure = np.array([answer.probabilities.max(axis=1) for answer in stages])  # type: ignore[union-attr]
    enough = float(np.median(sure[0])) + 1e-3
    expected, early = [], []
    for row in range(len(x)):
        for number, answer in enumerate(stages, start=1):
            expected.append((number, answer.values[row], sure[number - 1, row]))
            if number == 1 or sure[0, row] < enough:
                early.append((number, answer.values[row]))
    text = "".join(" ".join(map(str, row)) + "\n" for row in x)
    found = [line.rsplit(" ", 1) for line in answers(text)]
    assert [words for words, _ in found] == [f"{number} {name}" for number, name, _ in expected]
    np.testing.assert_allclose([float(p) for _, p in found], [p for *_, p in expected], atol=1e-4)
    assert len(early) < len(expected)
    assert [line.rsplit(" ", 1)[0] for line in answers(text, f"{enough}")] == [
        f"{number} {name}" for number, name in early
    ]
    assert answers("1 2") == []  # not a whole row


@needs_compiler
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++ on PATH")
@pytest.mark.parametrize("kind", ["cnn", "cnn1d", "gru"])
def test_the_example_is_a_program_in_cpp_too(tmp_path: Path, kind: str) -> None:
    assert COMPILER
    saved = deploy(tmp_path, (kind, 3, "none", True), (kind, 2, "dense", True))
    x = examples(kind, 5)
    export_c(saved, tmp_path / "c", x)
    text, answers = " ".join(map(str, x.ravel())), []
    for command in ([COMPILER, *STRICT], ["g++", "-x", "c++", "-std=c++17", "-Wall", "-Werror"]):
        program = tmp_path / "answer"
        command = [*command, f"-I{tmp_path / 'c'}", str(EXAMPLE), "-o", str(program), "-lm"]
        subprocess.run(command, check=True)
        done = subprocess.run([program], input=text, capture_output=True, text=True, check=True)
        answers.append([line.rsplit(" ", 1) for line in done.stdout.splitlines()])
    (c, cpp) = answers
    assert len(c) == 2 * len(x)
    assert [words for words, _ in c] == [words for words, _ in cpp]
    np.testing.assert_allclose([float(p) for _, p in c], [float(p) for _, p in cpp], atol=2e-4)


@needs_compiler
def test_lines_are_not_broken_within_a_name(tmp_path: Path) -> None:
    names = (" lead", "", "long " * 30, *(f"class  number {i} of many" for i in range(40)))
    ensemble = small_ensemble(("mlp", 3, "none", False), outputs=len(names), class_names=names)
    assert largest_difference(ensemble, tmp_path, examples("mlp", 5)) < 1e-5
    text = (tmp_path / HEADER_FILE).read_text()
    assert all(string_literal(name) in text for name in names)


@needs_compiler
def test_names_of_any_letters_and_large_targets(tmp_path: Path) -> None:
    assert COMPILER
    plain = small_ensemble(("mlp", 3, "none", False), outputs=3)
    names = ('a "quoted\\ \n??/', "größe */", "猫")
    config = replace(plain.config, class_names=names, name="*/ int main")
    with torch.no_grad():
        next(iter(plain)).head.weight.mul_(1e6)
    ensemble = Ensemble(config, list(plain), plain.shift, plain.scale)
    assert largest_difference(ensemble, tmp_path, examples("mlp", 20)) < 1e-5
    source = tmp_path / "names.c"
    loop = 'for (int i = 0; i < ENSEMBLE_OUTPUTS; i++) printf("%s%c", ensemble_classes[i], 0);'
    includes = f'#include <stdio.h>\n#include "{HEADER_FILE}"\n'
    source.write_text(f"{includes}int main(void) {{ {loop} return 0; }}")
    subprocess.run([COMPILER, *STRICT, source, "-o", tmp_path / "names", "-lm"], check=True)
    told = subprocess.run([tmp_path / "names"], capture_output=True, check=True).stdout
    assert told.decode().split("\0")[:-1] == list(names)


@pytest.mark.parametrize("value", [0.0, -1.0, 0.1, 1e-42, -3.4028235e38, math.inf, 16777216.0])
def test_float_literals_give_the_value_back(value: float) -> None:
    text = float_literal(value)
    assert text in ("INFINITY", "-INFINITY") or (text.endswith("f") and {".", "e"} & set(text))
    read = math.inf if text == "INFINITY" else float(text.removesuffix("f"))
    assert np.float32(read) == np.float32(value)


def test_string_literals_are_plain() -> None:
    assert string_literal('a"\\?\n') == r'"a\042\134\077\012"'


@contextmanager
def registered(name: str, body: Any) -> Iterator[None]:
    """A student class of a user's own, for a while."""
    register_student(name, domains=("tabular",), lr=1e-2, growth=1.5)(body)
    try:
        yield
    finally:
        del registry._STUDENTS[name]


class Odd(nn.Module):
    """A body that does something to one layer."""

    def __init__(self, width: int, operation: Any) -> None:
        super().__init__()
        self.features, self.operation = width, operation
        self.layer = nn.Linear(5, width)

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = self.operation(self.layer(x))
        return changed


OPERATIONS = {
    "as strided": lambda x: x.as_strided((len(x), 6), (6, 1)),
    "celu": nn.CELU(0.7),
    "clamped above": lambda x: x.clamp(max=0.3),
    "clamped below": lambda x: x.clamp(min=-0.2),
    "elu": nn.ELU(0.5),
    "erf": torch.erf,
    "expm1": torch.expm1,
    "hard sigmoid": nn.Hardsigmoid(),
    "hard swish": nn.Hardswish(),
    "hard tanh": nn.Hardtanh(-0.5, 1.5),
    "leaky": nn.LeakyReLU(0.2),
    "leaky as it is": nn.LeakyReLU(),
    "log sigmoid": nn.LogSigmoid(),
    "mish": nn.Mish(),
    "prelu": nn.PReLU(6),
    "relu6": nn.ReLU6(),
    "selu": nn.SELU(),
    "silu": nn.SiLU(),
    "softplus": nn.Softplus(2.0, 1.5),
    "softplus as it is": nn.Softplus(),
}


@needs_compiler
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_that_networks_of_others_have(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    with registered("odd", lambda input_shape, width: Odd(width, OPERATIONS[name])):
        ensemble = small_ensemble(("odd", 6, "none", True), input_shape=(5,))
        x = 4 * torch.randn(40, 5)
        assert largest_difference(ensemble, tmp_path, x.numpy()) < 1e-5


@needs_compiler
@pytest.mark.nightly
@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small(stem_stride=1)"])
def test_networks_of_torchvision_answer_as_torch(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    students = [(f"torchvision:{name}", 2, "none", True), (f"torchvision:{name}", 2, "dense", True)]
    ensemble = small_ensemble(*students, input_shape=(3, 32, 32))
    assert largest_difference(ensemble, tmp_path, torch.rand(3, 3, 32, 32).numpy()) < 1e-5


@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        (torch.erfinv, r"uses aten\.erfinv\.default, which has no counterpart in C; export"),
        (lambda x: x.double().sin().float(), r"uses aten\._to_copy\.default"),
        (lambda x: x if x.sum() > 0 else -x, "cannot be traced by torch.export: "),
        (lambda x: torch.add(x, x, alpha=2), r"uses aten\.add\.Tensor with a factor"),
        (lambda x: torch.as_strided(x, (1, 2), (0, 0)), r"uses aten\.as_strided\.default"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_class_and_operation(
    operation: Any, fault: str, tmp_path: Path
) -> None:
    with registered("odd", lambda input_shape, width: Odd(width, operation)):
        ensemble = small_ensemble(
            ("mlp", 2, "none", True), ("odd", 2, "none", True), input_shape=(5,)
        )
        with pytest.raises(SpecError, match=f"stage 2: a student of class 'odd' .*{fault}"):
            export_c(ensemble, tmp_path / "c", examples("mlp"))
    assert not (tmp_path / "c").exists()


def test_long_recurrences_that_would_be_unrolled_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bdistil.export.c_code import tracing

    monkeypatch.setattr(tracing, "MOST_OPERATIONS", 60)
    ensemble = small_ensemble(("fastgrnn", 2, "none", True), input_shape=(4, 3))
    with pytest.raises(SpecError, match=r"'fastgrnn' takes \d+ operations .* use the classes gru"):
        export_c(ensemble, tmp_path, examples("fastgrnn"))


@needs_compiler
def test_an_export_that_fails_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensemble = small_ensemble(("mlp", 2, "none", True))
    export_c(ensemble, tmp_path, examples("mlp"))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {HEADER_FILE, "hashes.json"}
    right = header.header
    for wrong, fault in (("0.0f;", "the C code differs"), ("0.0f +;", "cannot compile it")):
        monkeypatch.setattr(
            "bdistil.export.c_export.header",
            lambda *given, wrong=wrong: right(*given).replace("+ linear_1_out[i0];", f"+ {wrong}"),
        )
        with pytest.raises(CheckpointError, match=fault):
            export_c(ensemble, tmp_path, examples("mlp"))
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_without_a_compiler_it_is_written_and_said_to_be_unchecked(
    bdistil: Any, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert compiled.find_compiler() is None
    answer = bdistil("export", run, "--out", tmp_path / "model", "--c")
    assert answer.status == 0
    assert "not compiled and checked, since there is no C compiler" in " ".join(
        answer.printed.split()
    )
    weights = Ensemble.from_pretrained(tmp_path / "model").config.weights_hash
    assert weights in (tmp_path / "model" / "c" / HEADER_FILE).read_text()
