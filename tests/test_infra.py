"""What ops teams deploy: images, compose, Kubernetes. Tests cannot start them, and hold them to schemas, linters and Prefect's settings."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from flows.server import PROJECT

INFRA = PROJECT / "infra"
PROGRAMS = Path(sys.executable).parent
VERSION = kubernetes_validate.latest_version()
YAML = [PROJECT / "prefect.yaml", *sorted(INFRA.rglob("*.yaml"))]


def told(*command: str | Path) -> str:
    """What a linter finds; nothing, where all is well."""
    ended = subprocess.run([PROGRAMS / command[0], *command[1:]], cwd=PROJECT, capture_output=True, text=True, check=False)
    return "" if ended.returncode == 0 else ended.stdout + ended.stderr


def test_the_images_are_built_as_hadolint_wants_it() -> None:
    assert told("hadolint", INFRA / "docker" / "Dockerfile") == ""


def test_what_is_copied_into_an_image_is_not_ignored_and_nothing_else_gets_near_it() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (INFRA / "docker" / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    names = {name.partition("/")[0] for line in copied for name in line.split()}
    lines = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == names
    assert all((PROJECT / name).exists() for name in names)


def test_yaml_is_as_yamllint_wants_it() -> None:
    assert told("yamllint", "--strict", "--config-file", PROJECT / ".yamllint.yaml", *YAML) == ""


def test_compose_is_of_its_schema() -> None:
    assert told("check-jsonschema", "--builtin-schema", "vendor.compose-spec", INFRA / "compose" / "compose.yaml") == ""


def test_compose_does_not_start_without_passwords_and_none_is_written_down_and_every_service_says_how_it_is() -> None:
    """`${NAME:?...}` ends docker compose where NAME is empty."""
    text = (INFRA / "compose" / "compose.yaml").read_text(encoding="utf-8")
    example = dict(line.split("=", 1) for line in (INFRA / "compose" / "example.env").read_text(encoding="utf-8").splitlines() if "=" in line)
    for name in ("POSTGRES_PASSWORD", "VALUESCAPE_AUTH"):
        assert f"${{{name}:?" in text
        assert example[name] == ""
    services = yaml.safe_load(text)["services"]
    assert services["server"]["environment"]["PREFECT_SERVER_API_AUTH_STRING"] == "${VALUESCAPE_AUTH}"
    assert [port for service in services.values() for port in service.get("ports", []) if not port.startswith("127.0.0.1:")] == []
    assert [name for name, service in services.items() if "healthcheck" not in service] == []
    assert [name for name, service in services.items() if "VALUESCAPE_ALERTS_URL" in service["environment"]] == ["worker-cpu"]
    assert services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]


def test_every_setting_of_prefect_is_one_that_it_knows() -> None:
    shown = subprocess.run([PROGRAMS / "prefect", "config", "view", "--show-defaults"], capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"\bPREFECT_[A-Z0-9_]+(?==)", shown))
    files = [*INFRA.rglob("*.yaml"), *INFRA.rglob("*.json"), INFRA / "docker" / "Dockerfile"]
    written = {name for path in files for name in re.findall(r"\bPREFECT_[A-Z0-9_]+\b", path.read_text(encoding="utf-8"))}
    assert written - known == set()


def test_every_flow_that_is_deployed_is_looked_after() -> None:
    """Others on the same server need not give signs of life, and must not be called Crashed for it."""
    entrypoints = [each["entrypoint"].split(":") for each in yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]]
    flows = {re.findall(r'@flow\(\s*name="([^"]+)"', (PROJECT / path).read_text(encoding="utf-8"))[0] for path, _ in entrypoints}
    shipped = yaml.safe_load((INFRA / "automations.yaml").read_text(encoding="utf-8"))
    looked_after = [set(each["trigger"]["match_related"]["prefect.resource.name"]) for each in shipped if each["trigger"]["posture"] == "Proactive"]
    assert looked_after == [flows, flows]


def job(**values: Any) -> dict[str, Any]:
    """The Kubernetes job of a flow run, from the work pool's template as Prefect fills it in."""
    from prefect.utilities.templating import apply_values

    template = json.loads((INFRA / "kubernetes" / "job-template.json").read_text(encoding="utf-8"))
    variables = template["variables"]["properties"]
    defaults = {name: variable.get("default") for name, variable in variables.items()}
    given = {**defaults, "name": "study-sample", "command": ["prefect", "flow-run", "execute"], "service_account_name": "default", **values}
    assert set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(template["job_configuration"]))) == variables.keys()
    made: dict[str, Any] = apply_values(template["job_configuration"], given)["job_manifest"]
    container = made["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": name, "value": value} for name, value in container["env"].items()]  # as Prefect's worker does
    return made


@pytest.mark.parametrize("gpus", [0, 2])
def test_a_job_of_the_work_pool_is_of_kubernetes_schema_and_asks_for_its_gpus(gpus: int) -> None:
    made = job(gpus=gpus)
    kubernetes_validate.validate(made, VERSION, strict=True)
    pod = made["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == gpus
    assert pod["securityContext"]["runAsUser"] == int(re.findall(r"^USER (\d+)$", (INFRA / "docker" / "Dockerfile").read_text(), re.MULTILINE)[0])


def test_a_job_has_the_environment_of_the_other_work_pools() -> None:
    pools = [json.loads((INFRA / "work-pools" / f"{name}.json").read_text(encoding="utf-8")) for name in ("cpu", "gpu")]
    expected = pools[0]["variables"]["properties"]["env"]["default"]
    assert pools[1]["variables"]["properties"]["env"]["default"] == expected
    found = {each["name"]: each["value"] for each in job()["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert found == {**expected, "VALUESCAPE_HOME": "/workspace"}


def test_the_workspace_is_of_kubernetes_schema() -> None:
    made = list(yaml.safe_load_all((INFRA / "kubernetes" / "workspace.yaml").read_text(encoding="utf-8")))
    for one in made:
        kubernetes_validate.validate(one, VERSION, strict=True)
    job_claim = json.loads((INFRA / "kubernetes" / "job-template.json").read_text())["variables"]["properties"]["claim"]["default"]
    (server_volume,) = values_of("server")["server"]["extraVolumes"]
    claims = {one["metadata"]["name"] for one in made if one["kind"] == "PersistentVolumeClaim"}
    assert claims == {job_claim, server_volume["persistentVolumeClaim"]["claimName"]}


def values_of(chart: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((INFRA / "kubernetes" / f"{chart}-values.yaml").read_text(encoding="utf-8"))
    return found


def test_on_kubernetes_server_and_worker_have_the_version_that_runs_have() -> None:
    (pinned,) = re.findall(r"^prefect==(\S+)$", (PROJECT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    tags = values_of("server")["global"]["prefect"]["image"]["prefectTag"], values_of("worker")["worker"]["image"]["prefectTag"]
    assert [tag.partition("-")[0] for tag in tags] == [pinned, pinned]
