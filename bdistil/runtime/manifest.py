"""``config.json`` as a device reads it: json alone, without torch or pydantic."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bdistil.errors import CheckpointError
from bdistil.runtime.columns import TableColumns
from bdistil.runtime.exits import OperatingPoint
from bdistil.runtime.signature import Calibration, Signature

CONFIG_FILE = "config.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Manifest(Signature):
    """What a predictor must know beside the graphs.

    Attributes:
        stages: T.
        costs: FLOPs up to each stage, all stages before it answered; None if not known.
    """

    stages: int
    costs: tuple[float, ...] | None

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Of each stage, fitted on validation; ones if not known."""
        fitted = self.calibration.temperatures if self.calibration else ()
        return fitted or (1.0,) * self.stages

    @property
    def exits(self) -> tuple[OperatingPoint, ...]:
        """Operating points of early exit, measured on validation."""
        return self.calibration.exits if self.calibration else ()

    @classmethod
    def of(cls, content: dict[str, Any]) -> Manifest:
        """From the content of ``config.json``."""
        names, columns = content.get("class_names"), content.get("columns")
        figures, calibration = content.get("figures"), content.get("calibration")
        return cls(
            name=content["name"],
            task=content["task"],
            input_shape=tuple(content["input_shape"]),
            outputs=content["outputs"],
            class_names=names and tuple(names),
            columns=columns and TableColumns.of(columns),
            calibration=calibration and Calibration.of(calibration),
            stages=len(content["students"]),
            costs=figures and tuple(stage["streamed_flops"] for stage in figures["stages"]),
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
        except (AttributeError, KeyError, TypeError, ValueError) as error:
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
