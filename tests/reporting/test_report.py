"""The page: what it says, what it must not say, and that it stays one safe file. Runs are made up (conftest.py)."""

import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from tasks.errors import StepError
from tasks.reporting import charts, formats
from tasks.reporting.report import write_report

HOSTILE = '<script>alert("x")</script>'
DOI = "https://doi.org/10.14281/18241.24"


class Page(HTMLParser):
    """The text that a reader sees, the elements, and everything that an element points to."""

    def __init__(self, source):
        super().__init__()
        self.words, self.tags, self.links, self.captions = [], [], [], 0
        self._hidden = False
        self.feed(source)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self._hidden = tag == "style"
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href", "data", "action", "srcset")]

    def handle_endtag(self, tag):
        self._hidden = False

    def handle_data(self, data):
        if not self._hidden:
            self.words.append(data)


def page_of(folder):
    return Page(write_report(folder).read_text(encoding="utf-8"))


@pytest.fixture
def undrawn(monkeypatch):
    """Charts take two seconds a page, and what a page says does not depend on them."""
    monkeypatch.setattr(charts, "draw", lambda chart, **_: "")


def change_summary(folder, change):
    path = folder / "summary.json"
    summary = json.loads(path.read_text())
    change(summary)
    path.write_text(json.dumps(summary))


def test_the_page_shows_the_numbers_of_the_summary_beside_their_baselines(made_up_run):
    folder = made_up_run()
    page = page_of(folder)
    summary = json.loads((folder / "summary.json").read_text())
    accuracies = [summary[model]["accuracy"] for model in ("base", "tuned")]
    accuracies += [entry["accuracy"] for entry in summary["baselines"].values()]
    accuracies += [summary["controls"][name]["accuracy"] for name in ("blank_persona", "permuted_persona")]
    for accuracy in accuracies:
        for split in ("id_test", "ood_test"):
            assert formats.percent(accuracy[split]["value"]) in page.text
    assert formats.percent(summary["controls"]["persona_changes_answer"]["ood_test"]["value"]) in page.text


def test_a_synthetic_run_says_first_that_its_numbers_are_evidence_of_nothing(undrawn, made_up_run):
    text = page_of(made_up_run()).text
    assert text.index("evidence of nothing") < text.index("62.0%")


def test_a_run_whose_files_disagree_on_being_synthetic_is_refused(made_up_run):
    folder = made_up_run()
    change_summary(folder, lambda summary: summary.update(synthetic=False))
    with pytest.raises(StepError, match="expected the same true or false"):
        write_report(folder)
    assert not (folder / "report").exists()


def test_the_page_asks_for_nothing_from_elsewhere_and_runs_no_script(made_up_run):
    page = page_of(made_up_run())
    outward = [link for link in page.links if not link.startswith(("#", "../quality/"))]
    assert outward == [DOI]
    assert not {"script", "link", "iframe", "img", "object", "image", "use"}.intersection(page.tags)
    source = "".join(page.words)
    assert "@import" not in source


def test_styles_load_no_address(made_up_run):
    source = write_report(made_up_run()).read_text(encoding="utf-8")
    addresses = re.findall(r"url\(([^)]*)\)", source)
    assert all(address.startswith("#") for address in addresses)


def test_gates_link_to_their_data_docs(undrawn, made_up_run):
    folder = made_up_run()
    links = [link for link in page_of(folder).links if link.startswith("../quality/")]
    assert links == ["../quality/pairs/targets.html"]
    assert (folder / "report" / links[0]).is_file()


def test_hostile_labels_are_shown_as_text(made_up_run):
    levels = {"sex": (HOSTILE, "\u202eevil", "مرحبا بالعالم"), "age_group": ("x" * 5000, "\"quoted\" & 'so'")}
    page = page_of(made_up_run(levels=levels, title=HOSTILE, question=HOSTILE + "word " * 1000))
    assert "script" not in page.tags
    assert HOSTILE in page.text and "مرحبا بالعالم" in page.text and "\"quoted\" & 'so'" in page.text
    assert "\u202e" not in page.text
    assert "x" * 79 + "…" in page.text and "x" * 5000 not in page.text


def test_every_table_has_a_caption_that_says_whether_it_is_weighted(undrawn, made_up_run):
    page = page_of(made_up_run(weighted=False))
    assert page.tags.count("table") == page.tags.count("caption") > 5
    assert "UNWEIGHTED" in page.text and "weighted by" not in page.text


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("metrics", "no scores by level"),
        ("disparities", "no table of gaps"),
        ("landscape", "no landscape table"),
        ("training_log", "no training log"),
        ("subgroups", "does not say how many respondents"),
    ],
)
def test_a_missing_table_leaves_a_sentence(undrawn, made_up_run, table, sentence):
    page = page_of(made_up_run(without=(table,)))
    assert sentence in page.text and "62.0%" in page.text


def test_a_run_without_any_optional_table_still_has_its_headline(made_up_run):
    names = ("metrics", "disparities", "subgroups", "landscape", "pairs", "predictions", "training_log", "items", "options")
    assert "62.0%" in page_of(made_up_run(without=names)).text


def test_a_base_only_run_says_that_nothing_was_trained(made_up_run):
    text = page_of(made_up_run(trained=False)).text
    assert "Nothing was trained in this run" in text and "31.0%" in text and "Tuned model" not in text


def test_a_tuned_model_behind_the_national_mode_is_said_to_do_no_better(undrawn, made_up_run):
    folder = made_up_run()
    change_summary(folder, lambda summary: summary["tuned"]["accuracy"]["ood_test"].update(value=0.5))
    text = page_of(folder).text
    assert "the tuned model does no better than that, it is 8.0 points behind, so these numbers do not show that it knows subgroups apart" in text


def test_a_small_lead_over_the_national_mode_is_not_called_better(undrawn, made_up_run):
    folder = made_up_run()
    change_summary(folder, lambda summary: summary["tuned"]["accuracy"]["ood_test"].update(value=0.59))
    assert "does no better than that, within 2 points (+1.0), which is too close to tell apart here" in page_of(folder).text


def test_a_lead_whose_interval_holds_zero_is_not_called_better(undrawn, made_up_run):
    folder = made_up_run()
    gained = {"accuracy": {"ood_test": {"value": 0.04, "low": -0.01, "high": 0.09}}}
    change_summary(folder, lambda summary: summary["differences"].update({"tuned-national_mode": gained}))
    assert "does no better than that, +4.0 points with an interval from −1.0 to +9.0, which is too close to tell apart here" in page_of(folder).text


def test_a_tuned_model_that_needs_no_persona_is_said_to_do_no_better_with_one(undrawn, made_up_run):
    folder = made_up_run()
    change_summary(folder, lambda summary: summary["controls"]["blank_persona"]["accuracy"]["ood_test"].update(value=0.62))
    assert "these numbers do not show that it makes use of the persona" in page_of(folder).text


def test_subgroups_under_the_minimum_are_not_shown(undrawn, made_up_run):
    folder = made_up_run()
    path = folder / "tables" / "subgroups.parquet"
    subgroups = pd.read_parquet(path)
    small = subgroups["levels"].map(lambda levels: "65+" in levels)
    assert "age group: 65+ ·" in page_of(folder).text
    subgroups.loc[small, "respondents"] = 29
    subgroups.to_parquet(path)
    assert "age group: 65+ ·" not in page_of(folder).text


def test_limitations_and_citation_are_on_every_page(undrawn, made_up_run):
    folder = made_up_run(trained=False)
    text = page_of(folder).text
    for passage in ("One split", "Intervals draw the questions anew", "Overlap is kept", "World Values Survey: Round Seven", "doi:10.14281/18241.24"):
        assert passage in text
    assert json.loads((folder / "summary.json").read_text())["survey"]["file_sha256"] in text


def test_a_report_replaces_the_former_one_whole(made_up_run):
    folder = made_up_run()
    first = write_report(folder).read_text(encoding="utf-8")
    assert write_report(folder).read_text(encoding="utf-8") == first
    assert [path.name for path in (folder / "report").iterdir()] == ["index.html"]


def test_a_summary_without_a_baseline_is_refused(made_up_run):
    folder = made_up_run()
    change_summary(folder, lambda summary: summary["baselines"].pop("national_mode"))
    with pytest.raises(StepError, match="never shown without its baseline"):
        write_report(folder)
