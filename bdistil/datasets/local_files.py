"""Where the files of published data sets are looked for, and what to do if they are missing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bdistil.errors import DataError

VARIABLE = "BDISTIL_DATA"


def default_root() -> Path:
    """The folder of all local data: BDISTIL_DATA, or `data` in the working directory."""
    return Path(os.environ.get(VARIABLE) or "data").expanduser()


@dataclass(frozen=True)
class LocalFiles:
    """The files of one data set, as its publisher ships them.

    Attributes:
        name: of the data set.
        folder: its usual folder, under the root.
        landmark: a file or folder that shows that the data are there, relative to `folder`.
        download: what to get and where, in words that go on from "download ".
        install: a command that does it all, if there is one.
        elsewhere: further folders to try: absolute, or under the root.
    """

    name: str
    folder: str
    landmark: str
    download: str
    install: str = ""
    elsewhere: Sequence[str | Path] = ()

    def find(self, root: Path | None = None) -> Path | None:
        """The folder that holds the data: under the root, or the root itself; else None."""
        base = default_root() if root is None else root.expanduser()
        places = [base / self.folder, base, *(base / place for place in self.elsewhere)]
        return next((place for place in places if (place / self.landmark).exists()), None)

    def required(self, root: Path | None = None) -> Path:
        """The folder that holds the data.

        Raises:
            DataError: if it is not found; the message says what to download and where to put it.
        """
        folder = self.find(root)
        if folder is None:
            raise DataError(self._remedy(root))
        return folder

    def advice(self) -> str | None:
        """What to download and where to put it, or None if the data are in the default place."""
        return None if self.find() else self._remedy(None)

    def _remedy(self, root: Path | None) -> str:
        place = (default_root() if root is None else root) / self.folder / self.landmark
        shortcut = f", or {self.install}" if self.install else ""
        return (
            f"{self.name} is missing: download {self.download} so that {place} exists (another "
            f"folder: data.options.root or {VARIABLE}){shortcut}."
        )
