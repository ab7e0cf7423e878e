"""Where ``config.json`` of a saved ensemble lies, and whether it can be one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from bdistil.errors import CheckpointError
from bdistil.paths import fault_of_path, shown_path

CONFIG_FILE = "config.json"
FORMAT = 1
NEEDED = ("name", "task", "input_shape", "students")
KINDS: dict[str, type] = {
    **{"name": str, "task": str, "input_shape": list, "students": list, "class_names": list},
    **{"columns": dict, "form": dict, "layout": str, "figures": dict, "calibration": dict},
    **{"streamed_flops": list},
}
NAMES_OF_KINDS: dict[type, str] = {str: "text", list: "list", dict: "object"}


def named_path(source: Any) -> Path:
    """The path of a saved ensemble, as a caller gives it.

    Raises:
        CheckpointError: if it is none.
    """
    if not isinstance(source, str | PathLike) or not str(source):
        raise CheckpointError(
            f"a saved ensemble has a folder, but {source!r} names none; give the folder that "
            "`bdistil export` wrote, or a finished run."
        )
    if fault := fault_of_path(source):
        raise CheckpointError(f"{shown_path(source)} {fault}; give the folder of an ensemble.")
    return Path(source)


def ensemble_folder(source: str | Path) -> Path:
    """The folder of a saved ensemble: `source` itself, or ``ensemble/`` in a run directory."""
    path = named_path(source)
    if not (path / CONFIG_FILE).exists() and (path / "ensemble" / CONFIG_FILE).exists():
        return path / "ensemble"
    return path


def read_config(path: Path) -> dict[str, Any]:
    """The content of ``config.json``.

    Raises:
        CheckpointError: if it is missing, no JSON or of a newer format.
    """
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(
                f"{path} is no file; give the folder that `bdistil export` wrote."
            )
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = content.get("format")
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(
            f"{path.parent} is no saved ensemble (it has no {path.name}); give the folder that "
            f"`bdistil export` wrote, or a finished run."
        ) from None
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        detail = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path} is damaged: {detail}.") from None
    if found != FORMAT:
        raise CheckpointError(
            f"{path} has format {found!r}, this version reads {FORMAT}; install a newer bdistil."
        )
    return content


def check_types(content: Mapping[str, Any]) -> None:
    """Refuse values of ``config.json`` that are of another kind than they should be.

    Raises:
        ValueError: naming the key.
    """
    for key, kind in KINDS.items():
        value = content.get(key)
        if not isinstance(value, kind) and not (value is None and key not in NEEDED):
            raise ValueError(f"{key} is {str(value)[:80]!r}, no {NAMES_OF_KINDS[kind]}")
    for key in ("columns", "calibration"):
        if content.get(key) == {}:
            raise ValueError(f"{key} is empty")
    for key, kind in (("class_names", str), ("students", dict)):
        if not all(isinstance(each, kind) for each in content.get(key) or ()):
            raise ValueError(f"{key} holds something that is no {NAMES_OF_KINDS[kind]}")
