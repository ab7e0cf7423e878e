"""The files in clusters/, against the validators and fields of the tools that read them."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from bdistil.spec import load_spec

ROOT = Path(__file__).parents[2]
CLUSTERS = ROOT / "clusters"
SCHEMA = json.loads((Path(__file__).parent / "rayjob.schema.json").read_text())


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((CLUSTERS / name).read_text()))


@pytest.mark.parametrize("name", ["launcher.yaml", "local.yaml"])
def test_ray_accepts_the_launchers(name: str) -> None:
    (config,) = documents(name)
    validate_config(prepare_config(config))


def test_the_launchers_check_can_fail() -> None:
    (config,) = documents("launcher.yaml")
    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        validate_config(prepare_config(config | {"max_worker": 3}))


def test_the_cloud_cluster_has_one_head_without_trials_and_grows_by_cpus_and_gpus() -> None:
    (config,) = documents("launcher.yaml")
    config = prepare_config(config)
    types = config["available_node_types"]
    head = types.pop(config["head_node_type"])
    assert head["resources"]["CPU"] == head["max_workers"] == 0
    assert all(kind["min_workers"] == 0 < kind["max_workers"] for kind in types.values())
    assert sorted(kind["resources"].get("GPU", 0) for kind in types.values()) == [0, 1]


def test_kuberay_knows_every_field_of_the_job() -> None:
    job, claim = documents("rayjob.yaml")
    jsonschema.validate(job, SCHEMA)
    volumes = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["volumes"]
    assert volumes[0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_the_jobs_check_can_fail() -> None:
    job, _ = documents("rayjob.yaml")
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replica"] = 1
    with pytest.raises(jsonschema.ValidationError, match="replica"):
        jsonschema.validate(job, SCHEMA)


@pytest.mark.parametrize("name", ["launcher.yaml", "local.yaml", "rayjob.yaml"])
def test_versions_are_those_that_the_project_is_tested_with(name: str) -> None:
    found = re.findall(r"(?:ray:|==|rayVersion: )(\d+\.\d+\.\d+)", (CLUSTERS / name).read_text())
    assert set(found) == {ray.__version__}


@pytest.mark.parametrize("name", ["launcher.yaml", "local.yaml", "rayjob.yaml", "slurm.sh"])
def test_the_searches_in_the_files_are_ones_that_bdistil_takes(name: str) -> None:
    text = re.sub(r"\\\n#?", "", (CLUSTERS / name).read_text())
    commands = re.findall(r"(?:bdistil search|slurm\.sh) ([\w/.]+\.yaml .*)", text)
    assert commands
    for command in commands:
        arguments = shlex.split(command)
        spec = ROOT / "search_spaces" / "digits.yaml"
        load_spec(spec, [word for word in arguments if "=" in word])
        assert set(re.findall(r" (--[\w-]+)", command)) <= {"--out", "--address"}


@pytest.mark.parametrize("path", sorted(CLUSTERS.iterdir()), ids=lambda path: path.name)
def test_every_file_says_how_to_launch_watch_resume_and_fetch(path: Path) -> None:
    header = path.read_text().split("\n\n")[0]
    for step in ("launch", "watch", "resume", "fetch", "end"):
        assert re.search(rf"^#   {step} ", header, flags=re.M), step
    assert "ray://" not in path.read_text()


@pytest.mark.parametrize("name", ["launcher.yaml", "local.yaml", "rayjob.yaml"])
def test_jobs_are_submitted_with_the_token_that_the_cluster_asks_for(name: str) -> None:
    """Ray's job client shows it under this mode alone."""
    before, command, _ = (CLUSTERS / name).read_text().partition("ray job submit")
    assert command
    assert "export RAY_AUTH_MODE=token" in before
