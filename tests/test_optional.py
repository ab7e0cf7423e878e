"""Packages of the extras, imported where they are used."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bdistil.errors import MissingDependencyError
from bdistil.optional import require


def test_threads_that_import_parts_of_one_package_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "sounds"
    package.mkdir()
    begin = "import time; time.sleep(.2)\n"  # so that both threads are amid their part
    (package / "__init__.py").write_text(begin + "from sounds.filters import CORNER\n")
    (package / "filters.py").write_text("import sounds\nCORNER = 440\n")
    monkeypatch.syspath_prepend(tmp_path)
    with ThreadPoolExecutor(2) as pool:
        whole, part = pool.map(lambda name: require(name, "audio"), ["sounds", "sounds.filters"])
    assert whole.CORNER == part.CORNER == 440


def test_what_is_there_but_broken_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_sounds.py").write_text("from math import no_such_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependencyError, match=r"cannot be imported \(cannot import name"):
        require("broken_sounds", "audio")
    with pytest.raises(MissingDependencyError, match="no_sounds is not installed"):
        require("no_sounds.filters", "audio")
