"""Prefect on this machine: `make up`, `make status`, `make down`.

    python -m flows.operations up | status | down | deploy | worker-cpu | worker-gpu [WORKSPACE]

up      the workspace's server (or the one that PREFECT_API_URL names), pools, limits, automations, deployments, and a worker for each pool. Again:
        whatever is missing or has died
status  what runs, on which address, with how much memory
down    ends what up started, runs in flight included; they can be retried
deploy  for a cluster: pools that are missing, limits, automations and deployments, on the server of PREFECT_API_URL; no worker
worker  for containers: a pool's worker, in this process, on that server; that of the pool cpu also deploys. With a port in
        PREFECT_WORKER_WEBSERVER_PORT it answers there, on /health, as long as it asks for runs
"""

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import psutil
from rich.console import Console
from rich.table import Table

from flows.background import Background, wait_until
from flows.server import LOG_LINES, STARTUP_SECONDS, answers, is_alive, local_server, server_url
from tasks.errors import InputError, StepError, ValuescapeError
from tasks.files import make_workspace
from tasks.progress import report_to_terminal

PORT = 4200  # Prefect's own
POOLS = ("cpu", "gpu")
ALERTS_URL = "VALUESCAPE_ALERTS_URL"
HEALTH_PORT = "PREFECT_WORKER_WEBSERVER_PORT"
WORKER_SECONDS = 45.0
STOP_SECONDS = 15.0
CHECKPOINT_SECONDS = 60.0  # a training writes one before it ends

logger = logging.getLogger("valuescape")
console = Console()


class Place(NamedTuple):
    """A workspace and its processes in the background; `alerts_url` is a secret, which no process that is started here has in its environment."""

    workspace: Path
    alerts_url: str | None = None

    @property
    def home(self) -> Path:
        return self.workspace / "prefect"

    @property
    def keeper(self) -> Background:
        return Background(self.home, "keeper")

    def worker(self, pool: str) -> Background:
        return Background(self.home, f"worker-{pool}")


def up(place: Place) -> None:
    """Raises StepError when a server or a worker does not come up, with the end of its log."""
    began = time.monotonic()
    make_workspace(place.workspace)
    (place.workspace / "landing").mkdir(mode=0o700, exist_ok=True)  # files may be dropped before the watcher has looked once
    place.home.mkdir(mode=0o700, exist_ok=True)
    with _server(place) as url:
        from prefect.client.orchestration import get_client

        from flows.provision import end_killed, ensure_pools, provision

        with get_client(sync_client=True) as client:
            ensure_pools(client, POOLS)
            if any(_asks_nobody(place.worker(pool), url) for pool in POOLS):
                _record_end(client, _end_workers(place)[1], by="make up")
            before = {pool: _heartbeats(client, pool) for pool in POOLS}
            started = [pool for pool in POOLS if place.worker(pool).start(_worker_command(pool), _worker_environment(place))]
            told = [*provision(client, record=place.home / "deployed.json", alerts_url=place.alerts_url), *end_killed(client, place.workspace)]
            for pool in started:
                _wait_for_worker(client, place, pool, before=before[pool])
    for line in told:
        logger.info("%s", line)
    console.print(f"Up in {time.monotonic() - began:.0f} seconds: {url.removesuffix('/api')}", soft_wrap=True)
    console.print("`valuescape run` now goes through the deployment study/study. `make status` says what runs, `make down` ends it.")


@contextmanager
def _server(place: Place) -> Iterator[str]:
    """The server of PREFECT_API_URL where that answers, else the workspace's, and somebody who keeps it up; with Prefect's settings."""
    if server_url() is None and not place.keeper.is_alive():
        free = os.environ.get("PREFECT_SERVER_API_PORT") or str(PORT if _is_free(PORT) else 0)
        place.keeper.start([sys.executable, "-m", "flows.server", str(place.home)], {**os.environ, "PREFECT_SERVER_API_PORT": free})
        if not wait_until(lambda: is_alive(place.home) or not place.keeper.is_alive(), seconds=STARTUP_SECONDS) or not place.keeper.is_alive():
            raise StepError(f"the Prefect server does not come up. The end of {place.keeper.log}:\n{_end(place.keeper.log)}")
    with local_server(place.home) as server:
        yield server.url


def _is_free(port: int) -> bool:
    with suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


def _worker_command(pool: str) -> list[str]:
    return [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process", "--name", _worker_name(pool)]


def _asks_nobody(worker: Background, url: str) -> bool:
    """A worker that has outlived its server, which is on another port now. Its runs cannot tell anybody how they end."""
    with suppress(psutil.Error):
        asked = psutil.Process(worker.pid).environ().get("PREFECT_API_URL", "") if worker.pid is not None else url
        return asked.rstrip("/") != url and not answers(asked)  # this server may be slow to answer; its worker's runs are not ended for that
    return False


def _worker_name(pool: str) -> str:
    return f"{socket.gethostname()}-{pool}"


def _worker_environment(place: Place) -> dict[str, str]:
    shown = {name: value for name, value in os.environ.items() if name != "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"}  # its console is its log
    return {**shown, "VALUESCAPE_HOME": str(place.workspace)}


def _heartbeats(client: Any, pool: str) -> set[Any]:
    """Of this machine's worker, by the server's clock; the server remembers that of yesterday, too."""
    return {each.last_heartbeat_time for each in client.read_workers_for_work_pool(pool) if each.name == _worker_name(pool)}


def _wait_for_worker(client: Any, place: Place, pool: str, *, before: set[Any]) -> None:
    worker = place.worker(pool)
    if not wait_until(lambda: _heartbeats(client, pool) != before or not worker.is_alive(), seconds=WORKER_SECONDS) or not worker.is_alive():
        raise StepError(f"the worker of pool {pool} does not come up. The end of {worker.log}:\n{_end(worker.log)}")


def deploy(place: Place) -> None:
    """Raises InputError without a server."""
    with _given_server(place):
        _provision(place, POOLS)
    console.print("Deployed. Workers of the pools take it from here.")


def worker(place: Place, pool: str) -> None:
    """Becomes the pool's worker. Raises InputError without a server."""
    with _given_server(place):
        _provision(place, POOLS if pool == POOLS[0] else (pool,))
        command = [*_worker_command(pool), *(["--with-healthcheck"] if HEALTH_PORT in os.environ else [])]
        sys.stdout.flush()
        os.execve(command[0], command, _worker_environment(place))


@contextmanager
def _given_server(place: Place) -> Iterator[None]:
    if server_url() is None:
        raise InputError(f"PREFECT_API_URL is {os.environ.get('PREFECT_API_URL', 'not set')}, and no server answers there. This command needs one")
    make_workspace(place.workspace)
    place.home.mkdir(mode=0o700, exist_ok=True)
    with _server(place):
        yield


def _provision(place: Place, pools: tuple[str, ...]) -> None:
    """The pools; with that of the studies all else that the server has to know."""
    from prefect.client.orchestration import get_client

    from flows.provision import ensure_pools, provision

    with get_client(sync_client=True) as client:
        ensure_pools(client, pools)
        for line in provision(client, record=place.home / "deployed.json", alerts_url=place.alerts_url) if POOLS[0] in pools else []:
            logger.info("%s", line)


def status(place: Place) -> None:
    """What runs; says so too when nothing does."""
    table = Table("process", "id", "memory", "since")
    for process in (place.keeper, Background(place.home, "server"), *(place.worker(pool) for pool in POOLS)):
        table.add_row(process.name, *_described(process.pid))
    console.print(table)
    if server_url() is None and not is_alive(place.home):
        console.print("No server runs. `make up` starts one on the record of this workspace.")
        return
    with local_server(place.home) as server:
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            _show(client)
        console.print(f"UI: {server.url.removesuffix('/api')}", soft_wrap=True)


def _described(pid: int | None) -> tuple[str, str, str]:
    try:
        process = psutil.Process(pid) if pid else None
    except psutil.NoSuchProcess:
        process = None
    if process is None:
        return ("-", "not running", "-")
    return (str(pid), f"{process.memory_info().rss / 2**20:.0f} MB", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(process.create_time())))


def _show(client: Any) -> None:
    """Work pools, deployments, and the runs that have not ended."""
    from prefect.client.schemas.filters import FlowRunFilter

    for pool in client.read_work_pools():
        workers = [worker.name for worker in client.read_workers_for_work_pool(pool.name) if worker.status == "ONLINE"]
        console.print(f"pool {pool.name}: limit {pool.concurrency_limit}, workers online: {', '.join(workers) or 'none'}")
    for deployment in client.read_deployments():
        schedules = [schedule.schedule.cron for schedule in deployment.schedules if schedule.active and hasattr(schedule.schedule, "cron")]
        console.print(f"deployment {deployment.name}: pool {deployment.work_pool_name}, schedule {', '.join(schedules) or 'none'}")
    open_ = FlowRunFilter.model_validate({"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING", "PAUSED"]}}})
    for run in client.read_flow_runs(flow_run_filter=open_):
        console.print(f"run {run.name} ({run.id}): {run.state_name}", soft_wrap=True)
    waiting = FlowRunFilter.model_validate({"state": {"name": {"any_": ["Late", "AwaitingRetry"]}}})
    for run in client.read_flow_runs(flow_run_filter=waiting):
        console.print(f"run {run.name} ({run.id}): {run.state_name}; no worker has taken it yet", soft_wrap=True)


def down(place: Place) -> None:
    """Workers first, then their runs, then the server."""
    ended, runs = _end_workers(place)
    if runs and (server_url() or is_alive(place.home)):
        with local_server(place.home):
            from prefect.client.orchestration import get_client

            with get_client(sync_client=True) as client:
                _record_end(client, runs, by="make down")
    kept = place.keeper.stop(seconds=2 * STOP_SECONDS)
    console.print(f"Ended: {', '.join([*(f'worker {pool}' for pool in ended), *(['the server'] if kept else [])]) or 'nothing, as nothing ran'}.")
    if is_alive(place.home):
        console.print("The server stays: a command that runs at this moment uses it, and ends it.")


def _end_workers(place: Place) -> tuple[list[str], set[str]]:
    """Workers, then their runs: the pools whose workers there were to end, and the runs' ids."""
    in_flight = set(_flow_processes(place).values())  # a run may end with its worker, which tells nobody
    ended = [pool for pool in POOLS if place.worker(pool).stop(seconds=STOP_SECONDS)]
    return ended, in_flight | _end_runs(place)


def _end_runs(place: Place) -> set[str]:
    """End the flow processes that this workspace's workers started, and all that these started; returns their flow runs' ids."""
    found = _flow_processes(place)
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
    _, left = psutil.wait_procs(list(found), timeout=CHECKPOINT_SECONDS)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return set(found.values())


def _flow_processes(place: Place) -> dict[psutil.Process, str]:
    """Each with its flow run's id."""
    return {process: run for process in psutil.process_iter() if (run := _run_of(process, place))}


def _run_of(process: psutil.Process, place: Place) -> str | None:
    """A worker tells its flow processes whose run they are, and they tell theirs."""
    try:
        environment = process.environ()
    except psutil.Error:
        return None
    return environment.get("PREFECT__FLOW_RUN_ID") if environment.get("VALUESCAPE_HOME") == str(place.workspace) else None


def _record_end(client: Any, runs: set[str], *, by: str) -> None:
    """Nobody else is there to say that these runs have ended."""
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Crashed

    for run in map(UUID, sorted(runs)):
        with suppress(ObjectNotFound):  # a run of another server
            state = client.read_flow_run(run).state
            if state and not state.is_final():
                client.set_flow_run_state(run, Crashed(message=f"Ended by `{by}`. Retry goes on from what was done."), force=True)


def _end(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:])


def main() -> None:
    report_to_terminal()
    workers = {f"worker-{pool}": partial(worker, pool=pool) for pool in POOLS}
    commands: dict[str, Callable[[Place], None]] = {"up": up, "status": status, "down": down, "deploy": deploy, **workers}
    name, *rest = sys.argv[1:] or [""]
    workspace = Path(*rest or [os.environ.get("VALUESCAPE_HOME", "workspace")]).resolve()
    place = Place(workspace, os.environ.pop(ALERTS_URL, None))
    try:
        if name not in commands:
            raise InputError(f"expected {' | '.join(commands)} [WORKSPACE], found {name or 'nothing'}")
        commands[name](place)
    except ValuescapeError as error:
        print(f"valuescape: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
