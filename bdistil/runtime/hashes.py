"""What was written is read, or refused: hashes of exported graphs and of ``config.json``.

``hashes.json`` beside graphs says which files there are, whole, and of which weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bdistil.errors import CheckpointError

HASHES_FILE = "hashes.json"
CONFIG_HASH = "config_hash"
"""Key of ``config.json`` for the hash of all else in it; who changes it by hand deletes this."""


def sha256(content: bytes) -> str:
    """Of a file's content, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def hash_of_config(content: Mapping[str, Any]) -> str:
    """SHA-256 of what ``config.json`` says beside its hash, however it is spaced and ordered."""
    rest = {key: value for key, value in content.items() if key != CONFIG_HASH}
    return sha256(json.dumps(rest, sort_keys=True).encode())


def with_config_hash(config: bytes) -> bytes:
    """The content of ``config.json`` with its hash, from JSON without it."""
    content = json.loads(config)
    content[CONFIG_HASH] = hash_of_config(content)
    return json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"


def check_config_hash(content: Mapping[str, Any], path: Path) -> None:
    """Refuse a ``config.json`` that is not as it was written; one without a hash is taken.

    Raises:
        CheckpointError: naming the file.
    """
    if CONFIG_HASH in content and content[CONFIG_HASH] != hash_of_config(content):
        raise CheckpointError(
            f"{path} is damaged or was changed, as its {CONFIG_HASH} tells; export the ensemble "
            f"again, or delete {CONFIG_HASH} from it if the change is yours."
        )


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
        path: of the file.
        weights: hash of the weights that the ensemble has; empty if it is not known, and a file
            without ``hashes.json`` beside it is taken as it is.

    Raises:
        CheckpointError: if the file or ``hashes.json`` is missing, has changed, or is of other
            weights.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; export the ensemble again.")
    content, hashes = path.read_bytes(), path.with_name(HASHES_FILE)
    if not hashes.is_file():
        if weights:
            raise CheckpointError(
                f"{hashes}, by which {path.name} is checked, is missing; export the ensemble again."
            )
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
