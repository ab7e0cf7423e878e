"""A check-up of a Ray cluster before a search: nodes, versions, shared folder, resources."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import ray
from pydantic import BaseModel
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bdistil.cluster.connect import session, shortages, trial_slots, waiting
from bdistil.cluster.trackers import tracking_problems
from bdistil.errors import ClusterError
from bdistil.searching.utilisation import advise
from bdistil.searching.worker_count import workers_on_cluster
from bdistil.spec import Spec, WorkerSpec
from bdistil.store.remote import is_uri, unusable


class NodeCheck(BaseModel):
    """One node of the cluster.

    Attributes:
        name: host name and the start of Ray's id, as several nodes can share a machine.
        memory: GiB that Ray may use.
        versions: of Python and the packages; None for one that is missing; empty if the node did
            not answer.
        storage: whether node and driver read each other's files; None if it was not tried.
    """

    name: str
    cpus: float
    gpus: float
    memory: float
    versions: dict[str, str | None] = {}
    storage: Literal["shared", "separate"] | None = None


class Diagnosis(BaseModel):
    """What the check-up found.

    Attributes:
        driver: versions on this machine.
        nodes: of the cluster.
        problems: what will go wrong, each in one sentence with its remedy.
        notes: what is worth knowing.
        utilisation: how busy the workers would be, and what to change if they would often wait.
    """

    driver: dict[str, str | None] = {}
    nodes: list[NodeCheck] = []
    problems: list[str] = []
    notes: list[str] = []
    utilisation: list[str] = []

    @property
    def healthy(self) -> bool:
        """Whether a search would run."""
        return not self.problems


def examine(
    spec: Spec | None = None,
    out: str | Path | None = None,
    address: str | None = None,
    patience: float = 30,
    workers: int | None = None,
) -> Diagnosis:
    """Check a cluster, and what a search needs of it.

    Args:
        spec: the search; None checks the cluster alone.
        out: its run directory, to check that every node reaches the folder it lies in, or that the
            driver can write to the URI.
        address: of the cluster; None takes RAY_ADDRESS, else starts Ray on this machine.
        patience: seconds in which every node must answer.
        workers: whose utilisation is to be told; None takes those that the spec asks for (2 where
            it leaves them open), as far as the cluster holds them.
    """
    diagnosis = Diagnosis(driver=_make_probe()(None, "", ""))
    if spec is not None:
        diagnosis.problems += map(str, tracking_problems(spec.tracking))
    if out is not None and is_uri(out) and (problem := unusable(str(out))):
        diagnosis.problems.append(problem)
    folder = None if out is None or is_uri(out) else Path(out)
    try:
        with session(address):
            _check_nodes(diagnosis, folder, patience)
            if spec is not None:
                _check_resources(diagnosis, spec, workers)
    except ClusterError as error:
        diagnosis.problems.append(str(error))
    return diagnosis


def _check_resources(diagnosis: Diagnosis, spec: Spec, asked: int | None) -> None:
    workers = workers_on_cluster(spec.workers)
    if workers.count == 0:
        diagnosis.notes.append("workers.count is 0, so the search uses no cluster.")
    else:
        _check_room(diagnosis, workers)
    if simulated := asked or trial_slots(workers):
        diagnosis.utilisation = advise(spec, simulated)


def _check_room(diagnosis: Diagnosis, workers: WorkerSpec) -> None:
    missing = shortages(workers)
    slots = trial_slots(workers)
    diagnosis.problems += missing
    if note := waiting(workers):
        diagnosis.notes.append(note)
    elif slots < workers.trials and not missing:
        diagnosis.notes.append(
            f"room is for {slots} of workers.count={workers.count} trials at the same time; the "
            f"others wait for their turn."
        )


def _check_nodes(diagnosis: Diagnosis, out: Path | None, patience: float) -> None:
    with _probe_folder(out, diagnosis) as folder:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        answers = _ask(nodes, folder, patience)
        for node in nodes:
            check = _described(node)
            diagnosis.nodes.append(check)
            answer = answers[node["NodeID"]]
            if isinstance(answer, str):
                diagnosis.problems.append(f"node {check.name} {answer}")
            else:
                check.versions = {k: v for k, v in answer.items() if k != "reads"}
                diagnosis.problems += _differences(check, diagnosis.driver)
                if folder is not None:
                    diagnosis.problems += _storage(check, folder, node["NodeID"], answer["reads"])


def _described(node: dict[str, Any]) -> NodeCheck:
    resources = node["Resources"]
    return NodeCheck(
        name=f"{node['NodeManagerHostname']} ({node['NodeID'][:8]})",
        cpus=resources.get("CPU", 0),
        gpus=resources.get("GPU", 0),
        memory=round(resources.get("memory", 0) / 2**30, 1),
    )


def _ask(nodes: list[dict[str, Any]], folder: Path | None, patience: float) -> dict[str, Any]:
    """Each node's answer to the probe by its id, or a sentence on why there is none."""
    probe = ray.remote(_make_probe())
    path = None if folder is None else str(folder)
    tasks = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = probe.options(num_cpus=0, max_retries=0, scheduling_strategy=there)
        tasks[node["NodeID"]] = task.remote(path, _token(folder), node["NodeID"])
    done, _ = ray.wait(list(tasks.values()), num_returns=len(tasks), timeout=patience)
    return {name: _answer(task, task in done, patience) for name, task in tasks.items()}


def _answer(task: Any, done: bool, patience: float) -> dict[str, Any] | str:
    if not done:  # it asks for no CPU, so it may wait on: `ray.cancel` can abort this process
        return (
            f"did not answer within {patience:g} s; restart Ray there (`ray stop`, then "
            f"`ray start --address=...`) or take it out of the cluster."
        )
    try:
        answer: dict[str, Any] = ray.get(task)
    except Exception as error:
        detail = " ".join(str(error).split())[:200]
        return f"failed the check ({type(error).__name__}: {detail}); look at its Ray logs."
    return answer


def _make_probe() -> Callable[[str | None, str, str], dict[str, Any]]:
    """What runs on each node; defined in here, it travels by value to nodes without bdistil."""

    def probe(folder: str | None, token: str, node: str) -> dict[str, Any]:
        import importlib
        import platform
        from importlib.metadata import PackageNotFoundError, version
        from pathlib import Path

        def found(package: str) -> str | None:
            try:
                if package == "bdistil":  # may come as a folder, without metadata
                    return str(importlib.import_module(package).__version__)
                return version(package)
            except (ImportError, PackageNotFoundError):
                return None

        answer: dict[str, Any] = {"python": platform.python_version()}
        answer |= {package: found(package) for package in ("ray", "torch", "optuna", "bdistil")}
        if folder is not None:
            try:
                answer["reads"] = Path(folder, "driver").read_text() == token
                Path(folder, node).write_text(token)
            except OSError:
                answer["reads"] = False
        return answer

    return probe


def _differences(check: NodeCheck, driver: dict[str, str | None]) -> list[str]:
    """Versions on a node that are not the driver's; builds (+cpu, +cu130) may differ."""
    found = []
    for package, here in driver.items():
        there = check.versions[package]
        if there is None:
            found.append(
                f"node {check.name} has no {package}; install version {here} there "
                f"(pip install 'bdistil[search]')."
            )
        elif _comparable(package, there) != _comparable(package, here):
            found.append(
                f"node {check.name} has {package} {there}, the driver {here}; install the same "
                f"version on both."
            )
    return found


def _comparable(package: str, version: str | None) -> str:
    if version is None:
        return ""
    return version.rpartition(".")[0] if package == "python" else version.partition("+")[0]


@contextlib.contextmanager
def _probe_folder(out: Path | None, diagnosis: Diagnosis) -> Iterator[Path | None]:
    """A folder next to the run directory with a file of the driver's in it; removed again."""
    if out is None:
        yield None
        return
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    try:
        place = tempfile.TemporaryDirectory(
            dir=parent, prefix=".bdistil-doctor-", ignore_cleanup_errors=True
        )
    except OSError as error:
        diagnosis.problems.append(
            f"{parent} cannot be written here: {error.strerror}; choose another --out."
        )
        yield None
        return
    with place as name:
        folder = Path(name)
        folder.chmod(0o777)  # Ray may run as another user on other nodes
        (folder / "driver").write_text(_token(folder))
        yield folder


def _token(folder: Path | None) -> str:
    return "" if folder is None else folder.name


def _storage(check: NodeCheck, folder: Path, node: str, reads: bool) -> list[str]:
    """Whether the driver sees the node's file and the node saw the driver's."""
    answer = folder / node
    writes = answer.exists() and answer.read_text() == _token(folder)
    check.storage = "shared" if reads and writes else "separate"
    if check.storage == "shared":
        return []
    cause = "does not see the driver's files" if not reads else "cannot write"
    return [
        f"node {check.name} {cause} in {folder.parent}; mount the same folder on every node, or "
        f"always start the search on the node that holds it."
    ]
