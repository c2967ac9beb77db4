"""Intake: a survey file becomes a database of raw and staged answers, and a report of what was understood.

    survey = ingest(path, section=study.survey, dimensions=study.dimensions, folder=workspace / "surveys")
    survey.files    # {'<key>.duckdb': sha256, '<key>.json': sha256}

sql/raw and sql/staging make the tables; Python maps only the distinct (column, cell) pairs. An item that the study uses as a dimension is no
question of that study. A respondent whose weight is no positive number is quarantined: any number put in its place would be a claim about whom
the respondent stands for.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from tasks.errors import InputError, StepError
from tasks.files import FileSet, file_set, hash_of, sha256_of, write_atomically, write_json
from tasks.intake.choices import Dimensions, Source, choose
from tasks.intake.codebook import CODEBOOKS_FOLDER, load_codebook_file
from tasks.intake.formats import read_survey, readable_format
from tasks.intake.labels import Maps, band_names, dimension_resolver, item_resolver, map_values
from tasks.study import DimensionSection, SurveySection
from tasks.warehouse.database import build, connect, count, frame

CODE_VERSION = 2
HASH_DIGITS = 12
TABLES = ("raw_responses", "items", "options", "value_map", "quarantine", "stg_respondents", "stg_answers")


def ingest(survey: Path, *, section: SurveySection, dimensions: dict[str, DimensionSection], folder: Path, codebook: Path | None = None) -> FileSet:
    """Build <folder>/<key>.duckdb and <key>.json anew, whatever stands there: it may be damaged. The key is what the file holds, the codebook and
    the study's choices.

    Raises InputError for a file or a choice that cannot be studied, StepError when the folder cannot take the result.
    """
    readable_format(survey)
    sha256 = sha256_of(survey)
    key = _key(sha256, section=section, dimensions=dimensions, codebook=codebook)
    database, report = folder / f"{key}.duckdb", folder / f"{key}.json"
    try:
        with _new_database(database, survey=survey) as connection:
            raw = read_survey(survey, connection=connection, folder=folder, file=sha256[:HASH_DIGITS])
            source = choose(raw, section=section, dimensions=dimensions, codebook=codebook)
            _build_raw(connection, source=source)
            _build_staging(connection, source=source)
            found = _report(connection, source=source)
        write_json(report, {"file": survey.name, "file_sha256": sha256, **found})
    except (duckdb.OperationalError, duckdb.FatalException) as error:  # a full disk is a failed commit to DuckDB
        problem = str(error).splitlines()[0]
        raise StepError(f"cannot write {database}: {problem}. Free some space, or choose another --workspace") from error
    return file_set(folder, [database.name, report.name], rows=_rows(database))


def read_report(staged: FileSet) -> dict[str, Any]:
    """The intake report of a survey that `ingest` built."""
    path = next(staged.path(name) for name in staged.files if name.endswith(".json"))
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report


def published_report(report: dict[str, Any], *, least: int) -> dict[str, Any]:
    """The intake report without levels of fewer than `least` respondents, as a manifest may tell it; empty when there is no report yet."""
    told = {name: _told_levels(counts, least=least) for name, counts in report.get("dimensions", {}).items()}
    return {**report, "dimensions": told} if report else {}


def _told_levels(counts: dict[str, int], *, least: int) -> dict[str, int]:
    """The levels of enough respondents; not the smallest of them either where what is left out could be found by subtraction."""
    told = {level: number for level, number in counts.items() if number >= least}
    if told and 0 < sum(counts.values()) - sum(told.values()) < least:
        del told[min(told, key=lambda level: told[level])]
    return told


def _key(sha256: str, *, section: SurveySection, dimensions: Dimensions, codebook: Path | None) -> str:
    """Wording of personas, limits of gates and the file's name change nothing that is built here."""
    choices = [(name, dimension.column, dimension.bands, sorted(dimension.levels.items())) for name, dimension in dimensions.items()]
    books = load_codebook_file(codebook).content_hash if codebook else [sha256_of(path) for path in sorted(CODEBOOKS_FOLDER.glob("*.csv"))]
    return hash_of([CODE_VERSION, sha256, books, section.country, section.wave, section.weight, choices])[:16]


def _rows(database: Path) -> dict[str, int]:
    with connect(database, read_only=True) as connection:
        return {table: count(connection, table) for table in TABLES}


@contextmanager
def _new_database(path: Path, *, survey: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database under a temporary name, which gets its name when all of its tables are made."""
    with write_atomically(path) as temporary:
        try:
            with connect(temporary, readable=[survey]) as connection:
                yield connection
                connection.execute("checkpoint")
        finally:
            temporary.with_name(f"{temporary.name}.wal").unlink(missing_ok=True)


def _build_raw(connection: duckdb.DuckDBPyConnection, *, source: Source) -> None:
    build(connection, "raw/raw_cells", temporary=True, columns=source.used_columns, **source.rows._asdict())
    build(connection, "raw/raw_values", temporary=True, columns=source.mapped_columns)
    build(connection, "raw/raw_weights", temporary=True, weight_column=source.weight_column, country_column=source.layout.country_column)


def _build_staging(connection: duckdb.DuckDBPyConnection, *, source: Source) -> None:
    lookups = {
        "mapped_values": map_values(frame(connection, "raw_values"), maps=_maps(source)),
        "codebook_items": _codebook_items(source),
        "codebook_options": _codebook_options(source),
        "country_cells": pd.DataFrame([(cell, name) for name, cells in source.layout.cells.items() for cell in cells], columns=["cell", "country"]),
        "study_dimensions": pd.DataFrame(enumerate(source.dimensions), columns=["position", "dimension"]).astype({"dimension": "str"}),
    }
    for name, rows in lookups.items():
        connection.register(name, rows)
    for relation in ("value_map", "options", "items"):
        build(connection, f"staging/{relation}")
    build(connection, "staging/quarantine", weight_column=source.weight_column)
    facts: dict[str, Any] = {"wave": source.wave, "country_column": source.layout.country_column, "year_column": source.layout.shape.year}
    if not build(connection, "staging/stg_respondents", **facts):
        respondents = source.layout.countries[source.country].respondents
        raise InputError(
            f"{source.raw.path.name}: none of the {respondents:,} weights in {source.weight_column} is a positive number. "
            "Name another weight column in survey.weight, or set it to none"
        )
    build(connection, "staging/stg_answers")


def _maps(source: Source) -> Maps:
    """For each column, what its texts are mapped for: an item (None), or one dimension and another."""
    maps: Maps = {item: {None: item_resolver(source.codebook.items[item])} for item in source.items}
    for name, section in source.dimensions.items():
        vocabulary = source.codebook.vocabularies.get(section.column, {})
        maps.setdefault(section.column, {})[name] = dimension_resolver(section, vocabulary=vocabulary)
    return maps


def _codebook_items(source: Source) -> pd.DataFrame:
    items = [source.codebook.items[item] for item in source.items]
    rows = [(order, item.item, item.topic, item.kind, item.scale, item.question, item.endpoints_only) for order, item in enumerate(items)]
    return pd.DataFrame(rows, columns=["item_order", "item", "topic", "kind", "scale", "question", "endpoints_only"])


def _codebook_options(source: Source) -> pd.DataFrame:
    rows = [
        (item, option.code, position, option.wording) for item in source.items for position, option in enumerate(source.codebook.items[item].options)
    ]
    return pd.DataFrame(rows, columns=["item", "code", "scale_position", "wording"])


def _report(connection: duckdb.DuckDBPyConnection, *, source: Source) -> dict[str, Any]:
    layout, country = source.layout, source.layout.countries[source.country]
    rules = frame(connection, "value_map").groupby("rule")["respondents"].sum()
    return {
        "format": source.raw.format,
        "synthetic": layout.synthetic,
        "version": layout.version,
        "wave": source.wave,
        "country": source.country,
        "country_name": country.name,
        "year": _commonest_year(connection),
        "respondents": count(connection, "stg_respondents"),
        "weighted": source.weight_column is not None,
        "weight_column": source.weight_column,
        "items": count(connection, "items"),
        "quarantined": int(frame(connection, "quarantine")["respondents"].sum()),
        "rules": {str(rule): int(answers) for rule, answers in rules.items()},
        "dimensions": _respondents_of_levels(frame(connection, "stg_respondents"), source=source),
    }


def _commonest_year(connection: duckdb.DuckDBPyConnection) -> int:
    """Of the respondents that are studied: a country may be in several waves of the file."""
    return int(connection.execute("select mode(year) from stg_respondents").fetchall()[0][0])


def _respondents_of_levels(respondents: pd.DataFrame, *, source: Source) -> dict[str, dict[str, int]]:
    """Levels in the order of bands or vocabulary, the country's own ones after them by size."""
    counted: dict[str, Counter[str]] = {name: Counter() for name in source.dimensions}
    for traits in respondents["traits"]:
        for name, level in traits.items():
            counted[name][level] += 1
    ordered = {}
    for name, section in source.dimensions.items():
        vocabulary = source.codebook.vocabularies.get(section.column, {})
        known = band_names(section.bands) if section.bands else [texts[0] for texts in vocabulary.values()]
        levels = sorted(counted[name], key=lambda level: (known.index(level) if level in known else len(known), -counted[name][level], level))
        ordered[name] = {level: counted[name][level] for level in levels}
    return ordered
