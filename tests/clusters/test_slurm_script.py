"""clusters/slurm.sh against stand-ins for Slurm, Ray and bdistil on a PATH of the test's own."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from tiny import PATIENCE, eventually

SCRIPT = Path(__file__).parents[2] / "clusters" / "slurm.sh"

STUBS = {
    # Runs its command here; like the real one, it ends the command when it is ended itself.
    "srun": """
        say "srun $*"
        while [[ $1 == --* ]]; do shift; done
        trap 'kill $(jobs -p); wait; exit 143' TERM  # before its command can be seen to run
        "$@" &
        wait
    """,
    "scontrol": """
        if [[ $1 == show ]]; then printf 'n1\\nn2\\nn3\\n' | head -n "$NODES"; else say "$*"; fi
    """,
    "ray": """
        case "$1" in
            get-auth-token) echo secret;;
            status) [[ -e $LOG.head ]];;
            start)
                trap 'say "ray ends"; exit 143' TERM
                say "ray $* token=$RAY_AUTH_TOKEN"
                [[ $* == *--head* ]] && touch "$LOG.head"
                for _ in {1..6000}; do sleep 0.1; done;;
        esac
    """,
    "bdistil": """
        trap 'say "search ends"; sleep 0.3; exit 130' TERM
        until (($(grep -c '^ray start' "$LOG") == (NODES > 1 ? 2 : 1))); do sleep 0.05; done
        say "bdistil $* at $RAY_ADDRESS"
        if [[ $BEHAVIOUR == long ]]; then for _ in {1..6000}; do sleep 0.1; done; fi
        exit "${BEHAVIOUR/done/0}"
    """,
}


@pytest.fixture
def slurm(tmp_path: Path) -> Slurm:
    return Slurm(tmp_path)


class Slurm:
    """A job's environment."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.log.touch()
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name, body in STUBS.items():
            stub = self.bin / name
            stub.write_text(f'#!/bin/bash\nsay() {{ echo "$*" >> "$LOG"; }}\n{body}')
            stub.chmod(0o755)

    def submit(self, behaviour: str, nodes: int = 3) -> subprocess.Popen[str]:
        environment = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "LOG": str(self.log),
            "BEHAVIOUR": behaviour,
            "NODES": str(nodes),
            "SLURM_JOB_ID": "4211",
            "SLURM_JOB_NODELIST": "n[1-3]",
            "SLURM_CPUS_PER_TASK": "8",
        }
        return subprocess.Popen(
            ["bash", SCRIPT, "my spec.yaml", "--out", "runs/a b"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    def wait_for(self, start: str) -> None:
        said = eventually(lambda: any(line.startswith(start) for line in self.lines()))
        assert said, self.lines()


def finished(job: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = job.communicate(timeout=PATIENCE)
    with pytest.raises(ProcessLookupError):  # nothing of the job is left
        os.killpg(job.pid, 0)
    return job.returncode, output


def test_the_script_is_well_formed() -> None:
    subprocess.run(["bash", "-n", SCRIPT], check=True)


def test_the_head_is_on_the_first_node_and_workers_on_the_rest(slurm: Slurm) -> None:
    status, output = finished(slurm.submit("done"))
    assert status == 0, output
    head, worker = sorted(line for line in slurm.lines() if line.startswith("srun"))
    assert "--nodes=1 --ntasks=1 --nodelist=n1" in head
    assert "ray start" in head
    assert "--head --port=24211" in head
    assert "--nodes=2 --ntasks=2 --exclude=n1" in worker
    assert "--address=n1:24211" in worker
    assert all("--cpus-per-task=8" in line and "--num-cpus=8" in line for line in (head, worker))
    assert all("token=secret" in line for line in slurm.lines() if line.startswith("ray start"))
    assert "bdistil search my spec.yaml --out runs/a b at n1:24211" in slurm.lines()
    assert slurm.lines().count("ray ends") == 2


def test_one_node_is_enough(slurm: Slurm) -> None:
    status, output = finished(slurm.submit("done", nodes=1))
    assert status == 0, output
    assert sum(line.startswith("srun") for line in slurm.lines()) == 1


def test_a_search_that_fails_fails_the_job_and_is_not_tried_again(slurm: Slurm) -> None:
    status, _ = finished(slurm.submit("2"))
    assert status == 2
    assert not any(line.startswith("requeue") for line in slurm.lines())


def test_near_its_time_limit_the_job_ends_the_search_and_is_requeued(slurm: Slurm) -> None:
    job = slurm.submit("long")
    slurm.wait_for("bdistil")
    job.send_signal(signal.SIGUSR1)
    status, output = finished(job)
    assert status == 130, output
    said = [line for line in slurm.lines() if line in ("search ends", "ray ends", "requeue 4211")]
    assert said[:2] == ["search ends", "requeue 4211"]
    assert said.count("ray ends") == 2


def test_a_cancelled_job_ends_the_search_and_stays_cancelled(slurm: Slurm) -> None:
    job = slurm.submit("long")
    slurm.wait_for("bdistil")
    job.send_signal(signal.SIGTERM)
    status, output = finished(job)
    assert status == 130, output
    assert "search ends" in slurm.lines()
    assert not any(line.startswith("requeue") for line in slurm.lines())
