"""A gate: every table meets its suite and every query of sql/checks returns no rows, or the study stops with a sentence that says why.

    parameters = SuiteParameters(minimum_respondents=30, order=2)
    run_gate(Gate("marts", tables={"targets": frame}, checks={"assert_parents_exist": rows}, parameters=parameters, folder=run_folder))

Leaves <folder>/quality/<stage>/*.html (Data Docs), <stage>.json (the GateResult), gates.json and index.html. About respondents it writes
counts only. Frames come from DuckDB with the columns that the suite names; past a million rows, give it a summary made in SQL instead.
"""

import json
import shutil
import textwrap
import threading
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from pydantic import BaseModel, ConfigDict

from tasks.errors import GateError
from tasks.files import write_json
from tasks.quality.data_docs import write_index, write_page
from tasks.quality.suites import Rule, SuiteParameters, great_expectations, no_rows, suite
from tasks.warehouse.database import read_sql

STAGES = (
    "intake", "staging", "pooled", "marts", "pairs", "base_predictions", "base_comparison", "training", "tuned_predictions", "tuned_comparison",
    "order0_training", "order0_predictions",
    "overlap",
)  # fmt: skip
SUMMARY_FILE = "gates.json"
RESPONDENT_LEVEL = ("stg_", "raw_")
KEYS = ("model", "reader", "variant", "item", "subgroup_id", "dimension", "step")
KEYS_SHOWN = 3
LONGEST_RULE = 160  # characters: a value set can have hundreds of members
REMEDY = "Correct the file, the codebook or the study that this table was made from, then run the study again."

_ONE_GATE_AT_A_TIME = threading.Lock()  # Great Expectations has one context per process


class GateResult(BaseModel):
    """How many rules held, how many did not, and a sentence for each that did not."""

    model_config = ConfigDict(frozen=True)

    stage: str
    passed: int
    failed: int
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gate:
    """What a gate looks at: `checks` maps a file of sql/checks to the rows that it returned (tasks.warehouse.database.violations)."""

    stage: str
    tables: dict[str, pd.DataFrame]
    folder: Path
    checks: dict[str, pd.DataFrame] = field(default_factory=dict)
    parameters: SuiteParameters = SuiteParameters()


class Subject(NamedTuple):
    """A frame under its rules: a table, or the rows that a check returned and what they mean."""

    name: str
    frame: pd.DataFrame
    rules: list[Rule]
    title: str
    meaning: str = ""

    @property
    def respondent_level(self) -> bool:
        return self.name.startswith(RESPONDENT_LEVEL) or "respondent_id" in self.frame.columns


class Outcome(NamedTuple):
    """`validation` is Great Expectations' own result, as its pages need it."""

    subject: Subject
    validation: Any
    failures: list[str]


def run_gate(gate: Gate) -> GateResult:
    """Evaluate a gate and keep its evidence. Raises GateError, after everything is written, when a rule does not hold."""
    with _ONE_GATE_AT_A_TIME:
        outcomes = _evaluate(_subjects(gate))
        result = _summarise(gate.stage, outcomes)
        _keep(gate, outcomes, result)
    if result.failed:
        raise GateError(_sentence(gate, outcomes, result))
    return result


def collect_gates(folder: Path) -> list[GateResult]:
    """Every gate that a run has met so far, in the order of the flow; rewrites quality/gates.json and quality/index.html."""
    quality = folder / "quality"
    found = [_read(path) for path in sorted(quality.glob("*.json")) if path.name != SUMMARY_FILE]
    results = sorted(found, key=_place)
    write_json(quality / SUMMARY_FILE, [result.model_dump(include={"stage", "passed", "failed"}) for result in results])
    write_index(quality, [result.model_dump() for result in results])
    return results


def failed_page(stage: str, folder: Path) -> str:
    """What the Prefect UI shows of a gate that stopped a study, as Markdown: each broken rule with its table and count, and what to do next."""
    quality = folder / "quality"
    result = _read(quality / f"{stage}.json")
    broken = "\n".join(f"- {failure}" for failure in result.failures)
    pages = sorted((quality / stage).glob("*.html"))
    listed = "\n".join(f"- {page.stem}: `{page.as_uri()}`" for page in pages)
    return (
        f"## Gate failed: {stage}\n\n{result.failed} rules do not hold, {result.passed} do.\n\n{broken}\n\n### What to do next\n\n"
        f"1. Look at the evidence, on the machine that holds the workspace (copy an address into a new tab):\n\n{listed}\n\n"
        f"2. {REMEDY.partition(',')[0]}, or set its limits in the study.\n"
        "3. Retry this run here, or repeat the command: what has finished is not done again.\n"
    )


def base_stage(stage: str) -> str:
    """Without the number of the survey file, which a study of several has: intake-2 is intake."""
    return stage.partition("-")[0]


def _place(result: GateResult) -> tuple[int, str]:
    stage = base_stage(result.stage)
    return (STAGES.index(stage) if stage in STAGES else len(STAGES), result.stage)


def _read(path: Path) -> GateResult:
    return GateResult.model_validate(json.loads(path.read_text(encoding="utf-8")))


def _subjects(gate: Gate) -> list[Subject]:
    tables = [Subject(name, frame, suite(name, gate.parameters), f"table {name}") for name, frame in gate.tables.items()]
    return tables + [_check(name, rows) for name, rows in gate.checks.items()]


def _check(name: str, rows: pd.DataFrame) -> Subject:
    """A check's first comment says what its rows are."""
    comment = takewhile(lambda line: line.startswith("--"), read_sql(f"checks/{name}").splitlines())
    meaning = " ".join(line.removeprefix("--").strip() for line in comment)
    return Subject(name, rows, no_rows(meaning), f"check sql/checks/{name}.sql", f", where none may be: {meaning}")


def _evaluate(subjects: list[Subject]) -> list[Outcome]:
    context = great_expectations().get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("gate")
    return [_validate(source, subject) for subject in subjects]


def _validate(source: Any, subject: Subject) -> Outcome:
    gx = great_expectations()
    definition = source.add_dataframe_asset(subject.name).add_batch_definition_whole_dataframe("whole")
    batch = definition.get_batch(batch_parameters={"dataframe": subject.frame.reset_index(drop=True)})
    expectations = gx.ExpectationSuite(name=subject.name, expectations=[rule.expectation() for rule in subject.rules])
    detail = "BOOLEAN_ONLY" if subject.respondent_level else "SUMMARY"
    validation = batch.validate(expectations, result_format=detail)
    failures = [_explain(subject, single, batch) for single in validation.results if not single.success]
    return Outcome(subject, validation, failures)


def _explain(subject: Subject, single: Any, batch: Any) -> str:
    """One failure in words; the page is given the same reason where the rule could not be evaluated."""
    reason = _exception(subject, single)
    if reason:
        single.exception_info = {"raised_exception": True, "exception_message": reason, "exception_traceback": ""}
        return f"{_named(subject, single)} could not be evaluated: {reason}"
    result = _count_again(single, batch) if subject.respondent_level else single.result
    if "element_count" in result:
        found = f"{result['unexpected_count']:,} of {result['element_count']:,} rows break it"
    else:
        unit = " rows" if "row_count" in single.expectation_config.type else ""
        found = f"found {result['observed_value']:,}{unit}"
    return f"{_named(subject, single)}: {found}{_keys(subject, single.result)}{subject.meaning}"


def _named(subject: Subject, single: Any) -> str:
    configuration = single.expectation_config
    arguments = ", ".join(f"{name}={value!r}" for name, value in configuration.kwargs.items() if name not in ("batch_id", "ignore_row_if"))
    return textwrap.shorten(f"{subject.title}, rule {configuration.type}({arguments})", LONGEST_RULE, placeholder=" ...)")


def _exception(subject: Subject, single: Any) -> str | None:
    """Why a rule could not be evaluated: success is False then, and nothing is raised. What GX says may quote a cell."""
    information = single.exception_info or {}
    raised = [each for each in [information, *information.values()] if isinstance(each, dict) and each.get("raised_exception")]
    if not raised:
        return None
    named = single.expectation_config.kwargs
    wanted = [named[key] for key in ("column", "column_A", "column_B") if key in named] + list(named.get("column_list", []))
    absent = [column for column in wanted if column not in subject.frame.columns]
    if absent:
        return f"there is no column {', '.join(absent)} (columns: {', '.join(map(str, subject.frame.columns))})"
    return "the column holds values of another type" if subject.respondent_level else str(raised[0]["exception_message"])


def _count_again(single: Any, batch: Any) -> dict[str, Any]:
    """How many rows break a rule whose result is yes or no by design: the number alone, and never on a page."""
    expectation = single.expectation_config.to_domain_obj()
    result: dict[str, Any] = batch.validate(expectation, result_format={"result_format": "BASIC", "partial_unexpected_count": 0}).result
    return result


def _keys(subject: Subject, result: dict[str, Any]) -> str:
    """The first keys of the rows that break a rule, for aggregate tables; every row that a check returned breaks it."""
    columns = [column for column in KEYS if column in subject.frame.columns]
    if subject.respondent_level or not columns:
        return ""
    positions = result.get("partial_unexpected_index_list", range(len(subject.frame)))[:KEYS_SHOWN]
    rows = subject.frame.reset_index(drop=True).loc[list(positions), columns].to_dict("records")
    shown = "; ".join(" ".join(f"{name}={value}" for name, value in row.items()) for row in rows)
    return f" ({shown})" if shown else ""


def _summarise(stage: str, outcomes: list[Outcome]) -> GateResult:
    failures = tuple(failure for outcome in outcomes for failure in outcome.failures)
    rules = sum(len(outcome.validation.results) for outcome in outcomes)
    return GateResult(stage=stage, passed=rules - len(failures), failed=len(failures), failures=failures)


def _keep(gate: Gate, outcomes: list[Outcome], result: GateResult) -> None:
    quality = gate.folder / "quality"
    shutil.rmtree(quality / gate.stage, ignore_errors=True)  # the pages of an earlier attempt
    for outcome in outcomes:
        write_page(quality / gate.stage / f"{outcome.subject.name}.html", outcome.validation, title=outcome.subject.title, failures=outcome.failures)
    write_json(quality / f"{gate.stage}.json", result.model_dump())
    collect_gates(gate.folder)


def _sentence(gate: Gate, outcomes: list[Outcome], result: GateResult) -> str:
    first = next(outcome for outcome in outcomes if outcome.failures)
    others = f", and {result.failed - 1} more" if result.failed > 1 else ""
    evidence = gate.folder / "quality" / gate.stage / f"{first.subject.name}.html"
    return f"gate {gate.stage}: {result.failures[0]}{others}. Evidence: {evidence}. {REMEDY}"
