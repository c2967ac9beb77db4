"""A day of an ops team, in Chromium: a file is dropped, its study is watched, its trainer is killed, Retry is clicked.

Any survey file can be the one that is dropped: VALUESCAPE_REAL_FILE=FILE, as for make test-real. What is left of it goes with the test's folder.
Any model can be the one that is trained: VALUESCAPE_REAL_MODEL=sample; it trains for six epochs instead of ten.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
import yaml

from tasks.intake.synthetic import write_synthetic_survey
from tests.flows.plant import Plant, assert_same, eventually, run_folder, running
from tests.reporting.browser import SCREENSHOTS, needs_chromium, page_of_prefect

pytestmark = [pytest.mark.flow, pytest.mark.fault, needs_chromium]
PATIENCE = 1800.0  # a real model, trained while a browser draws


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with running(tmp_path_factory.mktemp("plant")) as plant:
        yield plant


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with page_of_prefect() as page:
        yield page


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("VALUESCAPE_REAL_FILE")
    return Path(given) if given else write_synthetic_survey(tmp_path_factory.mktemp("survey"))


@pytest.fixture(scope="module")
def study(plant: Plant, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`country` on two questions, whose training lasts long enough to be met in the middle."""
    given = os.environ.get("VALUESCAPE_REAL_MODEL")
    short = {"items": {"limit": 2}, "evaluation": {"readers": [], "variants": [], "open_ended": False, "order0": False}}
    training = {"epochs": 6.0 if given else 10.0, "checkpoint_steps": 2, "evaluate_steps": 8}
    path = tmp_path_factory.mktemp("study") / "dropped.yaml"
    written = {"like": "country", "name": "dropped", "model": {"name": given or str(plant.model)}, "training": training, **short}
    path.write_text(yaml.safe_dump(written), encoding="utf-8")
    return path


def test_a_dropped_file_whose_study_loses_its_trainer_ends_as_if_undisturbed_once_retry_is_clicked(
    plant: Plant, page: Any, survey: Path, study: Path, tmp_path: Path
) -> None:
    workspace = tmp_path / "workspace"
    (workspace / "landing").mkdir(parents=True)
    shutil.copy(survey, workspace / "landing")
    run = study_started_by_a_look(plant, workspace, study)
    assert eventually(lambda: list(workspace.glob("training/*/checkpoints/step-*")), seconds=300)
    url = json.loads((plant.home / "server.json").read_text(encoding="utf-8"))["url"]
    page.goto(f"{url.removesuffix('/api')}/runs")
    page.get_by_role("link", name=re.compile("^study: dropped · ")).first.click()
    page.wait_for_url("**/runs/flow-run/*")
    page.get_by_text("Running", exact=True).first.wait_for()
    look_at(page, "running")
    assert eventually(lambda: kill_trainer(plant, run) and plant.state(run).name == "Failed", seconds=PATIENCE), (
        "it is tried again by itself, but not for ever"
    )
    page.get_by_text("Failed", exact=True).first.wait_for()
    look_at(page, "failed")
    done = plant.executions(run)
    page.get_by_role("button", name="Retry").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Retry").click()
    assert eventually(lambda: plant.state(run).name != "Failed", seconds=60)
    plant.wait(run, "Completed", seconds=PATIENCE)
    page.get_by_text("Completed", exact=True).first.wait_for()
    look_at(page, "completed")
    page.goto("about:blank")  # its graph takes half a core, and nobody looks any more
    assert set(plant.executions(run).values()) == {1}
    assert done.keys() < plant.executions(run).keys()
    assert_same(run_folder(workspace, run), undisturbed(plant, survey, study, tmp_path / "undisturbed"))


def study_started_by_a_look(plant: Plant, workspace: Path, study: Path) -> UUID:
    """What the schedule does every five minutes, or an event at once."""
    from flows.deployed import deployment_named

    with plant.client() as client:
        watch = deployment_named(client, "watch-landing/watch-landing")
        assert watch is not None
        given = {"studies": [str(study)], "workspace": str(workspace), "settle_seconds": 1.0}
        look = client.create_flow_run_from_deployment(watch.id, parameters=given)
        plant.wait(look.id, "Completed")
        (run,) = (each for each in client.read_flow_runs() if each.parameters.get("workspace") == str(workspace) and each.id != look.id)
    return UUID(str(run.id))


def kill_trainer(plant: Plant, run: UUID) -> bool:
    """Wherever there is one; a fine-tuning that lost its trainer waits, and starts another."""
    for process in plant.processes_of(run):
        with suppress(psutil.Error):
            if "tasks.training.worker" in " ".join(process.cmdline()):
                process.kill()
    return True


def look_at(page: Any, state: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"prefect-retry-{state}.png", animations="disabled")


def undisturbed(plant: Plant, survey: Path, study: Path, workspace: Path) -> Path:
    run = plant.start(study=str(study), surveys=[str(survey)], workspace=workspace, model=None)
    plant.wait(run, "Completed", seconds=PATIENCE)
    return run_folder(workspace, run)
