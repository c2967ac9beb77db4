"""What the Prefect server has to know: work pools, limits, deployments, automations and the block that alerts are sent through.

    with get_client(sync_client=True) as client:
        ensure_pools(client, ("cpu", "gpu"))
        provision(client, record=home / "deployed.json")
        end_killed(client, workspace)

Each is made when it is missing. What the code decides (templates, automations, deployments) is brought up to date; what operators decide in the UI
(the number of slots, a pause, a schedule) stays as they left it, until prefect.yaml or a flow changes.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.events.schemas.automations import AutomationCore
from prefect.events.schemas.events import Event, RelatedResource, Resource
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from flows.background import PROJECT
from flows.records import read_manifest, run_folders, run_id_of
from tasks.errors import StepError
from tasks.files import file_set, write_json

INFRA = PROJECT / "infra"
POOL_TYPE = "process"
KILLED = "Its process was killed together with its own server. The same command goes on where it stopped."
FLOWS = ("study", "finetune", "watch-landing")
GPU_LIMIT = "tag:gpu"  # Prefect's name for the limit of tasks with the tag gpu
ALERTS = "alerts"  # the notification block


def provision(client: SyncPrefectClient, *, record: Path, alerts_url: str | None = None) -> list[str]:
    """Limits, automations, deployments. Returns what is worth telling; `record` remembers which deployments were made.

    With `alerts_url`, a webhook that takes {"text": ...}, the block `alerts` is made for it.

    Raises StepError when `prefect deploy` fails.
    """
    _ensure_limit(client)
    told = _ensure_automations(client, _alerts_block(client, alerts_url))
    expect_signs_of_life(client)  # by the automations as they are now
    if _deploy(client, record=record):
        told.append(f"deployed {', '.join(sorted(deployments()))}")
    return told


def ensure_pools(client: SyncPrefectClient, names: tuple[str, ...]) -> None:
    """Work pools, before their workers start: a worker would make one of its own. A pool of another type (kubernetes) stays as it is."""
    for name in names:
        _ensure_pool(client, name)


def expect_signs_of_life(client: SyncPrefectClient) -> None:
    """A server that was away for minutes has dropped what its automations waited for: without this, a run that died meanwhile would be Running for
    ever. Whoever lives answers with the next heartbeat."""
    for flow in FLOWS:
        ours = FlowFilter.model_validate({"name": {"any_": [flow]}})
        open_runs = FlowRunFilter.model_validate({"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}})
        for run in client.read_flow_runs(flow_filter=ours, flow_run_filter=open_runs):
            name = "Pending" if run.state and run.state.is_pending() else "heartbeat"
            related = {"prefect.resource.id": f"prefect.flow.{run.flow_id}", "prefect.resource.role": "flow", "prefect.resource.name": flow}
            told = Event(
                event=f"prefect.flow-run.{name}",
                resource=Resource({"prefect.resource.id": f"prefect.flow-run.{run.id}"}),
                related=[RelatedResource(related)],
            )
            client.request("POST", "/events", json=[told.model_dump(mode="json")]).raise_for_status()


def end_killed(client: SyncPrefectClient, workspace: Path) -> list[str]:
    """What `valuescape run` was executing when it was killed together with its own server still stands as Running, and no automation hears of it.
    Such runs become Crashed. Returns what is worth telling."""
    killed = {folder.name for folder in run_folders(workspace) if read_manifest(folder)["status"] == "killed"}
    running = client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": ["RUNNING"]}}}))
    told = []
    for run in running:
        if run.deployment_id is None and run.created and run_id_of(run.id, run.created) in killed:
            client.set_flow_run_state(run.id, Crashed(message=KILLED), force=True)
            told.append(f"{run.name} is Crashed. {KILLED}")
    return told


def deployments() -> set[str]:
    """The names in prefect.yaml."""
    return {str(each["name"]) for each in _entries()}


def runs_at_once() -> int:
    """Of the pool cpu: as many as its deployments may have together, so that a look into the landing zone need not wait for studies."""
    return sum(int(each["concurrency_limit"]["limit"]) for each in _entries() if each["work_pool"]["name"] == "cpu")


def _entries() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    return found


def gpus() -> int:
    """NVIDIA's devices, without importing torch; a machine that has none trains one adapter at a time."""
    return max(1, len(list(Path("/dev").glob("nvidia[0-9]*"))))


def _ensure_pool(client: SyncPrefectClient, name: str) -> None:
    template = json.loads((INFRA / "work-pools" / f"{name}.json").read_text(encoding="utf-8"))
    try:
        found = client.read_work_pool(name)
        if found.type == POOL_TYPE:
            client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))
    except ObjectNotFound:
        limit = gpus() if name == "gpu" else runs_at_once()
        client.create_work_pool(WorkPoolCreate(name=name, type=POOL_TYPE, base_job_template=template, concurrency_limit=limit))


def _ensure_limit(client: SyncPrefectClient) -> None:
    try:
        client.read_global_concurrency_limit_by_name(GPU_LIMIT)
    except ObjectNotFound:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=GPU_LIMIT, limit=gpus()))


def _ensure_automations(client: SyncPrefectClient, block: str | None) -> list[str]:
    wanted = yaml.safe_load((INFRA / "automations.yaml").read_text(encoding="utf-8"))
    for automation in wanted:
        notifications = [action for action in automation["actions"] if action["type"] == "send-notification"]
        if notifications and block is None:
            continue
        for action in notifications:
            action["block_document_id"] = block
        _ensure_automation(client, AutomationCore.model_validate(automation))
    return [] if block else [f"nobody is told of failed and late runs: make a notification block named {ALERTS} (docs/operations.md)"]


def _ensure_automation(client: SyncPrefectClient, wanted: AutomationCore) -> None:
    """One that has changed is made anew; it stays off when somebody switched it off."""
    found = client.read_automations_by_name(wanted.name)
    if found and _same(AutomationCore.model_validate(found[0].model_dump()), wanted):
        return
    for old in found:
        client.delete_automation(old.id)
        wanted = wanted.model_copy(update={"enabled": old.enabled})
    client.create_automation(wanted)


def _same(one: AutomationCore, other: AutomationCore) -> bool:
    return one.model_dump(exclude={"enabled"}) == other.model_dump(exclude={"enabled"})


def _alerts_block(client: SyncPrefectClient, url: str | None) -> str | None:
    """The id of the block `alerts`, of whatever kind. The address is a secret: it is kept in the block, encrypted, and nowhere else."""
    if url:
        values = {"name": ALERTS, "url": "{{url}}", "json_data": {"text": "{{subject}}\n{{body}}"}, "secrets": {"url": url}}
        return str(CustomWebhookNotificationBlock.model_validate(values).save(ALERTS, overwrite=True))
    return next((str(document.id) for document in client.read_block_documents() if document.name == ALERTS), None)


def _deploy(client: SyncPrefectClient, *, record: Path) -> bool:
    """`prefect deploy --all`, where prefect.yaml, a flow or what its parameters are made of has changed, or the server has lost one."""
    current = {"code": file_set(PROJECT, ["prefect.yaml", *_names("flows/*.py"), *_names("tasks/*.py")]).content_key, "server": str(client.api_url)}
    known = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else None
    if known == current and deployments() <= {deployment.name for deployment in client.read_deployments()}:
        return False
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StepError(f"`prefect deploy --all` failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    write_json(record, current)
    return True


def _names(pattern: str) -> list[str]:
    return sorted(str(path.relative_to(PROJECT)) for path in PROJECT.glob(pattern))
