"""Runs at a URI: nothing is seen half, the journal never names what is not there, one at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bdistil.errors import BdistilWarning, CheckpointError
from bdistil.store import lease
from bdistil.store.lease import LEASE
from bdistil.store.remote import Remote, WorkingCopy, is_uri, unusable

STUDENT, JOURNAL = "students/001.safetensors", "rounds.jsonl"


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    return tmp_path / "bucket" / "run"


@pytest.fixture
def uri(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    return bucket.as_uri()


def write(copy: WorkingCopy, name: str, content: str) -> None:
    file = copy.folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def contents(folder: Path) -> dict[str, str]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_text() for file in files}


def fetched(uri: str) -> dict[str, str]:
    copy = WorkingCopy(uri)  # its folder lives as long as it
    copy.fetch()
    return contents(copy.folder)


def test_a_path_is_worked_on_where_it_is(tmp_path: Path) -> None:
    copy = WorkingCopy(tmp_path)
    with copy.held():
        copy.send()
    assert copy.folder == tmp_path
    assert list(tmp_path.iterdir()) == []
    assert not is_uri(tmp_path)


def test_what_one_machine_sends_another_gets(uri: str, bucket: Path) -> None:
    here = WorkingCopy(uri)
    write(here, STUDENT, "weights")
    write(here, JOURNAL, "one")
    write(here, ".lock", "")
    write(here, "students/.002.safetensors.x.partial", "half")
    here.send()
    assert contents(bucket) == {STUDENT: "weights", JOURNAL: "one"}
    there = WorkingCopy(uri)
    there.fetch()
    assert contents(there.folder) == contents(bucket)
    write(there, JOURNAL, "one and two")
    there.send()
    assert contents(bucket)[JOURNAL] == "one and two"


def test_only_what_has_changed_is_sent_and_names_last(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    send = Remote.send

    def noted(self: Remote, source: Path, name: str) -> None:
        sent.append(name)
        send(self, source, name)

    monkeypatch.setattr(Remote, "send", noted)
    copy = WorkingCopy(uri)
    names = [JOURNAL, "teacher/config.json", "spec.yaml", STUDENT, "teacher/logits.safetensors"]
    for name in names:
        write(copy, name, "1")
    copy.send()
    assert sorted(sent) == sorted(names)
    assert sent.index("teacher/config.json") > sent.index("teacher/logits.safetensors")
    assert sent[-1] == JOURNAL
    sent.clear()
    copy.send()
    write(copy, JOURNAL, "1\n2")
    copy.send()
    assert sent == [JOURNAL]


def test_a_connection_that_breaks_leaves_old_files_whole(
    uri: str, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = WorkingCopy(uri)
    write(copy, STUDENT, "old")
    copy.send()

    def broken(self: Remote, source: str, target: str, here: Any, there: Any) -> None:
        with there.open_output_stream(target) as sink:
            sink.write(b"ne")
        raise OSError("connection reset")

    write(copy, STUDENT, "new weights")
    write(copy, JOURNAL, "names the new weights")
    with monkeypatch.context() as patch:
        patch.setattr(Remote, "copy", broken)
        with pytest.raises(CheckpointError, match=r"cannot be used: connection reset; check the"):
            copy.send()
    assert fetched(uri) == {STUDENT: "old"}
    copy.send()
    assert fetched(uri) == {STUDENT: "new weights", JOURNAL: "names the new weights"}


def test_folders_can_be_left_out(uri: str) -> None:
    copy = WorkingCopy(uri)
    write(copy, "teacher/logits.safetensors", "large")
    write(copy, "spec.yaml", "of a run")
    write(copy, "ensemble/teacher/teacher.onnx", "small")
    copy.send()
    light = WorkingCopy(uri)
    light.fetch(leave_out=("teacher",))
    small = {"spec.yaml": "of a run", "ensemble/teacher/teacher.onnx": "small"}
    assert contents(light.folder) == small
    ensemble = WorkingCopy(f"{uri}/ensemble")  # whose teacher/ is not a run's
    ensemble.fetch(leave_out=("teacher",))
    assert contents(ensemble.folder) == {"teacher/teacher.onnx": "small"}


def test_a_second_search_is_refused_while_the_first_runs(uri: str) -> None:
    first, second = WorkingCopy(uri), WorkingCopy(uri)
    with first.held():
        assert second.is_held
        with (
            pytest.warns(BdistilWarning, match=r"waiting 0.15 s for a sign"),
            pytest.raises(CheckpointError, match=r"another search is running in file://"),
            second.held(),
        ):
            pass
        write(first, STUDENT, "weights")
        first.send()
    assert not second.is_held
    with second.held():
        assert (second.folder / STUDENT).read_text() == "weights"  # sent after the copy was made


def test_the_lease_of_a_search_that_was_killed_is_taken(uri: str) -> None:
    Remote(uri).write(LEASE, b"host 1 dead 7")
    with pytest.warns(BdistilWarning, match=r"a search has left a lease"), WorkingCopy(uri).held():
        pass
    assert not WorkingCopy(uri).is_held


def test_a_search_that_was_taken_for_dead_writes_no_more(uri: str, bucket: Path) -> None:
    copy = WorkingCopy(uri)
    write(copy, JOURNAL, "mine")
    with pytest.raises(CheckpointError, match=r"another search .* \(on other\)"), copy.held():
        Remote(uri).write(LEASE, b"other 1 alive 1")
    assert contents(bucket) == {LEASE: "other 1 alive 1"}


def test_a_uri_that_cannot_be_used_is_named(uri: str, bucket: Path) -> None:
    assert unusable(uri) == ""
    assert contents(bucket) == {}
    assert "nowhere://bucket cannot be used" in unusable("nowhere://bucket")
    bucket.with_name("file").write_text("")
    assert "file/run cannot be used" in unusable(bucket.with_name("file").as_uri() + "/run")
