"""The page: what it says, what it must not say, and that it stays one safe file. Runs are made up (conftest.py)."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from rich.console import Console

from tasks.errors import StepError
from tasks.reporting import charts, formats, report
from tasks.reporting.contents import SPLITS, read_contents
from tasks.reporting.report import write_report
from tasks.reporting.summary import headline_table
from tests.reporting.asked_otherwise import add_evidence, resummarised

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
        self._hidden = tag in ("style", "script")
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


def test_the_page_asks_for_nothing_from_elsewhere_and_runs_its_own_script_only(made_up_run):
    source = write_report(made_up_run()).read_text(encoding="utf-8")
    page = Page(source)
    outward = [link for link in page.links if not link.startswith(("#", "../quality/"))]
    assert outward == [DOI]
    assert not {"link", "iframe", "img", "object", "image", "use"}.intersection(page.tags)
    assert "@import" not in source
    ours = (report.TEMPLATES / "explorer.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(ours.encode()).digest()).decode()
    assert f"<script>{ours}</script>" in source and f"script-src 'sha256-{digest}'" in source and page.tags.count("script") == 2


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
    assert page.tags.count("script") == 2  # the page's own
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
        ("landscape", "no landscape table"),
        ("training_log", "no training log"),
        ("subgroups", "does not say how many respondents"),
    ],
)
def test_a_missing_table_leaves_a_sentence(undrawn, made_up_run, table, sentence):
    page = page_of(made_up_run(without=(table,)))
    assert sentence in page.text and "62.0%" in page.text


def test_missing_parts_leave_a_sentence(undrawn, made_up_run):
    folder = made_up_run()
    change_summary(folder, lambda summary: summary.update(disparity={}))
    text = page_of(folder).text
    for sentence in ("no table of gaps", "in one wording only", "in one way only", "asked for no free answers", "did not ask"):
        assert sentence in text


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
    assert "is not shown to do better than that: within 2 points (+1.0), too close to tell apart here" in page_of(folder).text


def test_a_lead_whose_interval_holds_zero_is_not_called_better(undrawn, made_up_run):
    folder = made_up_run()
    gained = {"accuracy": {"ood_test": {"value": 0.04, "low": -0.01, "high": 0.09}}}
    change_summary(folder, lambda summary: summary["differences"].update({"tuned-national_mode": gained}))
    assert "is not shown to do better than that: +4.0 points with an interval from −1.0 to +9.0, too close to tell apart here" in page_of(folder).text


@pytest.mark.parametrize(("p", "told"), [(0.0123, " points, in a paired test p 0.012."), (0.0005, " p under 0.001."), (None, "+49.8) points.")])
def test_the_change_has_the_p_of_its_paired_test_where_there_is_one(undrawn, made_up_run, p, told):
    folder = made_up_run()
    gained = {"accuracy": {"ood_test": {"value": 0.31, "low": 0.1, "high": 0.498, "p": p}}}
    change_summary(folder, lambda summary: summary["differences"].update({"tuned-base": gained}))
    assert told in page_of(folder).text


def test_a_tuned_model_that_needs_no_persona_is_said_to_do_no_better_with_one(undrawn, made_up_run):
    folder = made_up_run()
    change_summary(folder, lambda summary: summary["controls"]["blank_persona"]["accuracy"]["ood_test"].update(value=0.62))
    assert "these numbers do not show that it makes use of the persona" in page_of(folder).text


def explored(folder):
    source = write_report(folder).read_text(encoding="utf-8")
    return json.loads(re.search(r'id="explorer-data">(.*?)</script>', source, re.DOTALL).group(1))


def test_subgroups_under_the_minimum_are_not_shown(undrawn, made_up_run):
    folder = made_up_run()
    path = folder / "tables" / "subgroups.parquet"
    subgroups = pd.read_parquet(path)
    small = subgroups["levels"].map(lambda levels: "65+" in levels)

    def named():
        data = explored(folder)
        return [text for text in [*(group["n"] for group in data["groups"]), *data["subgroups"]] if "65+" in text]

    assert named()
    subgroups.loc[small, "respondents"] = 29
    subgroups.to_parquet(path)
    assert not named()


def test_the_explorers_have_whole_percents_rounded_respondents_and_every_metric(undrawn, made_up_run):
    folder = made_up_run()
    add_evidence(folder)
    data = explored(folder)
    level = next(group for group in data["groups"] if group["n"] == "sex: Female")
    assert level["r"].startswith("about ") and int(level["r"].split()[1]) % 10 == 0
    pairs, numbers = level["of"]["ood_test"]
    assert pairs == 12 and set(numbers) == {"accuracy", "nmae", "emd"}
    assert numbers["accuracy"][6] == pytest.approx(numbers["accuracy"][3] - numbers["accuracy"][0], abs=2e-4)
    cells = [shares for question in data["questions"] for cell in question["c"].values() for shares in cell]
    assert all(isinstance(share, int) for shares in cells for share in shares) and all(abs(sum(cell) - 100) <= 42 for cell in cells)
    assert {len(cell) for question in data["questions"] for cell in question["c"].values()} == {1, 3}  # survey only; survey, base and tuned


def test_the_summary_says_what_was_studied_whether_it_helped_for_whom_and_how_sure(undrawn, made_up_run):
    folder = made_up_run()
    add_evidence(folder)
    text = page_of(folder).text
    assert "it stays behind the strongest baseline without a language model (additive)" in text
    assert "accuracy surely rose in" in text and "not adjusted for being many" in text
    assert "(Holm-adjusted over 9 tests), differences between levels changed: wider in NMAE by sex" in text
    assert "no more than 0.02 is established for 3 of the 9: EMD by" in text
    assert "accuracy falls most with letters instead of numbers: −21.0 (−30.0 to −10.0) points, so the result depends on how" in text


def test_a_model_that_is_ahead_of_every_baseline_is_said_to_be(undrawn, made_up_run):
    folder = made_up_run()
    change_summary(folder, lambda summary: summary["tuned"]["accuracy"]["ood_test"].update(value=0.75))
    assert "beyond every baseline without a language model" in page_of(folder).text


def test_a_baseline_and_a_control_that_the_report_does_not_know_appear_by_themselves(undrawn, made_up_run):
    folder = made_up_run()
    accuracy = {"accuracy": {"ood_test": {"value": 0.5432, "low": None, "high": None}}}
    change_summary(folder, lambda summary: (summary["baselines"].update(crystal_ball=accuracy), summary["controls"].update(shuffled_words=accuracy)))
    text = page_of(folder).text
    assert "Crystal ball 54.3%" in text and "Tuned, shuffled words 54.3%" in text


def test_other_words_other_readers_and_what_a_server_took_are_shown(undrawn, made_up_run):
    folder = made_up_run()
    add_evidence(folder)
    text = page_of(folder).text
    total = sum(read_contents(folder).summary["pairs"][split] for split in SPLITS)
    assert f"To save time this was asked of a sample: 30 of the {total} test pairs" in text
    assert "letters instead of numbers 30 62.0% 41.0% −21.0 (−30.0 to −10.0) 50.0%" in text
    assert "likelihood and generated text 30 80.0% 0.710 31.0% 29.0% 40.0% 100.0% 0 4" in text
    assert "test pairs 120 24,000 720 0.25 In all 240 48,000 1,440 0.50" in text and "HTTP 429: 3" in text
    assert "the base model 40.0% on average, and 0 of its" in text


@pytest.mark.parametrize(("kappa", "usable"), [(0.59, False), (0.6, True)])
def test_a_judge_below_a_kappa_of_0_6_makes_the_transfer_result_unusable(undrawn, made_up_run, kappa, usable):
    folder = made_up_run()
    add_evidence(folder, kappa=kappa)
    text = page_of(folder).text
    assert ("This result is not to be used" in text) is not usable
    assert ("Answering freely, without options, the tuned model is right in" in text) is usable


def test_hostile_free_answers_are_shown_as_text(undrawn, made_up_run):
    folder = made_up_run()
    add_evidence(folder, text=HOSTILE)
    page = page_of(folder)
    assert page.tags.count("script") == 2 and HOSTILE in page.text


def test_five_thousand_subgroups_render_and_what_is_left_out_is_said(undrawn, made_up_run):
    folder = made_up_run()
    known = pd.read_parquet(folder / "tables" / "subgroups.parquet")
    many = [
        {"subgroup_id": f"sex=Female|town={place}", "subgroup_order": 2, "dimension": "sex x town", "dimensions": ["sex", "town"],
         "levels": ["Female", f"Town {place}"], "respondents": 30 + place % 50}
        for place in range(5000)
    ]  # fmt: skip
    pd.concat([known, pd.DataFrame(many)], ignore_index=True).to_parquet(folder / "tables" / "subgroups.parquet")
    names = [row["subgroup_id"] for row in many]
    for table, key in (("pairs", "subgroup_id"), ("metrics", "group")):
        frame = pd.read_parquet(folder / "tables" / f"{table}.parquet")
        model = frame[frame["dimension"] == "subgroup"].head(1) if table == "metrics" else frame.head(1)
        added = pd.concat([model] * 5000, ignore_index=True).assign(**{key: names})
        pd.concat([frame, added], ignore_index=True).to_parquet(folder / "tables" / f"{table}.parquet")
    path = write_report(folder)
    text = Page(path.read_text(encoding="utf-8")).text
    assert path.stat().st_size < 6_000_000 and "62.0%" in text
    assert f"Of {5000 + len(known):,} subgroups the 1,000 largest are shown." in text


def test_replications_show_how_far_the_seeds_matter(undrawn, made_up_run):
    folder = made_up_run()
    row = {"model": "tuned-base", "split": "ood_test", "reader": "likelihood", "variant": "plain", "weighting": "pairs", "dimension": "all"}
    row |= {"group": "all", "metric": "accuracy", "replications": 3, "value": 0.29, "sd": 0.021, "low": 0.24, "high": 0.34}
    pd.DataFrame([row]).to_parquet(folder / "tables" / "replications.parquet")
    assert "tuned model less base model 3 0.021 0.290 (0.240 to 0.340)" in page_of(folder).text


def test_the_card_names_the_precision_that_ran(undrawn, made_up_run):
    """Where `auto` chose it, on whichever hardware: neither the study nor this machine would say it."""
    folder = made_up_run()
    assert "SmolLM2-135M-Instruct" in (text := page_of(folder).text) and ", in float32 Training" in text and "2.0 epochs, in bfloat16" in text


def test_what_is_unseen_is_named_as_the_study_holds_it_out(undrawn, made_up_run):
    folder = made_up_run()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["study"]["split"]["kind"] = "unseen_country"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    text = page_of(folder).text
    assert "of countries that were kept out of training" in text and "Unseen countries (ood_test)" in text and "Unseen subgroups" not in text


def test_a_study_of_one_subgroup_and_no_ordinal_question_renders(undrawn, made_up_run):
    folder = made_up_run()
    for name in ("metrics", "pairs", "predictions", "subgroups", "landscape", "disparities"):
        path = folder / "tables" / f"{name}.parquet"
        frame = pd.read_parquet(path)
        if name == "metrics":
            frame = frame[frame["dimension"].isin(["all"]) & (frame["metric"] == "accuracy")]
        elif name in ("landscape", "disparities"):
            frame = frame.head(0)
        else:
            frame = frame[frame["subgroup_id"].isin(["all", "sex=Female|age_group=16-24"])]
        frame.to_parquet(path)
    resummarised(folder)
    text = page_of(folder).text
    assert "no scores by level" in text and "no table of gaps" in text and "no landscape table" in text and "62.0%" in text


def test_a_mixed_study_is_called_unweighted_in_part_everywhere(undrawn, made_up_run):
    folder = made_up_run(weighted=False)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["survey"]["weight_column"] = "W_WEIGHT, none"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    summary = resummarised(folder)
    said = "UNWEIGHTED in part (weights of the files: W_WEIGHT, none)"
    assert summary["survey"]["weighting"] == said and said in page_of(folder).text
    console = Console(width=200, record=True)
    console.print(headline_table(summary))
    assert "UNWEIGHTED in part" in console.export_text()


def test_a_damaged_table_is_named(undrawn, made_up_run):
    folder = made_up_run()
    (folder / "tables" / "metrics.parquet").write_bytes(b"cut off")
    with pytest.raises(StepError, match="metrics.parquet is not readable Parquet"):
        write_report(folder)


def test_a_run_that_did_not_finish_is_said_to_lack_its_summary(made_up_run):
    folder = made_up_run()
    (folder / "summary.json").unlink()
    with pytest.raises(StepError, match="summary.json is missing"):
        write_report(folder)


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
