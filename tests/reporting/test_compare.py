"""Several runs on one page: what it says, what it refuses, and how it looks in a browser."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe

from tasks.errors import InputError, StepError
from tasks.reporting.compare import write_comparison_page
from tasks.reporting.summary import Facts, write_summary
from tests.reporting.browser import chromium, needs_chromium
from tests.reporting.invention import invented


@pytest.fixture
def two_runs(made_up_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same study twice; the second trained twice as long and answers some pairs otherwise."""
    made, place = made_up_run(), tmp_path_factory.mktemp("runs")
    return _run(made, place / "one", epochs=2.0, other_answers=False), _run(made, place / "two", epochs=4.0, other_answers=True)


def _run(made: Path, folder: Path, *, epochs: float, other_answers: bool) -> Path:
    shutil.copytree(made, folder)
    tables = {path.stem: pd.read_parquet(path) for path in (folder / "tables").glob("*.parquet")}
    pairs, told = tables["pairs"], tables["predictions"]
    known: dict[str, Any] = {"scale": "ordinal", "effective_n": 50.0, "mode_certainty": 0.9, "differs": False, "weight_share": 0.1}
    tables["pairs"] = pairs.assign(
        **known, posterior=[[50 * share + 1 for share in row] for row in pairs["shares"]], tied_codes=[[code] for code in pairs["code"]]
    )
    tables["predictions"] = told.assign(codes=[[1, 2, 3, 4]] * len(told))
    if other_answers:
        tables["predictions"].loc[told["model"] == "tuned", "choice"] = [
            1 + int(3 * invented(item)) for item in told.loc[told["model"] == "tuned", "item"]
        ]
    spread = {
        name: tables["disparities"][["model", "dimension"]].apply(lambda row, end=name: 0.001 * invented(*row, end), axis=1)
        for name in ("between", "high")
    }
    tables["disparities"] = tables["disparities"].assign(
        between=spread["between"], low=-spread["high"], high=spread["high"] + spread["between"], p=0.3
    )
    for name, table in tables.items():
        table.to_parquet(folder / "tables" / f"{name}.parquet")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"run_id": folder.name, "study": manifest["study"] | {"training": {"objective": "distribution", "epochs": epochs}}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    write_summary(folder, Facts("made-up", folder.name, manifest["survey"], {}, {"passed": 9, "failed": 0}))
    return folder


def test_it_says_what_differs_and_tests_it_over_the_common_pairs(two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    page = write_comparison_page(two_runs, out=tmp_path / "compare.html", other_surveys=False).read_text(encoding="utf-8")
    assert "training.epochs" in page and "subgroups.order" not in page
    assert "B&#39;s tuned model is" in page and "common pairs of 6 questions" in page
    assert "B less A: Accuracy" in page and "Synthetic survey: these numbers are evidence of nothing." in page
    assert "National mode" in page


def test_runs_on_different_surveys_are_refused_unless_told(two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    summary = json.loads((two_runs[1] / "summary.json").read_text())
    summary["survey"] |= {"file_sha256": "f" * 64, "wave": 6}
    (two_runs[1] / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(InputError, match="different surveys .*SGP, 7.*SGP, 6.*--other-surveys"):
        write_comparison_page(two_runs, out=tmp_path / "compare.html", other_surveys=False)
    assert not (tmp_path / "compare.html").exists()
    page = write_comparison_page(two_runs, out=tmp_path / "compare.html", other_surveys=True).read_text(encoding="utf-8")
    assert "a difference may be the survey&#39;s and not the model&#39;s" in page


def test_one_run_and_a_damaged_one_are_refused(two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 runs, 1 of them different"):
        write_comparison_page([two_runs[0], two_runs[0]], out=tmp_path / "compare.html", other_surveys=False)
    (two_runs[1] / "summary.json").write_text("{")
    with pytest.raises(StepError, match="not readable JSON"):
        write_comparison_page(two_runs, out=tmp_path / "compare.html", other_surveys=False)


@needs_chromium
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_in_a_browser_it_fits_asks_for_nothing_and_has_no_serious_finding(
    two_runs: tuple[Path, Path], tmp_path: Path, scheme: Any, width: int
) -> None:
    path = write_comparison_page(two_runs, out=tmp_path / "compare.html", other_surveys=False)
    with chromium() as browser:
        page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
        wrong: list[str] = []
        page.on("console", lambda message: wrong.append(message.text))
        page.on("request", lambda request: wrong.append(request.url) if request.url != path.as_uri() else None)
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("svg.chart").first.is_visible() or page.locator("svg.chart").last.is_visible()
        assert wrong == []
        page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
        serious = [one for one in Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")]
        assert [(one["id"], one["nodes"][0]["html"][:200]) for one in serious] == []
