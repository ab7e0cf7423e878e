"""An ONNX graph as teacher, run by onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bdistil.data.dataset import Dataset
from bdistil.errors import TeacherError, told
from bdistil.optional import require
from bdistil.runtime.onnx_file import fault_of
from bdistil.spec import Spec
from bdistil.teachers.answers import Examinee
from bdistil.teachers.onnx_flops import graph_flops
from bdistil.teachers.source import EpochProgress, Rows, Teacher, refuse_rows

TYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}


@dataclass
class OnnxSource:
    """A ``.onnx`` file of one input; the option ``output`` names one of several outputs."""

    kind: ClassVar[str] = "onnx"
    can_refit: ClassVar[bool] = False

    dataset: Dataset
    spec: Spec

    def check(self) -> None:
        """Load it and ask about two examples.

        Raises:
            TeacherError: if it is damaged or does not fit the data.
            MissingDependencyError: if onnxruntime is not installed.
        """
        self._examinee.check(self.dataset)

    def known_flops(self) -> int | None:
        """Counted on the graph, where it tells."""
        return graph_flops(self._content, self.dataset.input_shape)

    def untrained_network(self) -> None:
        """There is none."""

    def obtain(self, rows: Rows | None = None, progress: EpochProgress | None = None) -> Teacher:
        """The graph, on the CPU.

        Raises:
            TeacherError: as :meth:`check`.
        """
        refuse_rows(self.spec.teacher.model, rows)
        return Teacher(
            lambda split, a: self._examinee.logits(self.dataset, split, a),
            self.known_flops(),
            seconds=self._examined(self._open(threads=1)).seconds(self.dataset),
        )

    @cached_property
    def _examinee(self) -> Examinee:
        return self._examined(self._session)

    def _examined(self, session: Any) -> Examinee:
        settings = self.spec.teacher
        only, output = session.get_inputs()[0], self._output
        kind, size = TYPES[only.type], only.shape[0] if only.shape else None

        def answer(features: NDArray[np.float32]) -> NDArray[Any]:
            outputs: NDArray[Any] = session.run([output], {only.name: features.astype(kind)})[0]
            return outputs

        fixed = size if isinstance(size, int) else None
        return Examinee(
            settings.model,
            answer,
            fixed or settings.batch_size,
            settings.reads,
            settings.outputs,
            only_full=fixed is not None,
        )

    @cached_property
    def _content(self) -> bytes:
        """Read once, so that what is checked is what is run."""
        model = self.spec.teacher.model
        try:
            return Path(model).read_bytes()
        except OSError as error:
            raise TeacherError(f"{model} cannot be read: {error.strerror}; check it.") from None

    @cached_property
    def _session(self) -> Any:
        return self._open()

    def _open(self, threads: int = 0) -> Any:
        """The graph on so many threads; 0 leaves it to onnxruntime."""
        model, content = self.spec.teacher.model, self._content
        runtime = require("onnxruntime", "onnx")
        if fault := fault_of(content):
            raise TeacherError(f"{model} is no ONNX graph that can be run: {fault}.")
        try:
            settings = runtime.SessionOptions()
            settings.intra_op_num_threads = threads
            session = runtime.InferenceSession(
                content, settings, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises its own kinds, one for each fault
            raise TeacherError(
                f"{model} is no ONNX graph that can be run ({told(error)}); export it again."
            ) from None
        kinds = [each.type for each in session.get_inputs()]
        if len(kinds) != 1 or kinds[0] not in TYPES:
            raise TeacherError(
                f"{model} takes {', '.join(kinds) or 'nothing'}; export a network of one tensor of "
                f"floating-point numbers."
            )
        return session

    @property
    def _output(self) -> str:
        settings = self.spec.teacher
        names = [str(each.name) for each in self._session.get_outputs()]
        wanted = settings.options.get("output", names[0] if len(names) == 1 else None)
        if wanted not in names or len(settings.options) > ("output" in settings.options):
            raise TeacherError(
                f"{settings.model} has outputs {', '.join(names)}, and teacher.options is "
                f"{settings.options}; name the one with an output a class: "
                f"teacher.options={{output: {names[-1]}}}."
            )
        return str(wanted)
