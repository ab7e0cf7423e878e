"""The version is said in one place, and results can name the commit."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import bdistil
from bdistil import version
from bdistil.experiments.environment import environment_in_words

ROOT = Path(__file__).parent.parent


def of_a_copy(folder: Path) -> str:
    """What a copy of the module in a package in `folder` says."""
    file = folder / "bdistil" / "version.py"
    file.parent.mkdir(exist_ok=True)
    shutil.copy(version.__file__, file)
    spec = importlib.util.spec_from_file_location("version_of_a_copy", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    said: str = module.version_and_commit()
    return said


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=me", "-c", "user.email=me@example.org")
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_version_is_said_once() -> None:
    assert importlib.metadata.version("bdistil") == bdistil.__version__ == version.__version__
    holders = [
        file.name
        for file in (*ROOT.glob("*.toml"), *ROOT.glob("*.cff"), *(ROOT / "bdistil").rglob("*.py"))
        if re.search(rf"\b{re.escape(version.__version__)}(?!\w)", file.read_text())
    ]
    assert holders == ["version.py"]


def test_a_checkout_names_its_commit_and_whether_files_have_changed(tmp_path: Path) -> None:
    assert of_a_copy(tmp_path) == version.__version__
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")[:12]
    assert of_a_copy(tmp_path) == f"{version.__version__} (commit {commit})"
    with (tmp_path / "bdistil" / "other.py").open("w") as file:
        file.write("changed = True")
    git(tmp_path, "add", ".")
    assert of_a_copy(tmp_path) == f"{version.__version__} (commit {commit}-dirty)"


def test_a_package_within_another_projects_checkout_has_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "theirs")
    packages = tmp_path / "site-packages"
    packages.mkdir()
    assert of_a_copy(packages) == version.__version__


def test_an_experiment_names_the_versions_that_its_searches_ran_with() -> None:
    ours = version.version_and_commit()
    assert "searches ran with" not in environment_in_words([ours])
    assert ours in environment_in_words([ours])
    older = environment_in_words(["0.0.1", "", ours])
    assert older.endswith("; searches ran with bdistil 0.0.1, an unknown version")
