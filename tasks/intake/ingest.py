"""Intake: a survey file becomes a database of raw and staged answers, and a report of what was understood.

    survey = ingest(path, section=study.survey, dimensions=study.dimensions, folder=workspace / "surveys")
    survey.files    # {'<key>.duckdb': sha256, '<key>.json': sha256}

sql/raw and sql/staging make the tables; Python maps only the distinct (column, cell) pairs. An item that the study uses as a dimension is no
question of that study. A respondent whose weight is no positive number is quarantined: any number put in its place would be a claim about whom
the respondent stands for.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from tasks.errors import InputError
from tasks.files import FileSet, file_set, hash_of, sha256_of, write_json
from tasks.intake.choices import Dimensions, Source, check_levels, choose, columns_of, levels_that_are_not_there, refuse_levels
from tasks.intake.codebook import CODEBOOKS_FOLDER, INTEGRATED, load_codebook_file
from tasks.intake.formats import keep, read_survey, readable_format
from tasks.intake.labels import Maps, band_names, dimension_resolver, item_resolver, map_values, refining_resolver
from tasks.intake.layout import country_name
from tasks.study import DimensionSection, SurveySection
from tasks.warehouse.database import build, connect, count, frame, load, new_database

CODE_VERSION = 3
HASH_DIGITS = 12
TABLES = ("raw_responses", "items", "options", "codebook_options", "value_map", "quarantine", "stg_respondents", "stg_answers")


def ingest(survey: Path, *, section: SurveySection, dimensions: dict[str, DimensionSection], folder: Path, codebook: Path | None = None) -> FileSet:
    """Build <folder>/<key>.duckdb and <key>.json of one file anew, whatever stands there: it may be damaged. The key is what the file holds, the
    codebook and the study's choices.

    Raises InputError for a file or a choice that cannot be studied, StepError when the folder cannot take the result.
    """
    readable_format(survey)
    sha256 = sha256_of(survey)
    key = _key(sha256, section=section, dimensions=dimensions, codebook=codebook)
    database, report = folder / f"{key}.duckdb", folder / f"{key}.json"
    with new_database(database, readable=[survey]) as connection:
        with read_survey(survey, connection=connection, folder=folder, file=sha256[:HASH_DIGITS]) as raw:
            source = choose(raw, section=section, dimensions=dimensions, codebook=codebook)
            source = replace(source, raw=keep(raw, columns=source.used_columns, rows=source.rows))
        check_levels(source)
        absent = levels_that_are_not_there(source)
        if section.has_one_file:
            refuse_levels(absent, name=survey.name)
        _build_raw(connection, source=source)
        _build_staging(connection, source=source)
        found = _report(connection, source=source)
    write_json(report, {"file": survey.name, "file_sha256": sha256, "levels_not_there": absent, **found})
    return file_set(folder, [database.name, report.name], rows=_rows(database))


def read_report(staged: FileSet) -> dict[str, Any]:
    """The intake report of a survey that `ingest` built."""
    path = next(staged.path(name) for name in staged.files if name.endswith(".json"))
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report


def published_report(report: dict[str, Any], *, least: int) -> dict[str, Any]:
    """The intake report without levels of fewer than `least` respondents, as a manifest may tell it; empty when there is no report yet. Of several
    files the levels are told of all together only: what is left out of the whole could be found by subtraction."""
    told = {name: _told_levels(counts, least=least) for name, counts in report.get("dimensions", {}).items()}
    files = [{name: value for name, value in found.items() if name != "dimensions"} for found in report.get("files", [])]
    return {**report, "dimensions": told, **({"files": files} if files else {})} if report else {}


def _told_levels(counts: dict[str, int], *, least: int) -> dict[str, int]:
    """The levels of enough respondents; not the smallest of them either where what is left out could be found by subtraction."""
    told = {level: number for level, number in counts.items() if number >= least}
    if told and 0 < sum(counts.values()) - sum(told.values()) < least:
        del told[min(told, key=lambda level: told[level])]
    return told


def choices_of(section: SurveySection, dimensions: Dimensions) -> dict[str, Any]:
    """What of a study matters to one file. Wording of personas, limits of gates and the other files change nothing that is built here."""
    chosen = {"countries": section.countries, "waves": section.waves, "weight": section.weight, "alone": section.has_one_file}
    return chosen | {name: dimension.model_dump(mode="json", exclude={"persona", "phrases"}) for name, dimension in dimensions.items()}


def _key(sha256: str, *, section: SurveySection, dimensions: Dimensions, codebook: Path | None) -> str:
    books = load_codebook_file(codebook).content_hash if codebook else [sha256_of(path) for path in sorted(CODEBOOKS_FOLDER.glob("*.csv"))]
    return hash_of([CODE_VERSION, sha256, books, list(dimensions), choices_of(section, dimensions)])[:16]


def _rows(database: Path) -> dict[str, int]:
    with connect(database, read_only=True) as connection:
        return {table: count(connection, table) for table in TABLES}


def _build_raw(connection: duckdb.DuckDBPyConnection, *, source: Source) -> None:
    build(connection, "raw/raw_cells", temporary=True, columns=source.used_columns)
    build(connection, "raw/raw_values", temporary=True, columns=source.mapped_columns)
    build(connection, "raw/raw_weights", temporary=True, weight_column=source.weight_column, country_column=source.layout.country_column)


def _build_staging(connection: duckdb.DuckDBPyConnection, *, source: Source) -> None:
    layout = source.layout
    traits = [
        (position, name, column, rank)
        for position, (name, section) in enumerate(source.dimensions.items())
        for rank, column in enumerate(columns_of(section))
    ]
    lookups = {
        "mapped_values": map_values(frame(connection, "raw_values"), maps=_maps(source)),
        "codebook_items": _codebook_items(source),
        "country_cells": _cells_frame(layout.cells, "country"),
        "wave_cells": _cells_frame(layout.wave_cells, "wave").astype({"wave": "Int64"}),
        "study_dimensions": pd.DataFrame(traits, columns=["position", "dimension", "column", "rank"]).astype({"dimension": "str", "column": "str"}),
    }
    for name, rows in lookups.items():
        connection.register(name, rows)
    load(connection, "codebook_options", _codebook_options(source))
    for relation in ("value_map", "options", "items"):
        build(connection, f"staging/{relation}")
    build(connection, "staging/quarantine", weight_column=source.weight_column)
    columns: dict[str, Any] = {"country_column": layout.country_column, "year_column": layout.shape.year, "wave_column": layout.wave_column}
    if not build(connection, "staging/stg_respondents", wave=layout.wave, **columns):
        raise InputError(
            f"{source.raw.path.name}: none of the {count(connection, 'raw_responses'):,} weights in {source.weight_column} is a positive number. "
            "Name another weight column in survey.weight, or set it to none"
        )
    build(connection, "staging/stg_answers")


def _cells_frame(cells: Mapping[Any, tuple[str, ...]], name: str) -> pd.DataFrame:
    """The texts in a column, and what each stands for."""
    return pd.DataFrame([(cell, value) for value, texts in cells.items() for cell in texts], columns=["cell", name]).astype({"cell": "str"})


def _maps(source: Source) -> Maps:
    """For each column, what its texts are mapped for: an item (None), or one dimension and another."""
    maps: Maps = {item: {None: item_resolver(source.codebook.items[item])} for item in source.items}
    for name, section in source.dimensions.items():
        column = str(section.column)
        maps.setdefault(column, {})[name] = dimension_resolver(section, vocabulary=source.vocabulary(column))
        if section.refine:
            finer = str(section.refine.column)
            maps.setdefault(finer, {})[name] = refining_resolver(section.refine, labels=source.raw.value_labels.get(finer, {}))
    return maps


def _codebook_items(source: Source) -> pd.DataFrame:
    items = [source.codebook.items[item] for item in source.items]
    own_codes = source.codebook.wave == INTEGRATED
    rows = [
        (order, item.item, item.item if own_codes else item.integrated, item.topic, item.kind, item.scale, item.question, item.endpoints_only)
        for order, item in enumerate(items)
    ]
    names = ["item_order", "item", "integrated", "topic", "kind", "scale", "question", "endpoints_only"]
    return pd.DataFrame(rows, columns=names).astype({"integrated": "str"})


def _codebook_options(source: Source) -> pd.DataFrame:
    rows = [
        (item, option.code, position, option.wording) for item in source.items for position, option in enumerate(source.codebook.items[item].options)
    ]
    return pd.DataFrame(rows, columns=["item", "code", "scale_position", "wording"])


def _report(connection: duckdb.DuckDBPyConnection, *, source: Source) -> dict[str, Any]:
    layout = source.layout
    rules = frame(connection, "value_map").groupby("rule")["respondents"].sum()
    return {
        "format": source.raw.format,
        "codebook": str(source.codebook.wave),
        "synthetic": layout.synthetic,
        "version": layout.version,
        **described(populations_of(connection)),
        "weighted": source.weight_column is not None,
        "weight_column": source.weight_column,
        "items": count(connection, "items"),
        "quarantined": int(frame(connection, "quarantine")["respondents"].sum()),
        "rules": {str(rule): int(answers) for rule, answers in rules.items()},
        "dimensions": _respondents_of_levels(frame(connection, "stg_respondents"), source=source),
    }


def populations_of(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Each country in each wave: year is that of most of the respondents."""
    counted = "select country, wave, mode(year)::integer as year, count(*) as respondents from stg_respondents group by all order by country, wave"
    rows = connection.execute(counted).fetchall()
    return [
        {"country": country, "country_name": country_name(country), "wave": wave, "year": year, "respondents": respondents}
        for country, wave, year, respondents in rows
    ]


def described(populations: list[dict[str, Any]]) -> dict[str, Any]:
    """Who the respondents are, in the words of one population where there is one."""
    return {
        **{name: _joined([population[name] for population in populations]) for name in ("country", "country_name", "wave", "year")},
        "respondents": sum(population["respondents"] for population in populations),
        "populations": populations,
    }


def _joined(values: list[Any]) -> Any:
    """The value that all share, or "a, b and c"."""
    distinct = sorted(set(values))
    return distinct[0] if len(distinct) == 1 else f"{', '.join(map(str, distinct[:-1]))} and {distinct[-1]}"


def _respondents_of_levels(respondents: pd.DataFrame, *, source: Source) -> dict[str, dict[str, int]]:
    """Levels in the order of bands or vocabulary, the country's own ones after them by size."""
    counted: dict[str, Counter[str]] = {name: Counter() for name in source.dimensions}
    for traits in respondents["traits"]:
        for name, level in traits.items():
            counted[name][level] += 1
    ordered = {}
    for name, section in source.dimensions.items():
        vocabulary = source.vocabulary(str(section.column))
        known = band_names(section.bands) if section.bands else [texts[0] for texts in vocabulary.values()]
        levels = sorted(counted[name], key=lambda level: (known.index(level) if level in known else len(known), -counted[name][level], level))
        ordered[name] = {level: counted[name][level] for level in levels}
    return ordered
