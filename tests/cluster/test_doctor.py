"""The check-up of a cluster: what is wrong is named with its remedy, and nothing hangs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import ray
from ray import cloudpickle
from ray.cluster_utils import Cluster
from tiny import tiny, write_spec
from typer.testing import CliRunner

from bdistil.cli.app import app
from bdistil.cluster import connect as cluster
from bdistil.cluster import doctor
from bdistil.cluster.doctor import Diagnosis, examine
from bdistil.spec import WorkerSpec
from clusters import several_nodes


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Cluster]:
    with several_nodes(1, 2) as nodes:
        yield nodes


@pytest.mark.cluster
def test_a_healthy_cluster_is_described_node_by_node(two_nodes: Cluster, tmp_path: Path) -> None:
    out = tmp_path / "runs" / "later"
    found = examine(tiny("workers.count=3"), out)
    assert found.healthy, found.problems
    assert sorted(node.cpus for node in found.nodes) == [1, 2]
    for node in found.nodes:
        assert node.versions == found.driver
        assert node.storage == "shared"
    assert found.driver["ray"] == ray.__version__
    assert found.notes == []
    assert found.utilisation[0].startswith("3 workers would be busy")
    assert list(tmp_path.iterdir()) == []  # the probe is gone, the run not begun


@pytest.mark.cluster
def test_a_uri_is_probed_by_the_driver_alone(two_nodes: Cluster, tmp_path: Path) -> None:
    found = examine(out=(tmp_path / "bucket" / "run").as_uri())
    assert found.healthy, found.problems
    assert {node.storage for node in found.nodes} == {None}
    (problem,) = examine(out="nowhere://bucket/run").problems
    assert "nowhere://bucket/run cannot be used" in problem


@pytest.mark.cluster
def test_what_a_search_lacks_is_named_as_the_search_would(two_nodes: Cluster) -> None:
    found = examine(tiny("workers.gpus=1", "workers.cpus=4"))
    assert len(found.problems) == 2
    assert "workers.cpus is 4, but the largest node has 2 CPUs" in found.problems[0]
    assert "workers.gpus is 1, but the largest node has 0 GPUs" in found.problems[1]
    assert "room is for 3 of workers.count=9 trials" in examine(tiny("workers.count=9")).notes[0]


@pytest.mark.cluster
def test_the_command_prints_a_table_or_json_and_exits_by_what_it_found(
    two_nodes: Cluster, tmp_path: Path
) -> None:
    run = CliRunner().invoke
    done = run(app, ["doctor", str(write_spec(tmp_path)), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["problems"] == []
    done = run(app, ["doctor", str(write_spec(tmp_path)), "--workers", "16"])
    assert "16 workers would be busy" in done.stdout
    assert "To use the workers better, set workers.count=" in done.stdout
    done = run(app, ["doctor", str(write_spec(tmp_path)), "workers.gpus=1"])
    assert done.exit_code == 1
    assert "workers.gpus is 1" in done.stdout
    assert "torch" in done.stdout


def lying_probe(there: dict[str, Any]) -> Callable[[], Any]:
    """A probe whose nodes answer `there`, while the driver tells the truth."""
    truth = doctor._make_probe()

    def make() -> Callable[[str | None, str, str], dict[str, Any]]:
        def probe(folder: str | None, token: str, node: str) -> dict[str, Any]:
            return truth(folder, token, node) | (there if node else {})

        return probe

    return make


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("there", "sentence"),
    [
        ({"torch": "1.0.0"}, "has torch 1.0.0, the driver"),
        ({"python": "3.10.2"}, "has python 3.10.2, the driver"),
        ({"bdistil": None}, "has no bdistil; install version"),
        ({"reads": False}, "does not see the driver's files in"),
    ],
)
def test_a_node_that_differs_is_named(
    two_nodes: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: dict[str, Any],
    sentence: str,
) -> None:
    monkeypatch.setattr(doctor, "_make_probe", lying_probe(there))
    found = examine(out=tmp_path / "run")
    assert len(found.problems) == 2
    assert all(sentence in problem for problem in found.problems)


@pytest.mark.cluster
def test_builds_and_patches_may_differ(two_nodes: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    here = doctor._make_probe()(None, "", "")
    torch, python = str(here["torch"]).partition("+")[0], str(here["python"])
    there = {"torch": f"{torch}+cu999", "python": python.rpartition(".")[0] + ".99"}
    monkeypatch.setattr(doctor, "_make_probe", lying_probe(there))
    assert examine().healthy


@pytest.mark.cluster
def test_a_node_that_hangs_is_named_instead_of_waited_for(two_nodes: Cluster) -> None:
    node = two_nodes.add_node(num_cpus=1)
    two_nodes.wait_for_nodes()
    started = time.monotonic()
    assert examine().healthy  # while it does not hang
    patience = min(30, 3 + 5 * round(time.monotonic() - started))  # more where it is busy
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    raylet.send_signal(signal.SIGSTOP)
    try:
        found = examine(patience=patience)
    finally:
        raylet.send_signal(signal.SIGCONT)
        two_nodes.remove_node(node)
    (problem,) = found.problems
    assert node.node_id[:8] in problem
    assert f"did not answer within {patience} s" in problem


def test_the_probe_runs_where_bdistil_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "driver").write_text("token")
    (tmp_path / "probe").write_bytes(cloudpickle.dumps(doctor._make_probe()))
    script = """
        import pickle, sys
        sys.modules["bdistil"] = None  # importing it raises ImportError
        probe = pickle.load(open("probe", "rb"))
        answer = probe(".", "token", "node")
        print(answer["bdistil"], answer["ray"], answer["reads"], open("node").read())
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", ray.__version__, "True", "token"]


def test_an_address_where_nothing_answers_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Any) -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(cluster, "check_answers", lambda address: None)
    monkeypatch.setattr(cluster, "use_token", lambda address: None)
    found = examine(address="192.0.2.1:6379")
    assert "no Ray cluster answers at 192.0.2.1:6379 (refused)" in found.problems[0]
    found = examine(address="ray://192.0.2.1:10001")
    assert "Ray Client address" in found.problems[0]


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("has_token", [True, False])
def test_a_token_is_shown_to_a_cluster_that_asks_for_one(
    tmp_path: Path, asks: bool, has_token: bool
) -> None:
    if has_token:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("0" * 32)
    script = f"""
        import os
        from bdistil.cluster import connect as cluster
        cluster.asks_for_token = lambda address: {asks}
        cluster.use_token("192.0.2.1:6379")
        print(os.environ.get("RAY_AUTH_MODE"))
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=environment | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ("token" if asks and has_token else "None")


@pytest.mark.cluster
def test_a_cluster_with_tokens_is_recognised_as_one() -> None:
    head = """
        import os, subprocess, sys
        from ray.cluster_utils import Cluster
        cluster = Cluster(True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        del os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"]
        ask = "from bdistil.cluster.connect import asks_for_token as ask; import sys;"
        ask += "print('answer', ask(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", ask, cluster.address], check=True)
        cluster.shutdown()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(head)],
        env=os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 32},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "answer True" in done.stdout, done.stderr
    assert "cluster ID" not in done.stderr  # which Ray logs, where a refusal is what we ask about


def pretend(monkeypatch: pytest.MonkeyPatch, status: dict[str, Any] | None, *cpus: float) -> None:
    """A cluster of nodes with these CPUs whose autoscaler reports `status`."""
    nodes = [{"Alive": True, "Resources": {"CPU": count}} for count in cpus]
    monkeypatch.setattr(cluster, "ray", SimpleNamespace(nodes=lambda: nodes))
    said = None if status is None else json.dumps({"autoscaler_report": status}).encode()
    monkeypatch.setattr(cluster, "_internal_kv_get", lambda key: said)


CLOUD = {"node_type_mapping": {"10.0.0.1": "head"}}
BY_HAND = {"node_type_mapping": {"c38220": "node_c38220"}}
OWN = {"node_type_mapping": {"10.0.0.1": "local.cluster.node"}}


@pytest.mark.parametrize(
    ("status", "autoscale", "refused"),
    [
        (CLOUD, None, False),
        (BY_HAND, None, True),
        (OWN, None, True),
        (None, None, True),
        (None, True, False),
        (CLOUD, False, True),
    ],
)
def test_a_cluster_that_grows_is_not_refused_for_what_it_lacks_now(
    monkeypatch: pytest.MonkeyPatch,
    status: dict[str, Any] | None,
    autoscale: bool | None,
    refused: bool,
) -> None:
    pretend(monkeypatch, status, 0)
    workers = WorkerSpec(count=3, autoscale=autoscale)
    assert bool(cluster.shortages(workers)) == refused
    assert ("asked for 3 more with 1 CPU" in cluster.waiting(workers)) != refused


def test_a_search_without_workers_lacks_nothing_of_a_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, None, 2)
    found = Diagnosis()
    doctor._check_resources(found, tiny("workers.count=0", "workers.cpus=16"), None)
    assert found.healthy
    assert found.notes == ["workers.count is 0, so the search uses no cluster."]
    assert found.utilisation == []
    doctor._check_resources(found, tiny("workers.count=0"), 1)
    assert found.utilisation[0].startswith("1 worker would be busy")


def test_a_cluster_that_has_enough_is_asked_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, CLOUD, 2, 1)
    assert cluster.waiting(WorkerSpec(count=3)) == ""


def test_ten_trials_of_a_tenth_fill_one_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, None, 1)
    assert cluster.trial_slots(WorkerSpec(count=50, cpus=0.1)) == 10
