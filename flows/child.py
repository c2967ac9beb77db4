"""A run of another deployment that a step asks for: started once, armed again after a failure, waited for.

    run_child("finetune/finetune", parameters, key="...", is_done=lambda: adapter_is_there())

The key is the run's identity: whoever asks for the same thing, before or after a crash, gets the same run, and never a second one.
"""

import logging
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments import run_deployment
from prefect.states import AwaitingRetry, Cancelling

from flows.deployed import deployment_named, has_worker, pass_on_lines
from tasks.errors import InputError, StepError

POLL_SECONDS = 2.0
REMINDER_SECONDS = 60.0

logger = logging.getLogger("valuescape")


def run_child(name: str, parameters: dict[str, Any], *, key: str, is_done: Callable[[], bool]) -> None:
    """Have the deployment `name` do what `is_done` then finds done; its own lines are passed on.

    Raises InputError when the server has no such deployment, StepError when the run ends otherwise than completed. When the caller is interrupted,
    so is the run.
    """
    with get_client(sync_client=True) as client:
        deployment = deployment_named(client, name)
        if deployment is None:
            raise InputError(f"the Prefect server has no deployment {name}. Deploy it (`make up`), or run the step inline (finetune_on: inline)")
        run: FlowRun = run_deployment(deployment.id, parameters=parameters, idempotency_key=key, timeout=0, as_subflow=False)  # type: ignore[assignment]
        logger.info("run %s of %s, on work pool %s (id %s)", run.name, name, deployment.work_pool_name, run.id)
        if _has_ended(run) and not is_done():
            client.set_flow_run_state(run.id, AwaitingRetry(), force=True)
        try:
            _wait(client, run.id, deployment=deployment)
        except Exception:
            raise  # a server that does not answer, say: the run goes on, and a retry finds it
        except BaseException:
            client.set_flow_run_state(run.id, Cancelling())
            raise
        ended = client.read_flow_run(run.id)
    if not is_done():
        message = ended.state.message if ended.state else "it left no message"
        raise StepError(f"run {ended.name} of {name} is {ended.state_name}: {message}. A retry of this run arms it again (id {ended.id})")


def _wait(client: SyncPrefectClient, run_id: UUID, *, deployment: DeploymentResponse) -> None:
    """Until the run has ended; says so now and then when nobody is there to take it."""
    shown: set[UUID] = set()
    reminded = time.monotonic()
    while not _has_ended(run := client.read_flow_run(run_id)):
        pass_on_lines(client, run_id, shown=shown)
        if time.monotonic() - reminded > REMINDER_SECONDS:
            reminded = time.monotonic()
            if run.state and run.state.is_scheduled() and not has_worker(client, deployment):
                logger.warning("no worker of work pool %s is up to take run %s", deployment.work_pool_name, run.name)
        time.sleep(POLL_SECONDS)
    pass_on_lines(client, run_id, shown=shown)


def _has_ended(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_final()
