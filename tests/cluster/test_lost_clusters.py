"""A cluster's address where nobody answers: before a search, and all of a sudden within it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster
from tally import tally
from tiny import PATIENCE, command, eventually, tiny, winners, write_spec

import bdistil
from bdistil.cluster.address import check_answers
from bdistil.cluster.last_words import sentence
from bdistil.errors import ClusterError

pytestmark = pytest.mark.cluster

SPEC = ("search.select=best", "search.algorithm=random", "workers.count=2")


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """The address of something that says this to the first who comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):  # nobody came
                connection, _ = server.accept()
                with connection:
                    connection.sendall(answer)
                    connection.recv(1000)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray takes 127.0.0.1 for the machine's address in the network."""
    monkeypatch.setattr("bdistil.cluster.address.resolve_ip_for_localhost", lambda host: host)


@pytest.mark.parametrize("answer", [b"HTTP/1.0 400 Bad Request\r\n\r\n", b"SSH", b""])
def test_what_is_no_cluster_is_told_at_once(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bdistil.cluster.address.SECONDS_TO_ANSWER", 0.5)
    with answering(answer) as address, pytest.raises(ClusterError, match=r"no Ray cluster"):
        check_answers(address)
    tally("addresses without a cluster")


@pytest.mark.parametrize("address", ["127.0.0.1:1", ":6379", "127.0.0.1:99999", "a" * 80 + ":1"])
def test_an_address_that_nobody_has_is_told_at_once(address: str) -> None:
    with pytest.raises(ClusterError, match=r"no Ray cluster answers at .*; check --address"):
        check_answers(address)
    tally("addresses without a cluster")


def test_what_speaks_as_ray_does_is_let_through() -> None:
    with answering(bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))) as address:
        check_answers(address)
    check_answers("auto")  # Ray knows


def test_last_words_tell_a_lost_cluster_from_a_lost_process() -> None:
    assert "the Ray cluster at 127.0.0.1:1 has gone" in sentence("127.0.0.1:1")
    with answering(b"") as address:
        assert "was ended from outside" in sentence(address)
    assert "was ended from outside" in sentence("")


@pytest.mark.parametrize("ending", ["pass", "os.kill(os.getpid(), 9)", "os._exit(1)"])
def test_last_words_are_said_only_by_who_cannot_speak_any_more(ending: str) -> None:
    code = (
        "import os; from bdistil.cluster.last_words import last_words\n"
        f"with last_words(None): {ending}"
    )
    # Until the end of its stream, so the one who speaks has ended, too.
    done = subprocess.run([sys.executable, "-c", code], check=False, stderr=subprocess.PIPE)
    assert (b"Error: this command was ended from outside" in done.stderr) == (ending != "pass")


@contextmanager
def cluster_of_others() -> Iterator[Cluster]:
    """A cluster that this process is not in: Ray would end it, too."""
    ray.shutdown()
    head = {"num_cpus": 2, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster
    cluster.shutdown()


def kill_head(cluster: Cluster) -> None:
    for process in cluster.head_node.all_processes["gcs_server"]:
        os.kill(process.process.pid, signal.SIGKILL)


@pytest.mark.nightly
@pytest.mark.parametrize("lose", [kill_head, Cluster.shutdown], ids=["head", "all"])
def test_a_cluster_that_goes_ends_the_search_in_a_sentence_and_another_goes_on(
    tmp_path: Path, lose: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "5")
    rounds, run = 40, tmp_path / "run"
    spec = write_spec(tmp_path, *SPEC, f"search.rounds={rounds}")
    with cluster_of_others() as cluster:
        search = subprocess.Popen(
            command("search", spec, "--out", run, "--address", cluster.address),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert eventually(lambda: search.poll() is not None or begun(run))
        assert search.poll() is None
        assert callable(lose)
        lose(cluster)
        _, said = search.communicate(timeout=PATIENCE)
    assert search.returncode in (1, 2), said
    (line,) = (line for line in said.splitlines() if line.startswith("Error: "))
    assert "the same command goes on" in line
    assert "Traceback" not in said
    kept = winners(run)
    assert 2 <= len(kept) < rounds
    local = ("workers.count=0", f"search.rounds={rounds}")
    bdistil.search(tiny(*SPEC, *local), run)
    whole = bdistil.search(tiny(*SPEC, *local), tmp_path / "whole").directory
    assert winners(run) == winners(whole)
    assert winners(run)[: len(kept)] == kept
    tally("clusters lost within a search")


def begun(run: Path) -> bool:
    """Whether two rounds are accepted."""
    journal = run / "rounds.jsonl"
    return journal.exists() and journal.read_bytes().count(b"\n") >= 2
