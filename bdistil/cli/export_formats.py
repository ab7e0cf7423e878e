"""The formats that ``bdistil export`` writes: each written, checked and told by one function."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bdistil.cli.display import output, plain_table
from bdistil.errors import SpecError
from bdistil.names import Stacking

if TYPE_CHECKING:
    from bdistil.export.ensemble import Ensemble
    from bdistil.export.worth_of_int8 import Worth
    from bdistil.searching.result import SearchResult

MOST_CHECKED = 4096  # examples on which other formats are compared
STACKING_WORDS: dict[Stacking, str] = {
    "none": "students one by one, which is the fastest here",
    "block": "students stacked, later layers as one with zeros between them",
    "grouped": "students stacked, later layers as one of equal groups",
    "apart": "first layers stacked",
    "aligned": "students one by one, channels filled up to multiples of eight",
}


@dataclass(frozen=True)
class Export:
    """What is exported, and where to.

    Attributes:
        result: of the search.
        ensemble: that is saved in `folder`.
        folder: for the formats.
        target: where they will be.
        page_runtime: files of onnxruntime-web; None if there will be no page.
        outdated: what an earlier export may have left in `target`, and this one did not keep.
    """

    result: SearchResult
    ensemble: Ensemble
    folder: Path
    target: Path
    page_runtime: Path | None = None
    outdated: list[Path] = field(default_factory=list)

    @cached_property
    def examples(self) -> NDArray[np.float32]:
        """Of the validation split, on which formats are checked."""
        return np.asarray(self.result.dataset.validation.x[:MOST_CHECKED], np.float32)

    def told(self, name: str) -> str:
        """Where a format will be, as users know it."""
        return self.result.run.shown(self.target / name)

    def checked(self, most: int = MOST_CHECKED) -> str:
        """On what formats were checked, in words."""
        return f"on {min(most, len(self.examples))} validation examples"


def write_graphs(export: Export) -> None:
    """ONNX graphs."""
    from bdistil.export.onnx_export import export_onnx
    from bdistil.runtime.onnx_runner import ONNX_FOLDER

    found = export_onnx(export.ensemble, export.folder / ONNX_FOLDER, export.examples)
    difference = f"largest relative difference {found.difference:.1e} {export.checked()}"
    output.print(f"{export.told(ONNX_FOLDER)}: {difference}")
    if len(export.ensemble.config.students) > 1:
        way = STACKING_WORDS[found.way]
        output.print(f"Straight to a stage: {way}{kept_apart(export.ensemble)}")
    if found.step == "aligned":
        output.print("From stage to stage: channels filled up to multiples of eight")
    if found.anew is not None:
        output.print(f"In streams: {streaming_words(found.anew)}")


def write_int8(export: Export, *, anyway: bool = False) -> None:
    """The graphs in 8 bits, where accuracy and time are worth it, or anyway."""
    from bdistil.export.onnx_quantise import quantise_onnx
    from bdistil.export.worth_of_int8 import keep_if_worth, worth_of_int8
    from bdistil.runtime.onnx_runner import INT8_FOLDER

    dataset = export.result.dataset
    quantise_onnx(export.folder, export.examples)
    truth = dataset.validation.y[:MOST_CHECKED]
    worth = worth_of_int8(export.folder, export.examples, truth, dataset.task)
    place = export.folder / INT8_FOLDER
    became = keep_if_worth(worth, place, anyway)
    if not place.exists():
        export.outdated.append(export.target / INT8_FOLDER)
    output.print(f"{export.told(INT8_FOLDER)}: {became}; by stage {export.checked()}")
    output.print(quantised_table(worth))


def write_int8_anyway(export: Export) -> None:
    """The graphs in 8 bits."""
    write_int8(export, anyway=True)


def write_programs(export: Export) -> None:
    """torch.export programs."""
    from bdistil.export.torch_export import export_programs

    tell(export, "programs", export_programs)


def write_executorch(export: Export) -> None:
    """ExecuTorch programs."""
    from bdistil.export.executorch_export import MOST_CHECKED, export_executorch

    tell(export, "executorch", export_executorch, MOST_CHECKED)


def write_litert(export: Export) -> None:
    """LiteRT models."""
    from bdistil.export.litert_export import LITERT_FOLDER, MOST_CHECKED, export_litert

    tell(export, LITERT_FOLDER, export_litert, MOST_CHECKED)


def tell(
    export: Export,
    name: str,
    write: Callable[[Ensemble, Path, NDArray[np.float32]], float],
    most: int = MOST_CHECKED,
) -> None:
    """Write programs into a folder of that name and say how far they are off."""
    difference = write(export.ensemble, export.folder / name, export.examples)
    off = f"largest relative difference {difference:.1e} {export.checked(most)}"
    output.print(f"{export.told(name)}: {off}")


def write_c(export: Export) -> None:
    """The C header."""
    from bdistil.export.c_export import C_FOLDER, export_c

    off = export_c(export.ensemble, export.folder / C_FOLDER, export.examples)
    compiled = f"compiled, largest relative difference {off or 0:.1e} {export.checked()}"
    unchecked = "not compiled and checked, since there is no C compiler on PATH"
    output.print(f"{export.told(C_FOLDER)}: {unchecked if off is None else compiled}")


def write_page(export: Export) -> None:
    """The web page beside the graphs that it runs."""
    from bdistil.export.web_export import WEB_FOLDER, export_web
    from bdistil.runtime.onnx_runner import ONNX_FOLDER

    assert export.page_runtime is not None  # looked for before anything is written
    folder, page = export.folder, export.told(WEB_FOLDER)
    examples = export.result.dataset.validation.x
    export_web(folder, folder / ONNX_FOLDER, folder / WEB_FOLDER, examples, export.page_runtime)
    output.print(f"{page}: see it with: python -m http.server --bind 127.0.0.1 -d {page}")


def write_teacher(export: Export) -> None:
    """The teacher's graph beside the ensemble; says how often it would be asked.

    Raises:
        SpecError: if the teacher is no network.
    """
    from bdistil.export.teacher_export import export_teacher
    from bdistil.runtime.cascade import TEACHER_FOLDER, Cascade
    from bdistil.searching.outcome import teacher_network

    ensemble, folder = export.ensemble, export.folder
    network = teacher_network(export.result.run, export.result.dataset)
    if network is None:
        raise SpecError(
            "--with-teacher: the teacher is no network; give Predictor(teacher=...) itself."
        )
    difference = export_teacher(network, ensemble, folder / TEACHER_FOLDER, export.examples)
    output.print(f"{export.told(TEACHER_FOLDER)}: largest relative difference {difference:.1e}")
    point = Cascade(ensemble.config, folder, teacher=True).point
    asked = (
        f"asked about {point.cost:.1%} of the validation examples" if point.cost else "not asked"
    )
    output.print(
        f"The teacher is best {asked}: with the stages {point.metric:.4f} on all of these."
    )


FORMATS: dict[str, Callable[[Export], None]] = {
    "onnx": write_graphs,
    "int8": write_int8,
    "int8_anyway": write_int8_anyway,
    "torch_export": write_programs,
    "executorch": write_executorch,
    "litert": write_litert,
    "c": write_c,
    "web": write_page,
    "with_teacher": write_teacher,
}
"""By the name of the command's option, in the order in which they are written."""
NEED_GRAPHS = {"int8", "int8_anyway", "web"}


def check_teacher_is_of_use(ensemble: Ensemble) -> None:
    """Refuse to export a teacher that would never be asked.

    Raises:
        SpecError: for regression.
    """
    from bdistil.runtime.cascade import NEVER_UNSURE

    config = ensemble.config
    if config.regression:
        raise SpecError(f"{config.name!r} {NEVER_UNSURE}; leave --with-teacher away.")


def kept_apart(ensemble: Ensemble) -> str:
    """Which bodies do not stack, and why."""
    reasons = ensemble.kept_apart().items()
    return "".join(f"; {name} students run one by one, as {reason}" for name, reason in reasons)


def streaming_words(anew: Collection[str]) -> str:
    """How students take sequences step by step."""
    if not anew:
        return "every student carries its state from step to step"
    names = ", ".join(sorted(anew))
    return f"{names} students are computed anew on what was heard, as they carry no state"


def quantised_table(worth: Worth) -> object:
    """Accuracy (micro F1, R²) of each stage and time of the last, before and after."""
    rows: list[tuple[str, ...]] = [
        (str(stage), f"{before:.4f}", f"{after:.4f}")
        for stage, (before, after) in enumerate(zip(worth.full, worth.int8, strict=True), start=1)
    ]
    rows.append(("µs, one example", *(f"{1e6 * seconds:.3g}" for seconds in worth.seconds)))
    return plain_table(rows, "stage", "float32", "int8")
