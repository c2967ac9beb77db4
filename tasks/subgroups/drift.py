"""What a new wave changes in the targets, against an earlier run of the same study (sql/marts/drift.sql).

made = write_drift(marts, before, folder=run_folder)   # tables/drift.parquet
moved_rows(made)                                       # for an artifact
"""

from pathlib import Path
from typing import Any

from tasks.files import FileSet
from tasks.study import SHOWN_FROM
from tasks.warehouse import database

COMPARED = ("distributions", "items", "options")
FILES = [f"tables/{name}.parquet" for name in COMPARED]


def write_drift(marts: FileSet, before: FileSet, *, folder: Path) -> FileSet:
    """Write tables/drift.parquet: the cells that both runs have, each with the minimum number of valid answers of its own run."""
    with database.connect(folder=folder) as connection:
        for name in COMPARED:
            database.load(connection, name, marts.read(name))
            database.load(connection, f"before_{name}", before.read(name))
        database.build(connection, "marts/drift")
        return database.export(connection, ["drift"], folder=folder)


def moved_rows(made: FileSet) -> list[dict[str, Any]]:
    """The cells whose modal answer moved, largest change first: rounded shares, without counts, and no cell of fewer respondents than are shown."""
    drift = made.read("drift")
    shown = drift[drift["moved"] & (drift[["respondents", "respondents_before"]].min(axis=1) >= SHOWN_FROM)]
    return [
        {
            "question": f"{row['item']} {row['question']}",
            "subgroup": row["subgroup_id"],
            "before": f"{row['answer_before']} ({row['share_before']:.0%})",
            "now": f"{row['answer']} ({row['share']:.0%})",
            "distance": round(float(row["distance"]), 2),
        }
        for row in shown.to_dict("records")
    ]
