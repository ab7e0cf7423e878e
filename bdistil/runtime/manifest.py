"""``config.json`` as a device reads it: json alone, without torch or pydantic."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bdistil.errors import CheckpointError
from bdistil.runtime.exits import ExitPolicy, OperatingPoint

CONFIG_FILE = "config.json"
FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """What a predictor must know beside the graphs.

    Attributes:
        name: of the ensemble.
        task: classification, multilabel or regression.
        input_shape: shape of one raw example.
        outputs: L.
        stages: T.
        class_names: the classes or labels as the user wrote them; None for regression.
        columns: how a table becomes features; None if features come as arrays.
        costs: FLOPs up to each stage, all stages before it answered; None if not known.
        temperatures: of each stage, fitted on validation; ones if not known.
        exits: operating points of early exit, measured on validation.
    """

    name: str
    task: str
    input_shape: tuple[int, ...]
    outputs: int
    stages: int
    class_names: tuple[str, ...] | None
    columns: dict[str, Any] | None
    costs: tuple[float, ...] | None
    temperatures: tuple[float, ...]
    exits: tuple[OperatingPoint, ...]

    @property
    def regression(self) -> bool:
        """Whether answers are numbers."""
        return self.task == "regression"

    @classmethod
    def of(cls, content: dict[str, Any]) -> Manifest:
        """From the content of ``config.json``."""
        figures, calibration = content.get("figures"), content.get("calibration") or {}
        names, stages = content.get("class_names"), len(content["students"])
        return cls(
            name=content["name"],
            task=content["task"],
            input_shape=tuple(content["input_shape"]),
            outputs=content["outputs"],
            stages=stages,
            class_names=None if names is None else tuple(names),
            columns=content.get("columns"),
            costs=figures and tuple(stage["streamed_flops"] for stage in figures["stages"]),
            temperatures=tuple(calibration.get("temperatures") or [1.0] * stages),
            exits=tuple(_point(**point) for point in calibration.get("exits", ())),
        )

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """From a folder with ``config.json``.

        Raises:
            CheckpointError: if it is missing, damaged or of a newer format.
        """
        path = directory / CONFIG_FILE
        content = read_config(path)
        try:
            return cls.of(content)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged: {error!r}.") from None


def ensemble_folder(source: str | Path) -> Path:
    """The folder of a saved ensemble: `source` itself, or ``ensemble/`` in a run directory."""
    path = Path(source)
    if not (path / CONFIG_FILE).exists() and (path / "ensemble" / CONFIG_FILE).exists():
        return path / "ensemble"
    return path


def read_config(path: Path) -> dict[str, Any]:
    """The content of ``config.json``.

    Raises:
        CheckpointError: if it is missing, no JSON or of a newer format.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = content.get("format")
    except FileNotFoundError:
        raise CheckpointError(
            f"{path.parent} is no saved ensemble (it has no {path.name}); give the folder that "
            f"`bdistil export` wrote, or a finished run."
        ) from None
    except (OSError, ValueError, AttributeError) as error:
        detail = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path} is damaged: {detail}.") from None
    if found != FORMAT:
        raise CheckpointError(
            f"{path} has format {found!r}, this version reads {FORMAT}; install a newer bdistil."
        )
    return content


def _point(score: str, threshold: float | None, **figures: float) -> OperatingPoint:
    """JSON has no infinity: a threshold of null never leaves early."""
    return OperatingPoint(
        ExitPolicy(score, float("inf") if threshold is None else threshold), **figures
    )
