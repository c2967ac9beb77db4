"""A study through its deployment, where a worker executes it and the Prefect UI can retry it.

    folder = run_deployed(parameters)   # None: nobody is there to execute it, so run the flow here

The worker has to see the same files: parameters hold whole paths.
"""

import logging
import re
import time
from pathlib import Path
from typing import Any
from uuid import UUID

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
CANCELLING_SECONDS = 60.0
LOGS_AT_ONCE = 200
ERRORS = {error.__name__: error for error in (InputError, GateError, StepError)}

OURS = "valuescape"

logger = logging.getLogger(OURS)


def run_deployed(parameters: dict[str, Any]) -> Path | None:
    """Run study/study on its work pool and show the run's own lines until it ends; returns the run's folder.

    None when the server has no such deployment, or no worker of its pool is online. Raises what the run failed with: InputError, GateError
    or StepError. Ctrl-C cancels the run, and waits until its worker has ended it.
    """
    with get_client(sync_client=True) as client:
        deployment = _deployment(client)
        if deployment is None or not _has_worker(client, deployment):
            return None
        run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
        logger.info("a worker is up: run %s goes through the deployment %s (work pool %s)", run.name, DEPLOYMENT, deployment.work_pool_name)
        try:
            ended = _follow(client, run.id, deployment=deployment)
        except KeyboardInterrupt:
            _cancel(client, run.id)
            raise
    return _folder(ended, workspace=Path(parameters["workspace"])) if ended else None


def _deployment(client: SyncPrefectClient) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(DEPLOYMENT)
    except ObjectNotFound:
        return None


def _has_worker(client: SyncPrefectClient, deployment: DeploymentResponse) -> bool:
    workers = client.read_workers_for_work_pool(deployment.work_pool_name) if deployment.work_pool_name else []
    return any(worker.status is WorkerStatus.ONLINE for worker in workers)


def _follow(client: SyncPrefectClient, run_id: UUID, *, deployment: DeploymentResponse) -> FlowRun | None:
    """The run once it has ended; None when its last worker went away before taking it, and it was called off."""
    shown = 0
    while True:
        run = client.read_flow_run(run_id)
        shown += _show_lines(client, run_id, after=shown)
        if run.state and run.state.is_final():
            return run
        if run.state and run.state.is_scheduled() and not _has_worker(client, deployment):
            logger.warning("the worker went away before it took the run; it is run here instead")
            client.set_flow_run_state(run_id, Cancelled(message="no worker took it"), force=True)
            return None
        time.sleep(POLL_SECONDS)


def _show_lines(client: SyncPrefectClient, run_id: UUID, *, after: int) -> int:
    """Pass on what the project itself said in the run, and return how many lines of all there were."""
    lines = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id])), limit=LOGS_AT_ONCE, offset=after, sort=LogSort.TIMESTAMP_ASC)
    for line in lines:
        if line.name == OURS:
            logger.log(line.level, "%s", line.message)
    return len(lines)


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
    assert ended.created is not None, "the server dates every run"
    folder = next((workspace / "runs").glob(f"*/{run_id_of(ended.id, ended.created)}"), None)
    if ended.state and ended.state.is_completed() and folder:
        return folder
    failure = (read_manifest(folder)["error"] if folder else None) or (ended.state and ended.state.message) or "it left no message"
    raise _error(str(failure), run=ended)


def _error(failure: str, *, run: FlowRun) -> ValuescapeError:
    """The error that the run ended with, and where it is retried."""
    known = re.search(rf"\b({'|'.join(ERRORS)}): (.*)", failure, flags=re.DOTALL)
    kind, message = (ERRORS[known[1]], known[2]) if known else (StepError, failure)
    state = run.state_name or "unknown"
    return kind(f"{message}\nRun {run.name} is {state} in Prefect; its Retry there, or this command again, goes on from what was done.")
