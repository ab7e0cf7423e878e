"""``hashes.json`` beside exported graphs: which files there are, whole, and of which weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from bdistil.errors import CheckpointError

HASHES_FILE = "hashes.json"


def sha256(content: bytes) -> str:
    """Of a file's content, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def describe_files(folder: Path, weights: str) -> bytes:
    """The content of ``hashes.json`` for the files that are in a folder.

    Args:
        folder: with the files.
        weights: hash of the weights that they were made of.
    """
    files = {path.name: sha256(path.read_bytes()) for path in sorted(folder.glob("*.*"))}
    return json.dumps({"weights": weights, "files": files}, indent=2).encode() + b"\n"


def described_files(folder: Path) -> set[str]:
    """Names of the files that an export wrote into a folder, ``hashes.json`` among them."""
    hashes = folder / HASHES_FILE
    try:
        named = json.loads(hashes.read_text(encoding="utf-8"))["files"]
        return {HASHES_FILE, *named}
    except (OSError, ValueError, KeyError, TypeError):  # missing or damaged
        return {HASHES_FILE}


def read_checked(path: Path, weights: str) -> bytes:
    """A file's content, as it was exported.

    Args:
        path: of the file; without ``hashes.json`` beside it, it is taken as it is.
        weights: hash of the weights that the ensemble has; empty if it is not known.

    Raises:
        CheckpointError: if the file is missing, has changed, or is of other weights.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; export the ensemble again.")
    content, hashes = path.read_bytes(), path.with_name(HASHES_FILE)
    if not hashes.is_file():
        return content
    try:
        found = json.loads(hashes.read_text(encoding="utf-8"))
        made_of, expected = found["weights"], found["files"].get(path.name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{hashes} is damaged: {error!r}; export the ensemble again."
        ) from None
    if weights and made_of != weights:
        raise CheckpointError(
            f"{path} was made of other weights than the ensemble beside it has; export it again."
        )
    if sha256(content) != expected:
        raise CheckpointError(f"{path} is damaged or another file; export the ensemble again.")
    return content
