"""What each gate looks at: the tables of its stage and the queries of sql/checks, read from the files that the step before it made.

result = check("marts", made=[marts], limits=Limits(...), folder=run_folder)
"""

import re
from pathlib import Path
from typing import NamedTuple

import duckdb
import pandas as pd
from pydantic import BaseModel, ConfigDict

from tasks.files import FileSet
from tasks.quality.gate import Gate, GateResult, base_stage, run_gate
from tasks.quality.suites import SuiteParameters, suite
from tasks.warehouse import database


class Evidence(NamedTuple):
    tables: tuple[str, ...]
    checks: tuple[str, ...] = ()


PREDICTIONS = Evidence(
    ("predictions",), ("assert_every_pair_has_one_prediction", "assert_probabilities_sum_to_one", "assert_choice_is_the_likeliest")
)
COMPARISON = Evidence(
    ("predictions",), ("assert_readers_and_variants_share_their_pairs", "assert_probabilities_sum_to_one", "assert_choice_is_the_likeliest")
)
STAGES = {
    "intake": Evidence(
        ("items", "options"),
        (
            "assert_no_row_is_repeated",
            "assert_answer_options_are_ranked",
            "assert_answer_quarantine_within_limit",
            "assert_respondent_quarantine_within_limit",
            "assert_weight_quarantine_within_limit",
        ),
    ),
    "staging": Evidence(
        ("stg_respondents", "stg_answers"),
        (
            "assert_respondent_is_unique",
            "assert_respondent_is_of_the_country",
            "assert_respondent_traits_are_mapped",
            "assert_weight_is_positive",
            "assert_answer_is_code_or_missing",
            "assert_answer_is_fielded",
            "assert_answer_of_each_respondent",
        ),
    ),
    "pooled": Evidence(
        ("items", "options", "stg_respondents", "stg_answers"),
        (
            "assert_answer_options_are_ranked",
            "assert_respondent_is_unique",
            "assert_respondent_is_of_the_country",
            "assert_weight_is_positive",
            "assert_answer_is_code_or_missing",
            "assert_answer_is_fielded",
            "assert_answer_of_each_respondent",
        ),
    ),
    "marts": Evidence(
        ("subgroups", "distributions", "targets", "landscape"),
        (
            "assert_cells_have_minimum_respondents",
            "assert_parents_exist",
            "assert_shares_sum_to_one",
            "assert_targets_are_the_largest_share",
            "assert_halves_have_minimum_respondents",
            "assert_halves_are_of_equal_size",
        ),
    ),
    "pairs": Evidence(
        ("pairs",),
        (
            "assert_no_pair_in_two_splits",
            "assert_held_out_subgroups_are_never_trained",
            "assert_held_out_questions_are_never_trained",
            "assert_pairs_agree_with_their_lists",
        ),
    ),
    "base_predictions": PREDICTIONS,
    "base_comparison": COMPARISON,
    "training": Evidence(("training_log",)),
    "tuned_predictions": PREDICTIONS,
    "tuned_comparison": COMPARISON,
    "order0_training": Evidence(("training_log",)),
    "order0_predictions": PREDICTIONS,
    "overlap": Evidence(("overlap", "overlap_subgroups")),
}


class Limits(BaseModel):
    """What the study allows: values for the checks' $parameters."""

    model_config = ConfigDict(frozen=True)

    minimum_respondents: int
    minimum_effective_n: float
    subgroup_order: int
    quarantine_limit: float
    countries: list[str]
    minimum_of_half: int = 1
    minimum_effective_n_of_half: float = 0
    split_kind: str = "unseen_subgroup"


def check(stage: str, *, made: list[FileSet], limits: Limits, folder: Path) -> GateResult:
    """Run a stage's gate over the files of `made`; raises GateError when a rule does not hold. `intake-2` is stage intake of a second survey file."""
    evidence = STAGES[base_stage(stage)]
    parameters = SuiteParameters(minimum_respondents=limits.minimum_respondents, order=limits.subgroup_order)
    with _open(made) as connection:
        tables = {table: _columns_of_suite(connection, table, parameters=parameters) for table in evidence.tables}
        checks = {name: _violations(connection, name, limits=limits) for name in evidence.checks}
    return run_gate(Gate(stage, tables=tables, checks=checks, parameters=parameters, folder=folder))


def _open(made: list[FileSet]) -> duckdb.DuckDBPyConnection:
    """Every table of the files under its name: a survey's database attached, Parquet files as views."""
    paths = [files.path(name).resolve() for files in made for name in files.files]
    surveys = [path for path in paths if path.suffix == ".duckdb"]
    tables = [path for path in paths if path.suffix == ".parquet"]
    connection = database.connect(attach=dict(zip(["survey"], surveys, strict=False)), readable=tables)
    if surveys:
        connection.execute("set search_path = 'memory,survey'")
    for path in tables:
        database.view(connection, "predictions" if path.parent.name == "predictions" else path.stem, path)
    return connection


def _columns_of_suite(connection: duckdb.DuckDBPyConnection, table: str, *, parameters: SuiteParameters) -> pd.DataFrame:
    """Only what the rules look at: lists and texts stay in DuckDB."""
    named = {column for rule in suite(table, parameters) for column in _columns_of(rule.arguments)}
    held = [row[0] for row in connection.execute(f"describe {database.identifier(table)}").fetchall()]
    chosen = ", ".join(database.identifier(column) for column in held if column in named)
    return connection.execute(f"select {chosen} from {database.identifier(table)}").df()


def _columns_of(arguments: dict[str, object]) -> list[str]:
    listed = arguments.get("column_list", [])
    return [str(arguments[key]) for key in ("column", "column_A", "column_B") if key in arguments] + list(listed if isinstance(listed, list) else [])


def _violations(connection: duckdb.DuckDBPyConnection, name: str, *, limits: Limits) -> pd.DataFrame:
    wanted = set(re.findall(r"\$(\w+)", database.read_sql(f"checks/{name}")))
    return database.violations(connection, name, **{key: value for key, value in limits.model_dump().items() if key in wanted})
