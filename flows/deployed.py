"""A study through its deployment, where a worker executes it and the Prefect UI can retry it.

    folder = run_deployed(parameters)   # None: nobody is there to execute it, so run the flow here

The worker has to see the same files: parameters hold whole paths.
"""

import logging
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, WorkerStatus
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import LogSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Cancelling

from flows.records import read_manifest, run_id_of
from tasks.errors import GateError, InputError, StepError, ValuescapeError

DEPLOYMENT = "study/study"
POLL_SECONDS = 1.0
HEARTBEAT_SECONDS = 45.0  # a worker says that it is there every 30
LATE_SECONDS = 2.0  # a flow process sends its last lines after its state
SILENCE_SECONDS = 30.0
CANCELLING_SECONDS = 60.0
LINES_AT_ONCE = 200
ERRORS = {error.__name__: error for error in (InputError, GateError, StepError)}

OURS = "valuescape"

logger = logging.getLogger(OURS)


def run_deployed(parameters: dict[str, Any]) -> Path | None:
    """Run study/study on its work pool and show the run's own lines until it ends; returns the run's folder.

    None when the server has no such deployment, or no worker of its pool is online. Raises what the run failed with (InputError, GateError or
    StepError), and StepError when the server or the run's process goes away. Ctrl-C cancels the run, and waits until its worker has ended it.
    """
    workspace = Path(parameters["workspace"])
    try:
        with get_client(sync_client=True) as client:
            ended = _run(client, parameters, workspace=workspace)
    except httpx.TransportError as error:
        raise StepError(
            f"the Prefect server does not answer ({type(error).__name__}). A worker goes on with the run that it has; start the server again "
            "(docs/operations.md), then repeat the command"
        ) from error
    return _folder(ended, workspace=workspace) if ended else None


def _run(client: SyncPrefectClient, parameters: dict[str, Any], *, workspace: Path) -> FlowRun | None:
    deployment = deployment_named(client, DEPLOYMENT)
    if deployment is None or not has_worker(client, deployment):
        return None
    run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
    logger.info("a worker is up: run %s goes through the deployment %s (work pool %s)", _id_of(run), DEPLOYMENT, deployment.work_pool_name)
    try:
        return _follow(client, run.id, deployment=deployment, workspace=workspace)
    except KeyboardInterrupt:
        _cancel(client, run.id)
        raise


def deployment_named(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    """None when the server has none of that name, `flow/deployment`."""
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def has_worker(client: SyncPrefectClient, deployment: DeploymentResponse) -> bool:
    """Whether a worker of the deployment's pool has been heard of lately."""
    workers = client.read_workers_for_work_pool(deployment.work_pool_name) if deployment.work_pool_name else []
    heard = [worker.last_heartbeat_time for worker in workers if worker.status is WorkerStatus.ONLINE and worker.last_heartbeat_time]
    # A worker that ended is online to Prefect for another minute and a half.
    return any((datetime.now(UTC) - time_of).total_seconds() < HEARTBEAT_SECONDS for time_of in heard)


def _follow(client: SyncPrefectClient, run_id: UUID, *, deployment: DeploymentResponse, workspace: Path) -> FlowRun | None:
    """The run once it has ended; None when its last worker went away before taking it, and it was called off.

    Raises StepError when the run's process is gone and nobody has noticed.
    """
    shown: set[UUID] = set()
    heard = time.monotonic()
    while True:
        run = client.read_flow_run(run_id)
        if pass_on_lines(client, run_id, shown=shown):
            heard = time.monotonic()
        if run.state is None or run.state.is_final():
            time.sleep(LATE_SECONDS)
            pass_on_lines(client, run_id, shown=shown)
            return run
        if run.state.is_scheduled() and not has_worker(client, deployment):
            logger.warning("the worker went away before it took the run; it is run here instead")
            client.set_flow_run_state(run_id, Cancelled(message="no worker took it"), force=True)
            return None
        if time.monotonic() - heard > SILENCE_SECONDS:
            heard = time.monotonic()
            _refuse_dead(run, workspace=workspace)
            logger.info("run %s is %s on work pool %s", _id_of(run), run.state.name, deployment.work_pool_name)
        time.sleep(POLL_SECONDS)


def _refuse_dead(run: FlowRun, *, workspace: Path) -> None:
    """A worker that is killed with its run tells nobody; the run's lock does."""
    folder = _folder_of(run, workspace=workspace)
    if run.state and run.state.is_running() and folder and read_manifest(folder)["status"] == "killed":
        raise StepError(f"the process of run {_id_of(run)} is gone, and its worker with it. Start a worker, then repeat the command: it goes on")


def pass_on_lines(client: SyncPrefectClient, run_id: UUID, *, shown: set[UUID]) -> bool:
    """Pass on what the project itself said in the run since the last time; lines may arrive late, and not in their order."""
    newest = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id])), limit=LINES_AT_ONCE, sort=LogSort.TIMESTAMP_DESC)
    new = [line for line in reversed(newest) if line.id not in shown and line.name == OURS]
    for line in new:
        logger.log(line.level, "%s", line.message)
    shown.update(line.id for line in new if line.id)
    return bool(new)


def _cancel(client: SyncPrefectClient, run_id: UUID) -> None:
    client.set_flow_run_state(run_id, Cancelling())
    deadline = time.monotonic() + CANCELLING_SECONDS
    while time.monotonic() < deadline:
        state = client.read_flow_run(run_id).state
        if state and state.is_final():
            return
        time.sleep(POLL_SECONDS)
    logger.warning("the worker has not ended the run within %.0f seconds; see it in the Prefect UI", CANCELLING_SECONDS)


def _folder(ended: FlowRun, *, workspace: Path) -> Path:
    """The folder of a run that finished; else raises what it failed with."""
    folder = _folder_of(ended, workspace=workspace)
    if ended.state and ended.state.is_completed() and folder:
        return folder
    failure = (read_manifest(folder)["error"] if folder else None) or (ended.state and ended.state.message) or "it left no message"
    raise _error(str(failure), run=ended)


def _folder_of(run: FlowRun, *, workspace: Path) -> Path | None:
    """None before the run has a folder."""
    return next((workspace / "runs").glob(f"*/{_id_of(run)}"), None)


def _id_of(run: FlowRun) -> str:
    """The run's name in the workspace."""
    assert run.created is not None, "the server dates every run"
    return run_id_of(run.id, run.created)


def _error(failure: str, *, run: FlowRun) -> ValuescapeError:
    """The error that the run ended with, and where it is retried."""
    known = re.search(rf"\b({'|'.join(ERRORS)}): (.*)", failure, flags=re.DOTALL)
    kind, message = (ERRORS[known[1]], known[2]) if known else (StepError, failure)
    if kind is InputError:
        return kind(message)
    return kind(
        f"{message}\nIn Prefect the run is {run.state_name} (id {run.id}): its Retry there, or this command again, goes on from what was done."
    )
