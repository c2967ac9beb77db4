"""From a staged survey to subgroups, distributions, targets and the value landscape (sql/marts), as Parquet.

marts = build_marts(staged, study, folder=run_folder)
"""

from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from tasks.errors import InputError
from tasks.files import FileSet
from tasks.study import Study
from tasks.subgroups.certainty import posterior_table
from tasks.subgroups.diversity import diversity_intervals
from tasks.subgroups.selection import select_items
from tasks.subgroups.splits import held_out_levels, levels_of_places
from tasks.warehouse import database

SURPRISE = 1e-6  # a probability under which chance does not explain that nobody chose an option
HALVES = ("A", "B")
TABLES = ["subgroups", "kinship", "distributions", "targets", "landscape", "landscape_topics", "items", "options"]
HALF_TABLES = ["half_distributions", "half_targets"]


def build_marts(staged: FileSet, study: Study, *, folder: Path) -> FileSet:
    """Write tables/<each of TABLES>.parquet, and halves/<each of HALF_TABLES>.parquet, whose cells may be smaller than the study's minimum. No
    respondent row leaves `staged`.

    Country and wave are dimensions where the survey has several. Raises InputError when no cell has the minimum number of valid answers, or when a
    split holds out what the survey has one of.
    """
    survey = next(staged.path(name) for name in staged.files if name.endswith(".duckdb"))
    with database.connect(attach={"survey": survey}, folder=folder) as connection:
        # One thread: sums of weights come out the same to the last bit, so equal inputs give equal files.
        connection.execute("set threads = 1")
        _search(connection)
        places = levels_of_places(connection.execute("select distinct country, wave from stg_respondents").fetchall())
        dimensions = [*(name for name, levels in places.items() if len(levels) > 1), *study.dimensions]
        held_out = held_out_levels(places, section=study.split, seed=study.seed)
        unseen: dict[str, Any] = {"held_out": held_out, "held_out_dimension": study.split.dimension or ""}
        several = len(places["country"]) > 1
        national = [name for name, section in study.dimensions.items() if section.national and several]
        _choose_items(connection, study)
        minimum, effective = study.subgroups.minimum_respondents, study.subgroups.minimum_effective_n
        grouping: dict[str, Any] = {"dimensions": dimensions, "subgroup_order": study.subgroups.order, "national": national}
        enough: dict[str, Any] = {"minimum_respondents": minimum, "minimum_effective_n": effective}
        database.build(connection, "marts/memberships", **grouping, **unseen)
        database.build(connection, "marts/subgroups", minimum_respondents=minimum, **unseen)
        database.build(connection, "marts/kinship", minimum_respondents=minimum)
        if not database.build(connection, "marts/distributions", **enough):
            raise InputError(
                f"no cell (question x subgroup) has {minimum} valid answers and an effective n of {effective:g}. Lower subgroups.minimum_respondents "
                "or subgroups.minimum_effective_n, or take a larger survey."
            )
        posteriors = _build_targets(connection)
        distributions, subgroups, items = (database.frame(connection, name) for name in ("distributions", "subgroups", "items"))
        database.load(connection, "diversity_intervals", diversity_intervals(distributions, posteriors, subgroups, items))
        _build_halves(connection, study)
        database.build(connection, "marts/landscape")
        database.build(connection, "marts/landscape_topics")
        made = [database.export(connection, TABLES, folder=folder), database.export(connection, HALF_TABLES, folder=folder, under="halves")]
        return FileSet(folder=str(folder), files=made[0].files | made[1].files, rows=made[0].rows | made[1].rows)


def _build_targets(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """targets, and the posteriors that Python computes for it from the distributions in place; returns those."""
    posteriors = posterior_table(database.frame(connection, "distributions"), database.frame(connection, "subgroups"))
    database.load(connection, "posteriors", posteriors)
    database.build(connection, "marts/targets")
    return posteriors


def _build_halves(connection: duckdb.DuckDBPyConnection, study: Study) -> None:
    """half_distributions and half_targets: the same SQL on the respondents of each half, in a schema of its own. Raises InputError when the study
    trains one half and tests the other, and no cell is in both."""
    database.build(connection, "marts/halves", seed=str(study.seed))
    for half in HALVES:
        schema = f"half_{half.lower()}"
        connection.execute(f"create schema {database.identifier(schema)}")
        _search(connection, schema)
        inside = "semi join (from halves where half = $half) as inside using (respondent_id)"
        connection.execute(f"create table memberships as from memory.main.memberships {inside}", {"half": half})
        database.build(connection, "marts/distributions", **study.least_in_a_half)
        _build_targets(connection)
    _search(connection)
    if not database.build(connection, "marts/half_distributions") and study.split.overlap == "disjoint":
        raise InputError(
            f"no cell (question x subgroup) has {study.subgroups.minimum_respondents} valid answers in each half of the survey. Lower "
            "subgroups.minimum_respondents, or set split.overlap=keep."
        )
    database.build(connection, "marts/half_targets")


def _search(connection: duckdb.DuckDBPyConnection, schema: str | None = None) -> None:
    """Tables are made in `schema`, or in main, and looked for there first, then in main and in the survey."""
    within = f"memory.{schema}," if schema else ""
    connection.execute(f"set search_path = {database.literal(f'{within}memory.main,survey.main')}")


def _choose_items(connection: duckdb.DuckDBPyConnection, study: Study) -> None:
    """items and options of the questions that the study asks; each was asked in every country and wave of the survey, with the same options."""
    minimum = study.subgroups.minimum_respondents
    if not database.build(connection, "marts/items_asked_everywhere", temporary=True, minimum_respondents=minimum, surprise=SURPRISE):
        raise InputError(
            f"no item has {minimum} valid answers of every country and wave of the survey, with the same options. Lower "
            "subgroups.minimum_respondents, or take fewer countries or waves."
        )
    chosen = select_items(database.frame(connection, "items_asked_everywhere"), section=study.items)
    connection.execute("create table items as select * from survey.items where list_contains($items, item)", {"items": chosen})
    connection.execute("create table options as select options.* from survey.options as options semi join items using (item)")
