"""`make up`, `make status`, `make down`: a real server and real workers, what they are told, whom they tell, and what a retry does again."""

import json
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pytest
import yaml

from flows.background import PROJECT, Background
from flows.records import LOCK, run_id_of
from tasks.files import held_alone, write_json
from tasks.intake.synthetic import write_synthetic_survey
from tests.flows.plant import DEPLOYMENTS, NAMES, PREFECT, Plant, assert_same, eventually, operations, run_folder, running

pytestmark = [pytest.mark.flow, pytest.mark.fault]
SECRET = "an-address-that-nobody-else-may-read"
ALERT_SECONDS = 120  # mostly one; on a busy machine SQLite may make the server wait for a minute
LATE_SECONDS = 90  # after 15 a run is late, and every few the server looks


class Receiver:
    """Stands for the chat or the pager that a webhook leads to."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        heard = self.heard

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # noqa: N802 (the name that http.server calls)
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if SECRET in self.path:
                    heard.append(json.loads(body)["text"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Hook)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{SECRET}"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()


@pytest.fixture(scope="module")
def plant(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with running(tmp_path_factory.mktemp("plant"), VALUESCAPE_ALERTS_URL=receiver.url) as plant:
        yield plant


@pytest.fixture(scope="module")
def finished(plant: Plant, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed."""
    workspace = tmp_path_factory.mktemp("undisturbed")
    run = plant.start(workspace=workspace)
    plant.wait(run, "Completed")
    assert set(plant.executions(run).values()) == {1}
    return run_folder(workspace, run)


def test_up_again_changes_nothing(plant: Plant) -> None:
    before, known = {name: plant.process(name).pid for name in NAMES}, _known(plant)
    ended = operations("up", plant.place)
    assert ended.returncode == 0, ended.stderr
    assert {name: plant.process(name).pid for name in NAMES} == before
    assert _known(plant) == known
    assert (plant.place / "landing").is_dir()
    assert len(known["deployments"]) == len(DEPLOYMENTS)


def _known(plant: Plant) -> dict[str, set[UUID]]:
    with plant.client() as client:
        found = {"deployments": client.read_deployments(), "automations": client.read_automations(), "pools": client.read_work_pools()}
    return {name: {each.id for each in listed} for name, listed in found.items()}


def test_up_starts_again_what_has_died(plant: Plant) -> None:
    before = plant.process("worker-gpu")
    before.kill()
    assert eventually(lambda: not Background(plant.home, "worker-gpu").is_alive(), seconds=10)
    assert operations("up", plant.place).returncode == 0
    assert plant.process("worker-gpu").pid != before.pid


def test_status_says_what_runs(plant: Plant) -> None:
    shown = operations("status", plant.place).stdout
    assert all(f"│ {name}" in shown for name in NAMES)
    assert "not running" not in shown
    assert "deployment nightly-sample: pool cpu, schedule 30 2 * * *" in shown


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_says_what_it_is_and_asks_for_its_parameters(plant: Plant, name: str) -> None:
    with plant.client() as client:
        (deployment,) = (each for each in client.read_deployments() if each.name == name)
    assert deployment.description and deployment.version and "valuescape" in deployment.tags
    assert deployment.global_concurrency_limit.limit >= 1
    asked = deployment.parameter_openapi_schema["properties"]
    assert asked and all(parameter.get("description") for parameter in asked.values())
    assert deployment.enforce_parameter_schema
    if name == "study":
        assert asked["finetune_on"]["enum"] == ["inline", "gpu"]


def test_a_parameter_that_the_form_does_not_know_is_refused(plant: Plant, tmp_path: Path) -> None:
    import httpx

    with pytest.raises(httpx.HTTPStatusError, match="409"):
        plant.start(workspace=tmp_path, finetune_on="moon")


def test_a_pool_of_another_type_stays_as_it_is(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster's pool `gpu` starts pods; a worker that comes up must not make its template that of a process."""
    from prefect.client.schemas.actions import WorkPoolCreate

    from flows import provision

    (tmp_path / "work-pools").mkdir()
    (tmp_path / "work-pools" / "pods.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(provision, "INFRA", tmp_path)
    template = json.loads((PROJECT / "infra" / "kubernetes" / "job-template.json").read_text(encoding="utf-8"))
    with plant.client() as client:
        made = client.create_work_pool(WorkPoolCreate(name="pods", type="kubernetes", base_job_template=template))
        provision.ensure_pools(client, ("pods",))
        assert client.read_work_pool("pods").base_job_template == made.base_job_template
        client.delete_work_pool("pods")


def test_a_run_that_was_killed_with_its_own_server_is_crashed_once_everything_is_up(plant: Plant) -> None:
    from prefect import Flow
    from prefect.states import Running

    from flows import provision

    with plant.client() as client:
        killed, alive = (client.create_flow_run(Flow(lambda: None, name="study"), state=Running()) for _ in range(2))
        folders = [plant.place / "runs" / "by-hand" / run_id_of(run.id, run.created) for run in (killed, alive)]
        for folder in folders:
            write_json(folder / "manifest.json", {"status": "running", "error": None})
        with held_alone(folders[1] / LOCK, refusal="busy"):
            told = provision.end_killed(client, plant.place)
        assert [plant.state(run.id).name for run in (killed, alive)] == ["Crashed", "Running"]
        assert len(told) == 1 and killed.name in told[0]
        for run, folder in zip((killed, alive), folders, strict=True):
            client.delete_flow_run(run.id)
            shutil.rmtree(folder)


LIVES = {  # state names, as a worker gives them; then nothing more is heard
    "PENDING": [["Pending"], ["Pending", "Submitting"], ["Pending", "InfrastructurePending"]],
    "RUNNING": [["Pending", "Submitting", "Running"], ["Running", "Crashed", "Pending", "Running"]],
}


@pytest.mark.parametrize(("kind", "names"), [(kind, names) for kind, lives in LIVES.items() for names in lives])
def test_a_run_that_dies_before_its_first_heartbeat_is_crashed(plant: Plant, kind: str, names: list[str]) -> None:
    """By the automations of infra, with seconds instead of minutes, and for this run alone."""
    from prefect import Flow
    from prefect.events.schemas.automations import AutomationCore
    from prefect.states import State

    shipped = yaml.safe_load((PROJECT / "infra" / "automations.yaml").read_text(encoding="utf-8"))
    (watched,) = (each for each in shipped if f"prefect.flow-run.{names[-1]}" in each["trigger"].get("after", []))
    with plant.client() as client:
        run = client.create_flow_run(Flow(lambda: None, name="study"))
        watched["trigger"] |= {"match": {"prefect.resource.id": f"prefect.flow-run.{run.id}"}, "within": 10}
        made = client.create_automation(AutomationCore.model_validate({**watched, "name": f"only for {run.id}"}))
        for name in names:
            state = State(type=name.upper() if name.upper() in ("PENDING", "RUNNING", "CRASHED") else kind, name=name)
            client.set_flow_run_state(run.id, state, force=True)
            time.sleep(2)  # events of one moment may overtake each other; a person who retries is slower
        state = plant.wait(run.id, "Crashed", seconds=ALERT_SECONDS)
        client.delete_automation(made)
        client.delete_flow_run(run.id)
    assert "Retry" in state.message


def test_after_a_long_outage_of_the_server_up_has_runs_watched_again_and_others_left_alone(plant: Plant) -> None:
    """The server drops what its automations waited for, at a start long after: here it never began to wait."""
    from prefect import Flow
    from prefect.states import Running

    from flows import provision

    with plant.client() as client:
        ours, others = (client.create_flow_run(Flow(lambda: None, name=name), state=Running()) for name in ("study", "a flow of others"))
        seen = _waiting(plant)
        with closing(sqlite3.connect(plant.home / "prefect.db", timeout=30)) as database, database:
            database.execute("delete from automation_bucket")
        provision.expect_signs_of_life(client)
        assert eventually(lambda: _waiting(plant) == {str(ours.id)}, seconds=30), (_waiting(plant), seen)
        for run in (ours, others):
            client.delete_flow_run(run.id)


def _waiting(plant: Plant) -> set[str]:
    """The runs of which a sign of life is expected."""
    with closing(sqlite3.connect(plant.home / "prefect.db", timeout=30)) as database:
        rows = database.execute("select bucketing_key from automation_bucket").fetchall()
    keys = [json.loads(row[0]) for row in rows]
    return {key[0].removeprefix("prefect.flow-run.") for key in keys if key}


def test_the_address_of_alerts_is_readable_nowhere(plant: Plant) -> None:
    with plant.client() as client:
        (block,) = (document for document in client.read_block_documents(include_secrets=False) if document.name == "alerts")
    assert SECRET not in block.model_dump_json()
    with closing(sqlite3.connect(plant.home / "prefect.db")) as database:
        assert not [line for line in database.iterdump() if SECRET in line]
    for name in NAMES:
        assert "VALUESCAPE_ALERTS_URL" not in plant.process(name).environ()


def test_a_failed_gate_is_told_with_table_rule_and_count_and_its_retry_does_only_the_rest(plant: Plant, receiver: Receiver, tmp_path: Path) -> None:
    survey = write_synthetic_survey(tmp_path)
    whole = survey.read_bytes()
    rows = pd.read_csv(survey, sep=";", dtype=str, encoding="utf-8-sig", keep_default_na=False)
    rows.loc[::2, "Q57"] = "7"
    rows.to_csv(survey, sep=";", index=False)
    run = plant.start(workspace=tmp_path / "workspace", surveys=[str(survey)], country="SGP")
    plant.wait(run, "Failed")
    assert eventually(lambda: _told_of(receiver, run), seconds=ALERT_SECONDS)
    told = _told_of(receiver, run)[0]
    assert "gate intake" in told
    assert "sql/checks/assert_answer_quarantine_within_limit.sql, rule expect_table_row_count_to_equal(value=0): found 1 rows (item=Q57)" in told
    survey.write_bytes(whole)
    before = plant.executions(run)
    plant.retry(run)
    plant.wait(run, "Completed")
    # The file that was mended is another one: it is taken in again, and nothing else is done twice.
    assert before and {task: times for task, times in plant.executions(run).items() if times > 1} == {"take in the survey": 2}


def test_a_run_that_nobody_takes_is_told_of(plant: Plant, receiver: Receiver, tmp_path: Path) -> None:
    from prefect.client.schemas.actions import WorkPoolUpdate

    with plant.client() as client:
        client.update_work_pool("cpu", WorkPoolUpdate(is_paused=True))
        try:
            run = plant.start(workspace=tmp_path)
            assert eventually(lambda: plant.state(run).name == "Late", seconds=LATE_SECONDS)
            assert eventually(lambda: _told_of(receiver, run), seconds=ALERT_SECONDS)
            assert "is late" in _told_of(receiver, run)[0] and "It waits on work pool cpu." in _told_of(receiver, run)[0]
            client.delete_flow_run(run)
        finally:
            client.update_work_pool("cpu", WorkPoolUpdate(is_paused=False))


def _told_of(receiver: Receiver, run: UUID) -> list[str]:
    return [text for text in receiver.heard if f"flow-run/{run}" in text]


def test_a_study_that_is_retried_arms_its_fine_tuning_again_which_goes_on_from_its_checkpoint(plant: Plant, finished: Path, tmp_path: Path) -> None:
    run = plant.start(workspace=tmp_path, finetune_on="gpu")
    assert eventually(lambda: list(tmp_path.glob("training/*/checkpoints/step-*")), seconds=120)
    (child,) = _children(plant, tmp_path)
    assert plant.slots_taken() == 1
    plant.kill(child.id)
    plant.wait(run, "Failed")
    assert plant.state(child.id).name == "Crashed"
    before = plant.executions(run)
    plant.retry(run)
    plant.wait(run, "Completed")
    (again,) = _children(plant, tmp_path)
    assert (again.id, again.state_name) == (child.id, "Completed")
    assert set(plant.executions(run).values()) == {1}
    assert before.keys() < plant.executions(run).keys()
    assert "fine-tuning goes on from step" in _log(plant, child.id)
    assert eventually(lambda: not plant.processes_of(child.id), seconds=20)


def test_a_study_that_dies_leaves_its_fine_tuning_at_work_and_its_retry_finds_it(plant: Plant, finished: Path, tmp_path: Path) -> None:
    run = plant.start(workspace=tmp_path, finetune_on="gpu")
    assert eventually(lambda: list(tmp_path.glob("training/*/checkpoints/step-*")), seconds=120)
    plant.kill(run)
    plant.wait(run, "Crashed")
    (child,) = _children(plant, tmp_path)
    plant.wait(child.id, "Completed")
    assert eventually(lambda: not plant.processes_of(run), seconds=20), plant.processes_of(run)
    plant.retry(run)
    plant.wait(run, "Completed")
    assert [each.id for each in _children(plant, tmp_path)] == [child.id]
    assert plant.executions(child.id) == {"fine-tune: tuned": 1}
    assert_same(run_folder(tmp_path, run), finished)


def test_a_study_that_is_cancelled_takes_its_fine_tuning_with_it(plant: Plant, tmp_path: Path) -> None:
    run = plant.start(workspace=tmp_path, finetune_on="gpu")
    assert eventually(lambda: list(tmp_path.glob("training/*/checkpoints/step-*")), seconds=120)
    (child,) = _children(plant, tmp_path)
    subprocess.run([PREFECT, "flow-run", "cancel", str(run)], check=True, capture_output=True, cwd=PROJECT)
    plant.wait(run, "Cancelled")
    plant.wait(child.id, "Cancelled", seconds=90)
    assert eventually(lambda: not [*plant.processes_of(run), *plant.processes_of(child.id)], seconds=60)
    assert eventually(lambda: plant.slots_taken() == 0, seconds=90)


def _children(plant: Plant, workspace: Path) -> list[Any]:
    from prefect.client.schemas.filters import FlowFilter

    with plant.client() as client:
        runs = client.read_flow_runs(flow_filter=FlowFilter.model_validate({"name": {"any_": ["finetune"]}}))
    return [run for run in runs if str(workspace) in run.parameters["folder"]]


def _log(plant: Plant, run: UUID) -> str:
    from prefect.client.schemas.filters import LogFilter

    with plant.client() as client:
        return "\n".join(line.message for line in client.read_logs(LogFilter.model_validate({"flow_run_id": {"any_": [str(run)]}})))


def test_fine_tuning_on_its_pool_gives_what_it_gives_inline(plant: Plant, finished: Path, tmp_path: Path) -> None:
    run = plant.start(workspace=tmp_path, finetune_on="gpu")
    plant.wait(run, "Completed")
    assert_same(run_folder(tmp_path, run), finished)
