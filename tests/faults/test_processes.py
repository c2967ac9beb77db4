"""Processes that are killed: whatever had finished is kept, one retry does the rest, and the result is that of an undisturbed run."""

import random
import signal
import time
from pathlib import Path
from uuid import UUID

import pytest

from tests.faults.conftest import Undisturbed, training
from tests.flows.plant import Plant, assert_same, eventually, operations, run_folder

pytestmark = pytest.mark.fault
SHOWS_THE_RUN = {"report", "show the lineage"}  # a retry's own times and what it reused are on them: they are made anew
MOMENTS = random.Random(6).sample(range(100), 20)  # percent of an undisturbed run's time
LEASE_SECONDS = 75  # Prefect's 60, and a look now and then at which have ended
RUNNING_SECONDS = 360
TRAINING_SECONDS = 240  # until there is a checkpoint, on a busy machine


def stored(workspace: Path) -> dict[str, int]:
    """The results that finished steps left; one that is written again is another file."""
    return {path.name: path.stat().st_ino for path in (workspace / "prefect" / "storage").glob("*")}


def finish(plant: Plant, run: UUID, *, workspace: Path, like: Undisturbed) -> None:
    """After one retry that is heard the run is like the undisturbed one, what had finished was not done again, and nothing is left behind."""
    assert eventually(lambda: not plant.processes_of(run), seconds=20), plant.processes_of(run)
    before = stored(workspace)
    plant.retry(run)
    if (state := plant.wait(run, "Completed", "Crashed")).name == "Crashed":  # the worker's second word of the same end undoes a quick Retry
        assert state.message.startswith("Flow run infrastructure exited with non-zero status code -9"), state
        plant.retry(run)
        plant.wait(run, "Completed")
    assert_same(run_folder(workspace, run), like.folder)
    assert before.items() <= stored(workspace).items()
    assert {task for task, times in plant.executions(run).items() if times > 1} <= SHOWS_THE_RUN
    assert eventually(lambda: not plant.processes_of(run), seconds=20), plant.processes_of(run)
    assert eventually(lambda: plant.slots_taken() == 0, seconds=LEASE_SECONDS)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_flow_process_killed_at_any_moment(plant: Plant, undisturbed: Undisturbed, tmp_path: Path, moment: int) -> None:
    run, workspace = killed_at(moment / 100, plant, seconds=undisturbed.seconds, folder=tmp_path)
    plant.wait(run, "Crashed", seconds=60)
    finish(plant, run, workspace=workspace, like=undisturbed)


def killed_at(share: float, plant: Plant, *, seconds: float, folder: Path) -> tuple[UUID, Path]:
    """A run that was killed when so much of its time was over, and its workspace. `seconds` may be too many, on a busy machine: a run that ended
    before it could be killed leaves the next one less."""
    for attempt in range(3):
        run = plant.start(workspace=folder / str(attempt))
        plant.wait(run, "Running")
        time.sleep(share * seconds * 0.9 * 0.8**attempt)
        if plant.processes_of(run):
            plant.kill(run)
            if plant.state(run).name != "Completed":  # a process outlives its run by a moment
                return run, folder / str(attempt)
    pytest.fail("every run ended before it could be killed")


def test_a_trainer_killed_in_a_study_is_started_again_by_the_study_itself(plant: Plant, undisturbed: Undisturbed, tmp_path: Path) -> None:
    run = plant.start(workspace=tmp_path)
    assert eventually(lambda: training(tmp_path), seconds=TRAINING_SECONDS)
    trainer = plant.processes_of(run)[-1]
    assert "tasks.training.worker" in " ".join(trainer.cmdline())
    trainer.kill()
    plant.wait(run, "Completed")
    assert_same(run_folder(tmp_path, run), undisturbed.folder)
    assert eventually(lambda: not plant.processes_of(run), seconds=20), plant.processes_of(run)


def test_a_run_outlives_its_worker(plant: Plant, undisturbed: Undisturbed, tmp_path: Path) -> None:
    run = plant.start(workspace=tmp_path)
    plant.wait(run, "Running")
    plant.process("worker-cpu").kill()
    plant.wait(run, "Completed")
    assert_same(run_folder(tmp_path, run), undisturbed.folder)
    assert operations("up", plant.place).returncode == 0
    again = plant.start(workspace=tmp_path)
    plant.wait(again, "Completed")


def test_a_worker_that_is_told_to_end_in_a_training_leaves_a_run_that_one_retry_finishes(
    plant: Plant, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """It takes its runs with it, as a supervisor that restarts it would have it."""
    run = plant.start(workspace=tmp_path)
    assert eventually(lambda: training(tmp_path), seconds=TRAINING_SECONDS)
    plant.process("worker-cpu").terminate()
    assert eventually(lambda: not plant.processes_of(run), seconds=90), plant.processes_of(run)
    plant.wait(run, "Crashed", seconds=RUNNING_SECONDS)
    assert operations("up", plant.place).returncode == 0
    finish(plant, run, workspace=tmp_path, like=undisturbed)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_outlives_its_server_which_is_started_again(plant: Plant, undisturbed: Undisturbed, tmp_path: Path, number: signal.Signals) -> None:
    run = plant.start(workspace=tmp_path)
    assert eventually(lambda: training(tmp_path), seconds=TRAINING_SECONDS)
    before = plant.process("server")
    before.send_signal(number)
    before.wait(timeout=60)
    assert eventually(lambda: _answers(plant), seconds=60)
    assert plant.process("server").pid != before.pid
    plant.wait(run, "Completed", seconds=120)
    assert_same(run_folder(tmp_path, run), undisturbed.folder)
    assert eventually(lambda: plant.slots_taken() == 0, seconds=LEASE_SECONDS)


def _answers(plant: Plant) -> bool:
    import httpx

    try:
        with plant.client() as client:
            return bool(client.read_work_pools())
    except httpx.HTTPError:
        return False


def test_a_run_of_which_nobody_is_left_is_crashed_within_six_minutes_and_can_be_retried(
    plant: Plant, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    run = plant.start(workspace=tmp_path)
    assert eventually(lambda: training(tmp_path), seconds=TRAINING_SECONDS)
    began = time.monotonic()
    plant.process("worker-cpu").kill()
    plant.kill(run)
    assert eventually(lambda: not plant.processes_of(run), seconds=20), "no orphan"
    assert eventually(lambda: plant.slots_taken() == 0, seconds=LEASE_SECONDS)
    state = plant.wait(run, "Crashed", seconds=RUNNING_SECONDS - (time.monotonic() - began))
    assert "No sign of life" in state.message
    assert operations("up", plant.place).returncode == 0
    finish(plant, run, workspace=tmp_path, like=undisturbed)
