"""Files and journal: whole or not at all, whatever happens while writing."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdistil.core.student import StudentConfig
from bdistil.errors import CheckpointError
from bdistil.runs.journal import Journal, RoundRecord
from bdistil.runs.run_directory import RunDirectory
from bdistil.runs.trial import TrialRequest, TrialResult
from bdistil.spec import load_spec
from bdistil.store.durable import append_line, write_atomic


def record(number: int) -> RoundRecord:
    request = TrialRequest(round=number, number=0, rung=0, attempt=0, params={"lr": 0.1}, seed=7)
    result = TrialResult(request=request, status="finished", edges=(0.1, -0.2), weak=True)
    return RoundRecord(
        round=number,
        student=StudentConfig("mlp", 4, "dense", True),
        file=f"students/{number:03d}.safetensors",
        sha256="ab",
        margin_sha256="cd",
        result=result,
        trials=(result,),
        seconds=1.5,
    )


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "rounds.jsonl")
    assert journal.read() == []
    records = [record(1), record(2)]
    for entry in records:
        journal.append(entry)
    assert journal.read() == records


@given(keep=st.integers(0, 10_000))
def test_a_crash_at_any_byte_loses_at_most_the_last_record(
    tmp_path_factory: pytest.TempPathFactory, keep: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "rounds.jsonl"
    journal = Journal(path)
    for number in (1, 2, 3):
        journal.append(record(number))
    content = path.read_bytes()
    cut = content[: keep % (len(content) + 1)]
    path.write_bytes(cut)
    whole = cut.count(b"\n")
    assert [entry.round for entry in journal.read()] == list(range(1, whole + 1))
    journal.repair()
    journal.append(record(whole + 1))
    assert len(journal.read()) == whole + 1


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "rounds.jsonl")
    for number in (1, 2, 3):
        journal.append(record(number))
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(lines[0] + b"{broken\n" + lines[2])
    with pytest.raises(CheckpointError, match=r"rounds.jsonl line 2 is damaged"):
        journal.read()


def test_a_missing_round_is_named(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "rounds.jsonl")
    journal.append(record(1))
    journal.append(record(3))
    with pytest.raises(CheckpointError, match=r"line 2 is of round 3, not 2"):
        journal.read()


def test_write_atomic_replaces_a_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


FULL_DISK = """
    import resource, signal, sys
    from pathlib import Path
    from bdistil.errors import CheckpointError
    from bdistil.store.durable import append_line, write_atomic
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # the system refuses to write more
    path = Path(sys.argv[1])
    try:
        {call}
    except CheckpointError as error:
        print(error)
"""


@pytest.mark.parametrize(
    "call", ["write_atomic(path, bytes(5000))", "append_line(path, bytes(5000))"]
)
def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, call: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"kept\n")
    script = textwrap.dedent(FULL_DISK.format(call=call))
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert "cannot be written" in done.stdout, done.stderr
    assert path.read_bytes() == b"kept\n"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_append_line_adds_one_line(tmp_path: Path) -> None:
    path = tmp_path / "file"
    append_line(path, b"one")
    append_line(path, b"two")
    assert path.read_bytes() == b"one\ntwo\n"


SPEC = load_spec({"data": {"name": "cube"}, "search": {"rounds": 6}})


def test_a_run_directory_of_another_search_is_refused_with_the_difference(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.create(SPEC)
    run.check(SPEC)
    run.journal.append(record(1))
    other = load_spec({"data": {"name": "cube"}, "search": {"rounds": 3}})
    with pytest.raises(CheckpointError, match=r"search.rounds is 6 there and 3 here"):
        run.check(other)


def test_workers_and_budgets_may_change_on_resume(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.create(SPEC)
    changes = {"workers": {"count": 7}, "search": {"time_budget": 5}}
    run.check(load_spec({"data": {"name": "cube"}} | changes))


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("do not touch")
    with pytest.raises(CheckpointError, match=r"exists and is no run directory"):
        RunDirectory(tmp_path).check(SPEC)


def test_a_second_search_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    assert not run.is_running
    with run.locked():
        assert run.is_running
        with (
            pytest.raises(CheckpointError, match=r"another search is running"),
            RunDirectory(tmp_path / "run").locked(),
        ):
            pass
    assert not run.is_running


def test_an_existing_run_needs_a_spec(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no run directory"):
        RunDirectory.existing(tmp_path)


def test_a_run_that_accepted_nothing_may_become_another_search(tmp_path: Path) -> None:
    run, other = RunDirectory(tmp_path / "run"), load_spec({"data": {"name": "ellipsoid"}})
    run.create(SPEC)
    run.teacher.path.mkdir()
    run.create(SPEC)
    assert run.teacher.path.exists()
    run.check(other)
    run.create(other)
    assert run.spec() == other
    assert not run.teacher.path.exists()  # it learnt from the other data
    run.journal.append(record(1))
    with pytest.raises(CheckpointError, match=r"data.name is 'ellipsoid' there and 'cube' here"):
        run.check(SPEC)


def test_what_a_killed_start_leaves_does_not_block_the_next(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".spec.yaml.k3j4").touch()
    RunDirectory(tmp_path).check(SPEC)


def test_a_run_of_a_newer_version_says_so(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.create(load_spec({"name": "a", "data": {"name": "digits"}}))
    text = run.spec_file.read_text()
    run.spec_file.write_text(text + "a_field_of_tomorrow: 1\n")
    with pytest.raises(CheckpointError, match=r"a_field_of_tomorrow.* a newer bdistil began this"):
        run.spec()
