"""Several survey files as one: their respondents, and the items that all of them asked (sql/pooled).

    survey = pool([of_2012, of_2022], folder=workspace / "surveys")

Across waves an item is known by its code in the integrated time series. It is pooled only where the codebooks give its options the same wordings in
the same order: codes may differ (mentioned or not is 0 and 1 in the time series, 1 and 2 elsewhere), meanings may not.
"""

from itertools import combinations
from pathlib import Path
from typing import Any

from tasks.errors import InputError
from tasks.files import FileSet, file_set, hash_of, write_json
from tasks.intake.choices import refuse_levels
from tasks.intake.ingest import described, populations_of, read_report
from tasks.warehouse.database import build, count, identifier, new_database

CODE_VERSION = 1
AS_OF_ONE = ("items", "options", "stg_respondents", "stg_answers")


def pool(staged: list[FileSet], *, folder: Path, codebook: Path | None = None) -> FileSet:
    """<folder>/<key>.duckdb and <key>.json of several files that `ingest` built, in the form of one. `codebook`: the user's, if one was given.

    Raises InputError for a country's wave that is in two files, for files that share no item, and for a codebook that no file is for.
    """
    reports = [read_report(files) for files in staged]
    _refuse_repeated(reports)
    absent = [found["levels_not_there"] for found in reports]
    nowhere = {
        name: {level: place for level, place in levels.items() if all(level in one.get(name, {}) for one in absent)}
        for name, levels in absent[0].items()
    }
    refuse_levels({name: levels for name, levels in nowhere.items() if levels}, name=_named(reports))
    if codebook and all(found["codebook"] != codebook.stem for found in reports):
        raise InputError(
            f"codebook {codebook.name} is for none of the files ({_named(reports)}): their waves have codebooks of their own. Leave it out"
        )
    key = hash_of([CODE_VERSION, [_database(files).stem for files in staged]])[:16]
    database, report = folder / f"{key}.duckdb", folder / f"{key}.json"
    attached = {f"file{number}": _database(files) for number, files in enumerate(staged)}
    with new_database(database, attach=attached) as connection:
        for table in (*AS_OF_ONE, "codebook_options"):
            parts = [f"select {number} as file, * from {identifier(name)}.{table}" for number, name in enumerate(attached)]
            connection.execute(f"create temporary view file_{table} as {' union all by name '.join(parts)}")
        newest = max(range(len(reports)), key=lambda number: max(population["wave"] for population in reports[number]["populations"]))
        codebooks = {found["codebook"] for found in reports}
        build(connection, "pooled/item_matches", temporary=True, files=len(staged), newest=newest, one_codebook=len(codebooks) == 1)
        build(connection, "pooled/pooled_options")
        if not build(connection, "pooled/pooled_items", newest=newest):
            raise InputError(
                f"{_named(reports)}: no item is in all of them with the same options (codebooks: {', '.join(sorted(codebooks))}). Take other files"
            )
        build(connection, "pooled/pooled_stg_respondents")
        build(connection, "pooled/pooled_stg_answers")
        for table in AS_OF_ONE:
            connection.execute(f"alter table pooled_{table} rename to {table}")
        found = _report(reports, populations=populations_of(connection), items=count(connection, "items"))
        rows = {table: count(connection, table) for table in AS_OF_ONE}
    write_json(report, found)
    return file_set(folder, [database.name, report.name], rows=rows)


def _database(files: FileSet) -> Path:
    return next(files.path(name) for name in files.files if name.endswith(".duckdb"))


def _refuse_repeated(reports: list[dict[str, Any]]) -> None:
    for one, other in combinations(reports, 2):
        if one["file_sha256"] == other["file_sha256"]:
            raise InputError(f"two of the survey files are equal ({other['file']}): its respondents would count twice. Give each file once")
        populations = [{(population["country"], population["wave"]) for population in found["populations"]} for found in (one, other)]
        for country, wave in sorted(populations[0] & populations[1]):
            raise InputError(
                f"{country}, wave {wave} is in {one['file']} and in {other['file']}: its respondents would count twice. Leave one of the files out, "
                "or choose other countries or waves with --country and --set survey.wave"
            )


def _named(reports: list[dict[str, Any]]) -> str:
    return ", ".join(found["file"] for found in reports)


def _report(reports: list[dict[str, Any]], *, populations: list[dict[str, Any]], items: int) -> dict[str, Any]:
    """The files' reports as one: what all share, or each one's in turn."""

    def each(name: str) -> Any:
        values = list(dict.fromkeys(str(found[name] or "none") for found in reports))
        return values[0] if len(values) == 1 else ", ".join(values)

    dimensions: dict[str, dict[str, int]] = {}
    for found in reports:
        for name, levels in found["dimensions"].items():
            counted = dimensions.setdefault(name, {})
            counted.update({level: counted.get(level, 0) + respondents for level, respondents in levels.items()})
    return {
        **{name: each(name) for name in ("file", "file_sha256", "format", "codebook", "version", "weight_column")},
        "synthetic": any(found["synthetic"] for found in reports),
        **described(populations),
        "weighted": all(found["weighted"] for found in reports),
        "items": items,
        "quarantined": sum(found["quarantined"] for found in reports),
        "dimensions": dimensions,
        "files": reports,
    }
