"""The Optuna study beside the journal: the same trials, in a file or a database, come what may."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from tiny import PATIENCE, tiny

from bdistil.cluster.trackers import check_tracking
from bdistil.core.student import StudentConfig
from bdistil.errors import BdistilWarning, MissingDependencyError, SpecError
from bdistil.runs.journal import RoundRecord
from bdistil.runs.trial import TrialRequest, TrialResult
from bdistil.searching.optuna_study import database, database_problem, journal, mirror_study


def trial(round_number: int, number: int, gain: float) -> TrialResult:
    params = {"lr": 0.01 + 0.001 * number, "connection": "dense"}
    request = TrialRequest(
        round=round_number, number=number, rung=0, attempt=0, params=params, seed=1
    )
    return TrialResult(request=request, status="finished", gain=gain, edge=0.1 * number)


def rounds(count: int, gain: float = 0.5, seconds: float = 1.5) -> list[RoundRecord]:
    """Rounds of two trials each."""
    records = []
    for number in range(1, count + 1):
        trials = tuple(trial(number, index, gain + index) for index in range(2))
        record = RoundRecord(
            round=number,
            student=StudentConfig("mlp", 4, "dense", True),
            file="",
            sha256="",
            margin_sha256="",
            result=trials[0],
            trials=trials,
            seconds=seconds,
        )
        records.append(record)
    return records


def expected(records: list[RoundRecord]) -> list[tuple[int, float, dict[str, float]]]:
    return [
        (t.request.number, t.gain, {"edge": -t.edge}, t.request.params)
        for record in records
        for t in record.trials
    ]


def found(study: optuna.Study) -> list[tuple[int, float, dict[str, float]]]:
    return [(t.user_attrs["number"], t.value, t.constraints, t.params) for t in study.trials]


def only_study(storage: optuna.storages.BaseStorage) -> optuna.Study:
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


@pytest.fixture(params=["file", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return None if request.param == "file" else f"sqlite:///{tmp_path}/study.db"


def mirrored(url: str | None, folder: Path, records: list[RoundRecord]) -> list[object]:
    """What the study holds after a mirroring."""
    spec = tiny(f"tracking.optuna_storage={url or 'null'}")
    mirror_study(folder / "optuna.journal", spec, records)
    if url is None:
        return list(found(only_study(journal(folder / "optuna.journal"))))
    with database(url) as storage:
        return list(found(only_study(storage)))


def test_the_study_holds_the_trials_of_the_journal(url: str | None, tmp_path: Path) -> None:
    records = rounds(3)
    assert mirrored(url, tmp_path, records[:1]) == expected(records[:1])
    assert mirrored(url, tmp_path, records) == expected(records)  # two rounds at once: a resume
    assert mirrored(url, tmp_path, records) == expected(records)


def test_rounds_that_were_cut_off_and_played_again_are_replaced(
    url: str | None, tmp_path: Path
) -> None:
    records = rounds(3)
    mirrored(url, tmp_path, records)
    again = [records[0], *rounds(3, gain=0.25)[1:]]
    assert mirrored(url, tmp_path, again[:2]) == expected(again[:2])
    assert mirrored(url, tmp_path, again) == expected(again)


def test_two_runs_of_one_name_share_a_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    spec = tiny(f"tracking.optuna_storage={url}")
    one, other = rounds(2), rounds(1, seconds=1.6)
    for records in (one[:1], other, one):
        mirror_study(tmp_path / "unused", spec, records)
    with database(url) as storage:
        names = optuna.get_all_study_names(storage)
        studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
        assert sorted(len(study.trials) for study in studies) == [2, 4]
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_file_that_a_crash_left_damaged_is_written_anew(tmp_path: Path, cut: int) -> None:
    records = rounds(3)
    mirrored(None, tmp_path, records)
    file = tmp_path / "optuna.journal"
    file.write_bytes(file.read_bytes()[:-cut] + b'{"op')
    assert mirrored(None, tmp_path, records) == expected(records)


def test_a_database_that_is_gone_costs_a_warning_and_is_brought_up_to_date_later(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "later"
    url = f"sqlite:///{folder}/study.db"
    records = rounds(2)
    with pytest.warns(BdistilWarning, match=r"study.db cannot be used .*tries again"):
        mirror_study(tmp_path / "x", tiny(f"tracking.optuna_storage={url}"), records[:1])
    folder.mkdir()
    assert mirrored(url, tmp_path, records) == expected(records)


@pytest.mark.parametrize(
    ("url", "kind", "sentence"),
    [
        ("sqlite:////no/such/folder/s.db", SpecError, "cannot be used .*check the URL"),
        ("nosuchdatabase://host/x", SpecError, "cannot be used"),
        ("mysql+nosuchdriver://host/x", (SpecError, MissingDependencyError), "nosuchdriver"),
    ],
)
def test_a_database_that_does_not_open_is_found_before_the_search(
    url: str, kind: type[Exception], sentence: str
) -> None:
    with pytest.raises(kind, match=sentence):
        check_tracking(tiny(f"tracking.optuna_storage={url}").tracking)


@pytest.mark.parametrize("url", ["postgresql://me:secret@host/db", "study.db"])
def test_passwords_and_files_without_scheme_are_refused(url: str) -> None:
    with pytest.raises(SpecError, match=r"leave it out and set PGPASSWORD|such as sqlite") as found:
        tiny(f"tracking.optuna_storage={url}")
    assert "secret" not in str(found.value)


def postgresql_programs() -> Path | None:
    """The folder of initdb and pg_ctl; Debian keeps them off the PATH."""
    if path := shutil.which("pg_ctl"):
        return Path(path).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server of the test's own."""
    programs = postgresql_programs()
    if programs is None:
        pytest.skip("PostgreSQL's initdb and pg_ctl are not installed")
    pytest.importorskip("psycopg")
    folder = Path("/tmp") / f"bdistil-postgresql-{os.getpid()}"  # the server's user must reach it
    folder.mkdir(mode=0o700)
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
    if user:
        shutil.chown(folder, user)

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), "-D", str(folder / "data"), *arguments]
        log = (folder / "log").open("ab") if user is None else subprocess.DEVNULL
        subprocess.run(command, check=True, user=user, stdout=log, stderr=log, cwd=folder)

    port = free_port()
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    run("initdb", "-U", "me", "-A", "trust")
    run("pg_ctl", "-w", "-o", options, "start")
    try:
        yield f"postgresql+psycopg://me@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(folder)


def test_a_real_postgresql_server_holds_the_journals_trials(
    postgresql: str, tmp_path: Path
) -> None:
    records = rounds(3)
    assert database_problem(postgresql) is None
    assert mirrored(postgresql, tmp_path, records[:1]) == expected(records[:1])
    assert mirrored(postgresql, tmp_path, records) == expected(records)
    again = [records[0], *rounds(2, gain=0.25)[1:]]
    assert mirrored(postgresql, tmp_path, again) == expected(again)


@pytest.mark.skipif(
    importlib.util.find_spec("optuna_dashboard") is None, reason="optuna-dashboard is not installed"
)
def test_optuna_dashboard_opens_the_journal_file(tmp_path: Path) -> None:
    mirrored(None, tmp_path, rounds(2))
    port = free_port()
    start = "import sys; from optuna_dashboard._cli import main; sys.exit(main())"
    command = [sys.executable, "-c", start, "--port", str(port), "--host", "127.0.0.1"]
    server = subprocess.Popen(
        [*command, str(tmp_path / "optuna.journal")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        (study,) = answer(server, f"http://127.0.0.1:{port}/api/studies")["study_summaries"]
        assert study["study_name"] == "tiny"
        detail = answer(server, f"http://127.0.0.1:{port}/api/studies/{study['study_id']}")
        assert [t["values"] for t in detail["trials"]] == [[0.5], [1.5], [0.5], [1.5]]
    finally:
        server.kill()
        server.wait()


def answer(server: subprocess.Popen[bytes], address: str) -> dict[str, list[dict[str, object]]]:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(address, timeout=PATIENCE) as reply:
                content: dict[str, list[dict[str, object]]] = json.load(reply)
                return content
        except OSError:
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
