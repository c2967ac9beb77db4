"""`make up` for tests: a real server and real workers, and a study on a tiny model that goes through them in half a minute.

with running(home, folder) as plant:
    run = plant.start(workspace=folder / "workspace")
    plant.wait(run, "Completed")
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import psutil
import pytest
import yaml

from flows.background import Background
from flows.server import PROJECT, local_server
from tasks.files import sha256_of
from tests.flows.command import environment, write_study
from tests.training.tiny import save_model

PREFECT = Path(sys.executable).with_name("prefect")
NAMES = ("keeper", "server", "worker-cpu", "worker-gpu")
DEPLOYMENTS = [str(each["name"]) for each in yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]]
ENDS = ("Completed", "Failed", "Crashed", "Cancelled")
TIMES = ["seconds", "samples_per_second"]  # of a training's log


def operations(command: str, workspace: Path, **more: str) -> subprocess.CompletedProcess[str]:
    given = environment(PREFECT_SERVER_API_PORT="0", PREFECT_WORKER_QUERY_SECONDS="1", **more)
    return subprocess.run(
        [sys.executable, "-m", "flows.operations", command, str(workspace)],
        cwd=PROJECT, env=given, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip


@dataclass
class Plant:
    """What is up: `place` is the workspace of `make up`; runs may be given another one."""

    place: Path
    study: Path
    model: Path

    @property
    def home(self) -> Path:
        return self.place / "prefect"

    def process(self, name: str) -> psutil.Process:
        """`server`, `keeper`, `worker-cpu` or `worker-gpu`."""
        pid = Background(self.home, name).pid
        assert pid is not None, f"{name} does not run"
        return psutil.Process(pid)

    @contextmanager
    def client(self) -> Iterator[Any]:
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            yield client

    def start(self, *, workspace: Path, variables: dict[str, Any] | None = None, **parameters: Any) -> UUID:
        """A run of study/study; `variables` go to its work pool's job, instead of the pool's own."""
        from flows.deployed import deployment_named

        given = {"study": str(self.study), "model": str(self.model), "workspace": str(workspace), **parameters}
        with self.client() as client:
            found = deployment_named(client, "study/study")
            assert found is not None
            run = client.create_flow_run_from_deployment(found.id, parameters=given, job_variables=variables)
        return UUID(str(run.id))

    def state(self, run: UUID) -> Any:
        with self.client() as client:
            return client.read_flow_run(run).state

    def wait(self, run: UUID, *names: str, seconds: float = 420) -> Any:
        """The state, once it has one of these names; a run that has ended otherwise is shown."""
        deadline = time.monotonic() + seconds
        while (state := self.state(run)).name not in names:
            assert state.name not in ENDS, state
            assert time.monotonic() < deadline, state
            time.sleep(0.2)
        return state

    def retry(self, run: UUID) -> None:
        """What the UI's Retry does too."""
        subprocess.run([PREFECT, "flow-run", "retry", str(run)], check=True, capture_output=True, cwd=PROJECT)

    def processes_of(self, run: UUID) -> list[psutil.Process]:
        """The flow process, the oldest, and all that it has started."""
        found = [process for process in psutil.process_iter() if _environment(process).get("PREFECT__FLOW_RUN_ID") == str(run)]
        return sorted(found, key=lambda process: process.create_time())

    def flow_process(self, run: UUID) -> psutil.Process:
        return self.processes_of(run)[0]

    def kill(self, run: UUID) -> None:
        """SIGKILL to the flow process alone, as the system does when memory is short."""
        os.kill(self.flow_process(run).pid, signal.SIGKILL)

    def executions(self, run: UUID) -> Counter[str]:
        """How often each task of a run was executed to its end, as the server recorded it; a stored result is no execution."""
        from prefect.client.schemas.filters import FlowRunFilter

        with self.client() as client:
            tasks = client.read_task_runs(flow_run_filter=FlowRunFilter.model_validate({"id": {"any_": [str(run)]}}), limit=200)
        return Counter(_label(task) for task in tasks if task.state_name == "Completed")

    def slots_taken(self, limit: str = "tag:gpu") -> int:
        with self.client() as client:
            return int(client.read_global_concurrency_limit_by_name(limit).active_slots)


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ() if process.status() != psutil.STATUS_ZOMBIE else {}
    except psutil.Error:
        return {}


def _label(task: Any) -> str:
    """Without the suffix by which Prefect tells calls apart: `fine-tune-a1b`."""
    return re.sub("-[0-9a-f]{3}$", "", task.name)


@contextmanager
def running(folder: Path, **more: str) -> Iterator[Plant]:
    """Everything up, in `folder`, and the environment of this process set for its server; down at the end."""
    place = folder / "place"
    training = {"epochs": 20.0, "checkpoint_steps": 2, "evaluate_steps": 4}  # long enough to be met in the middle
    study = write_study(folder, items={"include": ["Q1", "Q57"]}, training=training, evaluation={"order0": False})
    plant = Plant(place, study, model=save_model(folder / "tiny"))
    ended = operations("up", place, **more)
    assert ended.returncode == 0, ended.stderr
    try:
        with local_server(plant.home):
            yield plant
    finally:
        ended = operations("down", place)
        assert ended.returncode == 0, ended.stderr


@contextmanager
def mounted(place: Path, size: str) -> Iterator[Path]:
    """A small file system of its own, in memory."""
    if os.geteuid() != 0 and os.environ.get("CI") != "true":
        pytest.skip("mounting needs root")
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def run_folder(workspace: Path, run: UUID) -> Path:
    (found,) = (workspace / "runs").glob(f"*/*-{str(run)[-6:]}")
    return found


def outcome(folder: Path) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """A run's tables without the clock's, and the hashes of its adapter's weights."""
    tables = {path.stem: pd.read_parquet(path) for path in sorted((folder / "tables").glob("*.parquet"))}
    weights = {path.name: sha256_of(path) for path in (folder / "adapter").glob("*.safetensors")}
    assert tables and weights, folder
    return {name: table.drop(columns=TIMES, errors="ignore") for name, table in tables.items()}, weights


def assert_same(folder: Path, undisturbed: Path) -> None:
    """The tables to the last bit, and the adapter byte for byte."""
    (tables, weights), (expected, expected_weights) = outcome(folder), outcome(undisturbed)
    assert weights == expected_weights
    assert tables.keys() == expected.keys()
    for name, table in tables.items():
        pd.testing.assert_frame_equal(table, expected[name], check_exact=True, obj=name)


def eventually(holds: Callable[[], object], *, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
