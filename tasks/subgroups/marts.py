"""From a staged survey to subgroups, distributions, targets and the value landscape (sql/marts), as Parquet.

marts = build_marts(staged, study, folder=run_folder)
"""

from pathlib import Path

import duckdb

from tasks.errors import InputError
from tasks.files import FileSet
from tasks.study import Study
from tasks.subgroups.selection import select_items
from tasks.warehouse import database

TABLES = ["subgroups", "distributions", "targets", "landscape", "items", "options"]


def build_marts(staged: FileSet, study: Study, *, folder: Path) -> FileSet:
    """Write tables/{subgroups, distributions, targets, landscape, items, options}.parquet. No respondent row leaves `staged`.

    Raises InputError when no cell has the minimum number of valid answers.
    """
    survey = next(staged.path(name) for name in staged.files if name.endswith(".duckdb"))
    with database.connect(attach={"survey": survey}, folder=folder) as connection:
        # One thread: sums of weights come out the same to the last bit, so equal inputs give equal files.
        connection.execute("set threads = 1")
        connection.execute("set search_path = 'memory,survey'")
        _choose_items(connection, study)
        minimum = study.subgroups.minimum_respondents
        database.build(connection, "marts/memberships", temporary=True, dimensions=list(study.dimensions), subgroup_order=study.subgroups.order)
        database.build(connection, "marts/subgroups", minimum_respondents=minimum)
        effective = study.subgroups.minimum_effective_n
        if not database.build(connection, "marts/distributions", minimum_respondents=minimum, minimum_effective_n=effective):
            raise InputError(
                f"no cell (question x subgroup) has {minimum} valid answers and an effective n of {effective:g}. Lower subgroups.minimum_respondents "
                "or subgroups.minimum_effective_n, or take a larger survey."
            )
        database.build(connection, "marts/targets")
        database.build(connection, "marts/landscape")
        return database.export(connection, TABLES, folder=folder)


def _choose_items(connection: duckdb.DuckDBPyConnection, study: Study) -> None:
    """items and options of the questions that the study asks."""
    items = connection.execute("select * from survey.items").df()
    chosen = select_items(items, section=study.items)
    connection.execute("create table items as select * from survey.items where list_contains($items, item)", {"items": chosen})
    connection.execute("create table options as select options.* from survey.options as options semi join items using (item)")
