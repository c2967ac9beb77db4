"""From a staged survey to subgroups, distributions, targets and the value landscape (sql/marts), as Parquet.

marts = build_marts(staged, study, folder=run_folder)
"""

from pathlib import Path
from typing import Any

import duckdb

from tasks.errors import InputError
from tasks.files import FileSet
from tasks.study import Study
from tasks.subgroups.certainty import posterior_table
from tasks.subgroups.diversity import diversity_intervals
from tasks.subgroups.selection import select_items
from tasks.subgroups.splits import held_out_levels, levels_of_places
from tasks.warehouse import database

SURPRISE = 1e-6  # a probability under which chance does not explain that nobody chose an option
TABLES = ["subgroups", "distributions", "targets", "landscape", "landscape_topics", "items", "options"]


def build_marts(staged: FileSet, study: Study, *, folder: Path) -> FileSet:
    """Write tables/{subgroups, distributions, targets, landscape, landscape_topics, items, options}.parquet. No respondent row leaves `staged`.

    Country and wave are dimensions where the survey has several. Raises InputError when no cell has the minimum number of valid answers, or when a
    split holds out what the survey has one of.
    """
    survey = next(staged.path(name) for name in staged.files if name.endswith(".duckdb"))
    with database.connect(attach={"survey": survey}, folder=folder) as connection:
        # One thread: sums of weights come out the same to the last bit, so equal inputs give equal files.
        connection.execute("set threads = 1")
        connection.execute("set search_path = 'memory,survey'")
        places = levels_of_places(connection.execute("select distinct country, wave from stg_respondents").fetchall())
        dimensions = [*(name for name, levels in places.items() if len(levels) > 1), *study.dimensions]
        held_out = held_out_levels(places, section=study.split, seed=study.seed)
        unseen: dict[str, Any] = {"held_out": held_out, "held_out_dimension": study.split.dimension or ""}
        several = len(places["country"]) > 1
        national = [name for name, section in study.dimensions.items() if section.national and several]
        _choose_items(connection, study)
        minimum, effective = study.subgroups.minimum_respondents, study.subgroups.minimum_effective_n
        grouping: dict[str, Any] = {"dimensions": dimensions, "subgroup_order": study.subgroups.order, "national": national}
        database.build(connection, "marts/memberships", temporary=True, **grouping, **unseen)
        database.build(connection, "marts/subgroups", minimum_respondents=minimum, **unseen)
        if not database.build(connection, "marts/distributions", minimum_respondents=minimum, minimum_effective_n=effective):
            raise InputError(
                f"no cell (question x subgroup) has {minimum} valid answers and an effective n of {effective:g}. Lower subgroups.minimum_respondents "
                "or subgroups.minimum_effective_n, or take a larger survey."
            )
        _build_targets(connection)
        database.build(connection, "marts/landscape")
        database.build(connection, "marts/landscape_topics")
        return database.export(connection, TABLES, folder=folder)


def _build_targets(connection: duckdb.DuckDBPyConnection) -> None:
    """targets, and what Python computes for it and for the landscape: posteriors and diversity_intervals."""
    distributions, subgroups, items = (database.frame(connection, name) for name in ("distributions", "subgroups", "items"))
    posteriors = posterior_table(distributions, subgroups)
    database.load(connection, "posteriors", posteriors)
    database.load(connection, "diversity_intervals", diversity_intervals(distributions, posteriors, subgroups, items))
    database.build(connection, "marts/targets")


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
