"""`make down` and `make up` again, a full disk, a server that comes back elsewhere: each with a place of its own.

What is asked of its server is asked in other processes, as Prefect reads its settings once.
"""

import json
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from flows.background import PROJECT, Background
from tests.flows.command import environment, server_up, valuescape, write_study
from tests.flows.plant import DEPLOYMENTS, NAMES, PREFECT, Plant, assert_same, eventually, mounted, operations, run_folder
from tests.training.tiny import save_model

pytestmark = [pytest.mark.flow, pytest.mark.fault]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "place"
    assert operations("down", tmp_path / "place").returncode == 0


def test_down_ends_what_up_started_and_nothing_else_and_up_shows_every_run_again(place: Path, tmp_path: Path) -> None:
    plant = Plant(place, write_study(tmp_path, items={"include": ["Q1"]}), save_model(tmp_path / "tiny"))
    assert operations("up", place).returncode == 0
    with subprocess.Popen(["sleep", "600"]) as bystander:
        interrupted = _start_elsewhere(plant)
        assert eventually(lambda: list(place.glob("runs/*/*/manifest.json")), seconds=120)
        processes = [*(plant.process(name) for name in NAMES), *plant.processes_of(interrupted)]
        assert len(processes) > len(NAMES)
        assert "Ended: worker cpu, worker gpu, the server" in operations("down", place).stdout
        assert not [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
        assert bystander.poll() is None
        bystander.kill()
    assert "nothing ran" in operations("down", place).stdout
    alone = valuescape("run", plant.study, "--model", plant.model, "--set", "training.objective=none", "--workspace", place)
    assert alone.code == 0, alone
    assert operations("up", place).returncode == 0
    states = _recorded(plant)
    assert states.pop(str(interrupted)) == "Crashed"
    assert list(states.values()) == ["Completed"]


def test_a_study_that_down_ended_in_its_training_is_retried_after_up_to_what_it_would_have_been(place: Path, tmp_path: Path) -> None:
    plant, run = _in_its_training(place, tmp_path)
    assert operations("down", place).returncode == 0
    assert operations("up", place).returncode == 0
    assert _recorded(plant)[str(run)] == "Crashed"
    _retried_to_the_end(plant, run, tmp_path / "undisturbed")


def test_a_disk_that_is_full_under_server_and_study_is_outlived_and_once_there_is_room_a_retry_finishes(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "60m") as disk:
        place = disk / "place"
        try:
            plant, run = _in_its_training(place, tmp_path)
            _fill(disk / "filler")
            time.sleep(30)
            processes = [plant.process(name) for name in NAMES]
            (disk / "filler").unlink()
            assert eventually(lambda: _recorded(plant)[str(run)] in ("Failed", "Crashed"), seconds=420), _recorded(plant)
            assert [plant.process(name) for name in NAMES] == processes
            _retried_to_the_end(plant, run, tmp_path / "undisturbed")
        finally:
            assert operations("down", place).returncode == 0


def _fill(path: Path) -> None:
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def _in_its_training(place: Path, folder: Path) -> tuple[Plant, UUID]:
    training = {"epochs": 20.0, "checkpoint_steps": 2, "evaluate_steps": 4}
    study = write_study(folder, items={"include": ["Q1", "Q57"]}, training=training, evaluation={"order0": False})
    plant = Plant(place, study, save_model(folder / "tiny"))
    assert operations("up", place).returncode == 0
    run = _start_elsewhere(plant)
    assert eventually(lambda: list(place.glob("training/*/checkpoints/step-*")), seconds=180)
    return plant, run


def _retried_to_the_end(plant: Plant, run: UUID, workspace: Path) -> None:
    """Like a run that nothing disturbed, which is made in `workspace`."""
    subprocess.run([PREFECT, "flow-run", "retry", str(run)], check=True, capture_output=True, cwd=PROJECT, env=_where(plant))
    assert eventually(lambda: _recorded(plant)[str(run)] == "Completed", seconds=300), _recorded(plant)
    alone = valuescape("run", plant.study, "--model", plant.model, "--workspace", workspace)
    assert alone.code == 0, alone
    (undisturbed,) = (workspace / "runs").glob("*/2*")
    assert_same(run_folder(plant.place, run), undisturbed)


def test_up_starts_workers_anew_whose_server_has_come_back_on_another_port(place: Path) -> None:
    def running(name: str) -> psutil.Process:
        return psutil.Process(Background(place / "prefect", name).pid)

    assert operations("up", place).returncode == 0
    workers = [running(name) for name in ("worker-cpu", "worker-gpu")]
    for name in ("keeper", "server"):
        running(name).kill()
    assert eventually(lambda: not Background(place / "prefect", "server").is_alive(), seconds=10)
    assert operations("up", place).returncode == 0
    url = json.loads((place / "prefect" / "server.json").read_text(encoding="utf-8"))["url"]
    assert [running(name).environ()["PREFECT_API_URL"] for name in ("worker-cpu", "worker-gpu")] == [url, url]
    assert not [worker for worker in workers if worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE]


def test_deploy_tells_a_server_all_but_starts_no_worker(tmp_path: Path) -> None:
    with server_up(tmp_path) as url:
        ended = operations("deploy", tmp_path / "elsewhere", PREFECT_API_URL=f"{url}/api")
        assert ended.returncode == 0, ended.stderr
    told = {
        table: sorted(_rows(tmp_path / "prefect", f"select name from {table}"))
        for table in ("deployment", "work_pool", "automation", "concurrency_limit_v2", "worker")
    }
    assert told["deployment"] == sorted(DEPLOYMENTS) and told["work_pool"] == ["cpu", "gpu"] and told["worker"] == []
    assert "tag:gpu" in told["concurrency_limit_v2"] and len(told["automation"]) >= 1
    assert "This command needs one" in operations("deploy", tmp_path / "elsewhere").stderr


def _rows(home: Path, question: str) -> list[str]:
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        return [str(row[0]) for row in database.execute(question)]


def _where(plant: Plant) -> dict[str, str]:
    return environment(PREFECT_API_URL=json.loads((plant.home / "server.json").read_text(encoding="utf-8"))["url"])


def _start_elsewhere(plant: Plant) -> UUID:
    command = [PREFECT, "deployment", "run", "study/study", "--param", f"study={plant.study}", "--param", f"model={plant.model}"]
    subprocess.run(command, check=True, capture_output=True, env=_where(plant))
    (run,) = _recorded(plant)
    return UUID(run)


def _recorded(plant: Plant) -> dict[str, str]:
    """The flow runs of the server's database and their states, but for what its schedules have made."""
    with closing(sqlite3.connect(plant.home / "prefect.db")) as database:
        found = database.execute("select id, state_name from flow_run where auto_scheduled = 0").fetchall()
    return dict(found)
