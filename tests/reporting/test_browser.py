"""The report in a browser: what a reader sees and can do, in light, dark, narrow and print; and that nothing leaves the page.

Needs Debian's Chromium (make setup-system). Without it these tests are skipped, except where CI=true. Screenshots: workspace/screenshots/.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from tasks.reporting.report import write_report
from tests.reporting.asked_otherwise import add_evidence
from tests.reporting.browser import SCREENSHOTS, chromium, needs_chromium

pytestmark = needs_chromium

HOSTILE = ('<script>window.broken = true</script>"><img src=x onerror="window.broken = true">', "\u202eevil", "مرحبا بالعالم", "=1+1")
STUDY = {
    "sex": ("Female", "Male"),
    "age_group": ("16-24", "25-34", "35-44", "45-54", "55-64", "65+"),
    "ethnicity": ("Chinese", "Malay", "South Asian"),
    "religion": ("Buddhist", "None", "Hindu", "Muslim", "Other", "Protestant", "Roman Catholic"),
}
MOST_BYTES = 6_000_000
SMALLEST_TEXT = 12
SMALL_TEXTS = """() => {
  const scale = (svg) => svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const small = [];
  while (walker.nextNode()) {
    const holder = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !holder.checkVisibility() || holder.closest("script, noscript")) continue;
    const size = parseFloat(getComputedStyle(holder).fontSize) * scale(holder.closest("svg"));
    if (size < 11.99) small.push(`${size.toFixed(1)} px: ${walker.currentNode.textContent.trim().slice(0, 40)}`);
  }
  return small;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def opened(browser):
    """Open a report; whatever goes wrong in it, and whatever it asks for, is a failure when the test ends."""
    wrong, contexts = [], []

    def open_page(path, *, width=1280, scheme="light", scripts=True):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=scripts)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: wrong.append(f"request: {request.url}") if request.url != path.as_uri() else None)
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def report(made_up_run) -> Path:
    folder = made_up_run()
    add_evidence(folder)
    return write_report(folder)


def names_of(page) -> list[str]:
    return page.locator("#g-table tbody th").all_text_contents()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_its_window_with_readable_text(report, opened, scheme, width):
    page = opened(report, width=width, scheme=scheme)
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(SMALL_TEXTS) == []
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"report-{scheme}-{width}.png", full_page=True)


def test_figures_are_dark_on_a_dark_page(report, opened):
    page = opened(report, scheme="dark")
    card = page.locator("figure .card").first.evaluate("one => getComputedStyle(one).backgroundColor")
    painted = page.locator(".wide svg.chart").evaluate_all("all => all.map(one => getComputedStyle(one.querySelector('rect, path')).fill)")
    assert card == "rgb(28, 34, 40)" and set(painted) == {card}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility_has_no_serious_finding(report, opened, scheme):
    page = opened(report, scheme=scheme)
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    found = Axe().run(page).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], one["nodes"][0]["html"][:200], one["nodes"][0]["failureSummary"][:300]) for one in serious] == []


def test_subgroups_are_filtered_by_dimension_and_name(report, opened):
    page = opened(report)
    everything = names_of(page)
    page.select_option("#g-dimension", "sex × religion")
    crossed = names_of(page)
    assert crossed and set(crossed) < set(everything) and all("sex:" in name and "religion:" in name for name in crossed)
    page.fill("#g-text", "MUSLIM")
    assert names_of(page) == [name for name in crossed if "Muslim" in name]
    page.fill("#g-text", "nobody")
    assert names_of(page) == [] and "No row" in page.inner_text("#g-told")


def test_columns_are_sorted_by_the_keyboard_and_say_so(report, opened):
    page = opened(report)
    page.locator("#g-table th[data-key=tuned] button").focus()
    page.keyboard.press("Enter")
    heading = page.locator("#g-table th[data-key=tuned]")
    assert heading.get_attribute("aria-sort") == "descending"
    values = page.locator("#g-table tbody tr td:nth-of-type(5)").evaluate_all("all => all.map(one => parseFloat(one.textContent))")
    assert len(values) > 3 and values == sorted(values, reverse=True)
    page.keyboard.press("Enter")  # the focus stays on the heading
    assert heading.get_attribute("aria-sort") == "ascending"


def test_the_plot_shows_the_numbers_of_its_row_for_every_metric(report, opened):
    page = opened(report)
    page.select_option("#g-kind", "Levels")
    for metric, unit in (("accuracy", "%"), ("nmae", ""), ("emd", "")):
        page.select_option("#g-metric", metric)
        ends = [float(text.strip("%")) for text in page.locator("#g-table .axis span").all_text_contents()]
        row = page.locator("#g-table tbody tr").first
        base = float(row.locator("td:nth-of-type(4)").evaluate("one => one.firstChild.textContent").strip("%"))
        left = float(row.locator(".plot .diamond").evaluate("one => one.style.left").strip("%"))
        assert ends[0] + left / 100 * (ends[1] - ends[0]) == pytest.approx(base, abs=0.6 if unit else 0.006)
        assert row.locator(".plot .dot").count() == row.locator(".plot .below").count() == 1


def test_a_question_and_a_subgroup_show_survey_base_and_tuned_side_by_side(report, opened):
    page = opened(report)
    page.select_option("#q-item", index=2)
    page.select_option("#q-group", label="sex: Female · religion: Muslim")
    assert page.locator("#q-table thead th").all_text_contents() in (["Option", "Survey", "Base model", "Tuned model"], ["Option", "Survey"])
    rows = page.locator("#q-table tbody tr")
    assert rows.locator("th").all_text_contents() == ["Agree strongly", "Agree", "Disagree", "Disagree strongly"]
    shares = rows.locator("td:nth-of-type(1)").evaluate_all("all => all.map(one => parseInt(one.textContent))")
    assert 98 <= sum(shares) <= 102
    likeliest = rows.nth(shares.index(max(shares)))
    assert "✓" in likeliest.locator("td").first.inner_text()
    assert f"Survey: {likeliest.locator('th').inner_text()}" in page.inner_text("#q-told")


def test_a_pair_that_was_not_tested_says_so(report, opened):
    page = opened(report)
    place = page.locator("#q-group optgroup[label='Survey only'] option").first.get_attribute("value")
    page.select_option("#q-group", place)
    assert "their answers are not known" in page.inner_text("#q-told") and page.locator("#q-table thead th").count() == 2


def test_tables_are_downloaded_as_csv(report, opened):
    page = opened(report)
    with page.expect_download() as download:
        page.locator("#accuracy ~ .scroll .csv").first.click()
    assert download.value.suggested_filename == "unseen-subgroups.csv"
    lines = Path(download.value.path()).read_text(encoding="utf-8-sig").splitlines()
    assert lines[0].startswith('"","Accuracy"') and any(line.startswith('"Tuned model","62.0% (52.0 to 72.0)"') for line in lines)


def test_hostile_labels_are_text_on_the_page_and_no_formula_in_a_download(made_up_run, opened):
    levels = {"sex": HOSTILE, "age_group": ("x" * 5000, "\"quoted\" & 'so'")}
    folder = made_up_run(levels=levels, title=HOSTILE[0], question=HOSTILE[0])
    add_evidence(folder, text=HOSTILE[0])
    page = opened(write_report(folder))
    page.select_option("#g-kind", "Levels")
    assert page.evaluate("window.broken") is None and page.locator("img").count() == 0
    assert page.inner_text("h1") == HOSTILE[0]
    shown = names_of(page)
    assert any(HOSTILE[0][:60] in name for name in shown) and any("مرحبا" in name for name in shown) and not any("\u202e" in name for name in shown)
    assert HOSTILE[0] in page.inner_text("#q-wording")
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    with page.expect_download() as download:
        page.locator("details", has_text="The same as a table").locator(".csv").click()
    assert '"\'=1+1"' in Path(download.value.path()).read_text(encoding="utf-8-sig")


def test_paper_gets_everything_and_no_controls(report, opened):
    page = opened(report)
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator("nav, .csv, .controls").evaluate_all("all => all.some(one => one.checkVisibility())")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator(".explorer").evaluate("one => one.scrollHeight <= one.clientHeight + 1")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    paper = page.pdf(path=SCREENSHOTS / "report.pdf", format="A4")
    assert paper.startswith(b"%PDF") and len(paper) > 50_000


def test_without_scripts_everything_but_the_explorers_is_there(report, opened):
    page = opened(report, scripts=False)
    assert "62.0%" in page.inner_text("#accuracy ~ .scroll") and page.locator("noscript").count() == 2
    assert not page.locator("#groups-explorer").is_visible() and page.locator(".csv").count() == 0


def test_a_large_study_stays_small_and_its_explorers_work(made_up_run, opened):
    topics = {f"Q{number}": f"Topic {number % 13}" for number in range(1, 251)}
    path = write_report(made_up_run(levels=STUDY, topics=topics))
    assert path.stat().st_size <= MOST_BYTES
    page = opened(path)
    page.locator("#q-table tbody tr").first.wait_for()
    assert len(names_of(page)) > 30
    page.fill("#g-text", "Hindu")
    assert names_of(page) and all("Hindu" in name for name in names_of(page))
