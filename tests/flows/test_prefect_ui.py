"""The Prefect UI in a browser: what it shows of a run that finished and of one that a gate stopped; and the runbook's commands on them.

Needs Debian's Chromium (make setup-system). Without it these tests are skipped, except where CI=true. Screenshots: workspace/screenshots/.
"""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from tasks.intake.synthetic import write_synthetic_survey
from tests.flows.command import dimensions, environment, server_up, valuescape, with_unknown_codes, write_study
from tests.flows.plant import PREFECT
from tests.reporting.browser import SCREENSHOTS, needs_chromium, page_of_prefect
from tests.training.tiny import save_model

pytestmark = [pytest.mark.flow, needs_chromium]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the server of a run that finished and, of a damaged survey, one that did not pass its first gate."""
    folder = tmp_path_factory.mktemp("seen")
    model, three = save_model(folder / "tiny"), dimensions("sex", "age_group", "religion")
    small = {"items": {"include": ["Q1", "Q57"]}, "evaluation": {"order0": False}, "dimensions": three}
    survey = with_unknown_codes(write_synthetic_survey(folder))
    with server_up(folder / "workspace") as address:
        finished = valuescape("run", write_study(folder, **small), "--model", model, "--workspace", folder / "workspace")
        assert finished.code == 0, finished.err
        damaged = write_study(folder, **small, name="damaged", survey={"country": "SGP"})
        stopped = valuescape("run", damaged, "--model", model, "--survey", survey, "--workspace", folder / "workspace")
        assert stopped.code == 1, stopped.err
        yield address


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Any]:
    with page_of_prefect() as page:
        asked: set[str] = set()
        page.on("request", lambda request: asked.add(request.url))
        yield page
    assert {url for url in asked if not url.startswith((address, f"blob:{address}", "data:"))} == set(), "the UI asks this server only"


def open_run(page: Any, address: str, name: str) -> None:
    """By its name in the list of runs, as people do."""
    page.goto(f"{address}/runs")
    page.get_by_role("link", name=name).first.click()
    page.wait_for_url("**/runs/flow-run/*")


def assert_artifact(page: Any, key: str, *texts: str) -> None:
    """Opened from the page of its run, it shows the texts."""
    page.get_by_text("Artifacts", exact=True).first.click()
    page.get_by_text(key, exact=True).first.click()
    page.locator(f'a[href="/artifacts/key/{key}"]').first.wait_for()
    for text in texts:
        expect(page.locator("body")).to_contain_text(text, timeout=30_000)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"prefect-{key}.png", animations="disabled")


SHOWN = {
    "headline": ("Tuned model", "National mode", "ood_test accuracy"),
    "disparity": ("age group", "SD of levels, tuned", "worst level"),
    "gates": ("tuned predictions", "rules that hold", "quality/index.html"),
    "report": ("The report", "report/index.html", "Synthetic survey: evidence of nothing."),
    "fine-tuning": ("100",),
    "lineage": ("take in the survey",),
}


@pytest.mark.parametrize("key", SHOWN)
def test_a_finished_run_shows_its_artifacts(page: Any, address: str, key: str) -> None:
    open_run(page, address, "study: small · tiny")
    assert_artifact(page, key, *SHOWN[key])


def test_a_run_that_a_gate_stopped_says_which_rule_and_what_to_do_next(page: Any, address: str) -> None:
    open_run(page, address, "study: damaged · tiny")
    page.get_by_text("Failed", exact=True).first.wait_for()
    rule = "assert_answer_quarantine_within_limit"
    assert_artifact(page, "gate-intake", "Gate failed: intake", rule, "item=Q57", "What to do next", "Retry this run")


def test_the_runbook_s_commands_find_the_failed_run_and_its_reason_and_cancel_one_that_waits(address: str) -> None:
    def prefect(*words: str) -> str:
        given = environment(PREFECT_API_URL=f"{address}/api")
        return subprocess.run([PREFECT, *words], env=given, capture_output=True, text=True, check=True).stdout

    (failed,) = json.loads(prefect("flow-run", "ls", "--state", "FAILED", "-o", "json"))
    assert failed["name"].startswith("study: damaged")
    assert "assert_answer_quarantine_within_limit" in prefect("flow-run", "logs", failed["id"], "--tail", "-n", "20")
    assert "National mode" in prefect("artifact", "inspect", "headline")
    waits = {"flow_id": failed["flow_id"], "state": {"type": "SCHEDULED"}}
    waiting = httpx.post(f"{address}/api/flow_runs/", json=waits).raise_for_status().json()["id"]
    prefect("flow-run", "cancel", waiting)
    assert httpx.get(f"{address}/api/flow_runs/{waiting}").json()["state_type"] in ("CANCELLED", "CANCELLING")
