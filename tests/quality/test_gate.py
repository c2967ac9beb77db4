"""A gate keeps its evidence, then stops the study with one sentence; it never quotes a respondent."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.errors import GateError
from tasks.quality.gate import Gate, collect_gates, run_gate
from tasks.quality.suites import Rule, SuiteParameters, suite
from tests.quality.tables import good_tables, spoiled

MARKER = "MARKED-VALUE"
EXTERNAL = re.compile(r"<(?:link|script|img)\b[^>]*?(?:src|href)\s*=\s*[\"']?(?:https?:)?//|url\(\s*[\"']?(?:https?:)?//", re.IGNORECASE)


def failure_of(folder: Path, *, checks: dict[str, pd.DataFrame] | None = None, **tables: pd.DataFrame) -> str:
    with pytest.raises(GateError) as caught:
        run_gate(Gate("marts", tables=tables, checks=checks or {}, folder=folder))
    return str(caught.value)


def test_tables_that_meet_their_suites_and_checks_without_rows_pass(tmp_path: Path) -> None:
    tables = good_tables()
    result = run_gate(Gate("marts", tables=tables, checks={"assert_parents_exist": pd.DataFrame({"subgroup_id": []})}, folder=tmp_path))
    expected = sum(len(suite(table, SuiteParameters())) for table in tables) + 1
    assert (result.passed, result.failed, result.failures) == (expected, 0, ())


@pytest.mark.parametrize(
    ("table", "column", "value", "rule"),
    [
        ("items", "kind", "opinion", "expect_column_values_to_be_in_set(column='kind'"),
        ("items", "k", 1, "expect_column_values_to_be_between(column='k', min_value=2"),
        ("options", "position", 0, "expect_compound_columns_to_be_unique(column_list=['item', 'position'])"),
        ("stg_respondents", "respondent_id", "ab-1", "expect_column_values_to_be_unique(column='respondent_id')"),
        ("stg_respondents", "weight", 0.0, "expect_column_values_to_be_between(column='weight', min_value=0.0"),
        ("stg_respondents", "country", "Singapore", "expect_column_values_to_match_regex(column='country'"),
        ("stg_answers", "missing", "refused", "expect_column_values_to_be_in_set(column='missing'"),
        ("stg_answers", "code", -1, "expect_column_values_to_be_between(column='code', min_value=0"),
        ("subgroups", "subgroup_order", 3, "expect_column_values_to_be_in_set(column='subgroup_order'"),
        ("distributions", "share", 1.1, "expect_column_values_to_be_between(column='share'"),
        ("distributions", "respondents", 29, "expect_column_values_to_be_between(column='respondents', min_value=30"),
        ("targets", "margin", None, "expect_column_values_to_not_be_null(column='margin')"),
        ("landscape", "mds", 0.5, "expect_column_pair_values_a_to_be_greater_than_b("),
        ("pairs", "split", "train", "expect_column_unique_value_count_to_be_between(column='split', min_value=4"),
        ("predictions", "outside", 1.5, "expect_column_values_to_be_between(column='outside'"),
        ("training_log", "loss", float("inf"), "expect_column_values_to_be_between(column='loss'"),
        ("training_log", "loss", float("nan"), "expect_column_values_to_not_be_null(column='loss')"),
    ],
)
def test_a_table_that_breaks_a_rule_fails_by_the_name_of_table_and_rule(tmp_path: Path, table: str, column: str, value: Any, rule: str) -> None:
    message = failure_of(tmp_path, **{table: spoiled(table, column, value)})
    assert f"table {table}, rule {rule}" in message


@pytest.mark.parametrize("table", good_tables())
def test_an_empty_table_fails(tmp_path: Path, table: str) -> None:
    assert "found 0 rows" in failure_of(tmp_path, **{table: good_tables()[table].iloc[:0]})


def test_the_sentence_names_stage_table_rule_count_keys_evidence_and_what_to_do(tmp_path: Path) -> None:
    message = failure_of(tmp_path, targets=spoiled("targets", "respondents", 3))
    evidence = tmp_path / "quality" / "marts" / "targets.html"
    assert message == (
        "gate marts: table targets, rule expect_column_values_to_be_between(column='respondents', min_value=30.0): "
        "1 of 4 rows break it (item=Q1 subgroup_id=sex=Female|religion=None). "
        f"Evidence: {evidence}. Correct the file, the codebook or the study that this table was made from, then run the study again."
    )
    assert "must be greater than or equal to" in evidence.read_text(encoding="utf-8")


def test_a_check_that_returns_rows_fails_by_its_meaning_count_and_first_three_keys(tmp_path: Path) -> None:
    rows = pd.DataFrame({"item": [f"Q{number}" for number in range(5)], "subgroup_id": "all", "total_share": 0.9})
    message = failure_of(tmp_path, checks={"assert_shares_sum_to_one": rows})
    assert "check sql/checks/assert_shares_sum_to_one.sql, rule expect_table_row_count_to_equal(value=0): found 5 rows" in message
    keys = "item=Q0 subgroup_id=all; item=Q1 subgroup_id=all; item=Q2 subgroup_id=all"
    assert f"({keys}), where none may be: one row per cell whose shares do not sum to 1" in message
    assert "one row per cell whose shares do not sum to 1" in (tmp_path / "quality/marts/assert_shares_sum_to_one.html").read_text(encoding="utf-8")


def test_a_rule_that_cannot_be_evaluated_is_a_failure_that_says_so(tmp_path: Path) -> None:
    message = failure_of(tmp_path, items=good_tables()["items"].drop(columns="topic"))
    assert "rule expect_column_values_to_not_be_null(column='topic') could not be evaluated: there is no column topic (columns: item, kind" in message


def test_an_answer_is_counted_but_never_quoted(tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    answers, respondents = good_tables()["stg_answers"], good_tables()["stg_respondents"]
    answers["missing"] = MARKER
    answers["code"] = MARKER  # the wrong type as well: the comparison with 0 cannot be made
    respondents["country"] = respondents["respondent_id"] = MARKER
    message = failure_of(tmp_path, stg_answers=answers, stg_respondents=respondents, checks={"assert_parents_exist": respondents})
    kept = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) > 5
    assert not [text for text in [message, caplog.text, *capfd.readouterr(), *kept] if MARKER in text]
    failures = json.loads((tmp_path / "quality" / "marts.json").read_text(encoding="utf-8"))["failures"]
    assert any("column='missing'" in failure and "2 of 2 rows break it" in failure for failure in failures)
    assert any("could not be evaluated: the column holds values of another type" in failure for failure in failures)


def test_the_pages_load_nothing_from_another_host_and_link_to_what_exists(tmp_path: Path) -> None:
    failure_of(tmp_path, **(good_tables() | {"targets": spoiled("targets", "margin", 2.0)}))
    pages = list((tmp_path / "quality").rglob("*.html"))
    assert len(pages) == len(good_tables()) + 1
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not EXTERNAL.search(text), page
        assert "<script" not in text
        links = [link for link in re.findall(r"href=[\"']([^\"'#]+)", text) if not link.startswith("#")]
        assert links and all((page.parent / link).is_file() for link in links), (page, links)
    for style in (tmp_path / "quality").rglob("*.css"):
        assert not EXTERNAL.search(style.read_text(encoding="utf-8"))


def test_a_check_s_whole_comment_says_what_its_rows_mean(tmp_path: Path) -> None:
    name = "assert_respondent_quarantine_within_limit"
    rows = pd.DataFrame({"dimension": ["sex"]})
    with pytest.raises(GateError, match="its column wants a vocabulary, or `levels` in the study"):
        run_gate(Gate("intake", tables={}, checks={name: rows}, folder=tmp_path))


def test_gates_are_collected_in_the_order_of_the_flow(tmp_path: Path) -> None:
    for stage in ("staging", "intake"):
        run_gate(Gate(stage, tables={"items": good_tables()["items"]}, folder=tmp_path))
    failure_of(tmp_path, items=spoiled("items", "k", 0))
    written = json.loads((tmp_path / "quality" / "gates.json").read_text(encoding="utf-8"))
    assert [(gate["stage"], gate["failed"]) for gate in written] == [("intake", 0), ("staging", 0), ("marts", 1)]
    assert set(written[0]) == {"stage", "passed", "failed"}
    assert [result.stage for result in collect_gates(tmp_path)] == ["intake", "staging", "marts"]


def test_a_gate_that_is_repeated_leaves_no_page_of_its_first_attempt(tmp_path: Path) -> None:
    failure_of(tmp_path, items=spoiled("items", "k", 0))
    run_gate(Gate("marts", tables={"options": good_tables()["options"]}, folder=tmp_path))
    assert [path.name for path in (tmp_path / "quality" / "marts").iterdir()] == ["options.html"]
    assert [result.failed for result in collect_gates(tmp_path)] == [0]


def test_gates_of_two_threads_do_not_meet(tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(4)]
    with ThreadPoolExecutor(max_workers=4) as pool:
        results = list(pool.map(lambda folder: run_gate(Gate("intake", tables={"items": good_tables()["items"]}, folder=folder)), folders))
    assert [result.failed for result in results] == [0, 0, 0, 0]
    assert all((folder / "quality" / "intake" / "items.html").is_file() for folder in folders)


def test_rules_are_not_repeated_within_a_suite() -> None:
    for table in good_tables():
        rules = suite(table, SuiteParameters())
        assert all(isinstance(rule, Rule) and rules.count(rule) == 1 for rule in rules)
