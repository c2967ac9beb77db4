"""Intake against what people would otherwise write, paired in one run: ratios, not seconds, are the result.

    python -m benchmarks.intake --json intake.json [--quick]

- workbook: an ExcelTxt of 2,596 x 394 to staged tables, against pandas.read_excel with openpyxl, which only reads.
- country: one country of a cross-national Csv of 97,220 x 613 (66 countries) to all marts, against the same tables by pandas melt and groupby.
- countries: all of its countries to all marts, against popfidelity's survey_cells, which makes the shares of the same cells of a table that pandas
  has read; it is given every eighth question, and the seconds of its cells are multiplied.
- series: a time series at three sizes (up to 450,000 x 1,000) to staged tables of one country and wave: seconds per million cells, which stay the
  same when time is linear, and the peak memory.

The files are made up, in a temporary folder (2 GB with the largest series). Each side runs in a process of its own, whose peak memory is its own.
Both sides of a pair that returns its shares must have made equally many shares, with the same sum of squares.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import reduce
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv

from tasks.intake.codebook import INTEGRATED, Item, load_codebook
from tasks.intake.ingest import ingest
from tasks.intake.layout import SHAPES, Shape, known_countries
from tasks.study import EVERY, Study, load_study
from tasks.subgroups.marts import build_marts

REPEATS = 3
FEW = ("SGP", "USA", "JPN", "DEU", "NGA", "BRA", "IND", "EGY", "AUS", "MEX")
COUNTRY = "USA"
SIZES = ((50_000, 1_000), (450_000, 500), (450_000, 1_000))
QUICK_SIZES = ((5_000, 500), (20_000, 250), (20_000, 500))
PART = 8  # the peer of all countries is given one question in so many
MINIMUM = 30
AGES = [15, 24, 34, 44, 54, 64, 200]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="Small files: shows that it runs, and measures nothing.")
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)  # one side of a pair, in its own process
    arguments = parser.parse_args()
    if arguments.side:
        _run_side(*arguments.side, out=arguments.json)
        return
    with tempfile.TemporaryDirectory() as name:
        results = [_workbook(Path(name), quick=arguments.quick), *_cross_national(Path(name), quick=arguments.quick)]
        results += [_series(Path(name), shape) for shape in (QUICK_SIZES if arguments.quick else SIZES)]
    arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(pd.DataFrame(results).to_string(index=False))


def _workbook(folder: Path, *, quick: bool) -> dict[str, Any]:
    path = folder / "survey.xlsx"
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Data")
    table = _texts(_made_up(SHAPES[0], rows=200 if quick else 2_596, columns=394, countries=(COUNTRY,)))
    sheet.append([f"{code}: {code}" for code in table])
    for row in table.itertuples(index=False):
        sheet.append(list(row))
    book.save(path)
    return {"case": "workbook", "rows": len(table), "columns": table.shape[1], **_paired("workbook_peer", "staged", path=path)}


def _cross_national(folder: Path, *, quick: bool) -> Iterator[dict[str, Any]]:
    path = folder / "cross.csv"
    countries = FEW if quick else tuple(country for country in known_countries() if country not in FEW)[:56] + FEW
    table = _made_up(SHAPES[0], rows=5_000 if quick else 97_220, columns=613, countries=countries)
    pa_csv.write_csv(pa.Table.from_pandas(table, preserve_index=False), path)
    size = {"rows": len(table), "columns": table.shape[1]}
    del table
    yield {"case": "country", **size, **_paired("country_peer", "country", path=path)}
    yield {"case": "countries", **size, **_paired("countries_peer", "countries", path=path, repeats=1)}


def _series(folder: Path, size: tuple[int, int]) -> dict[str, Any]:
    """Written in blocks: the maker needs bounded memory too."""
    rows, columns = size
    path = folder / "series.csv"
    block = pa.Table.from_pandas(_made_up(SHAPES[-1], rows=rows // 10, columns=columns, countries=FEW), preserve_index=False)
    with pa_csv.CSVWriter(path, block.schema) as writer:
        for _ in range(10):
            writer.write_table(block)
    side = _side("staged", path)
    del side["shares"]
    path.unlink()
    return {"case": "series", "rows": rows, "columns": columns, **side, "seconds_per_million_cells": side["seconds"] / (rows * columns / 1e6)}


def _paired(peer: str, ours: str, *, path: Path, repeats: int = REPEATS) -> dict[str, Any]:
    """The peer and we take turns, so that what else the machine does falls on both"""
    rounds = [(_side(peer, path), _side(ours, path)) for _ in range(repeats)]
    ratio = statistics.median(theirs["seconds"] / mine["seconds"] for theirs, mine in rounds)
    for theirs, mine in rounds:
        if theirs["shares"][0] and not np.allclose(theirs["shares"], mine["shares"], rtol=1e-9):
            raise SystemExit(f"{peer} and {ours} made other shares: {theirs['shares']} and {mine['shares']}")
    return {
        "ratio": round(ratio, 2),
        "seconds": statistics.median(mine["seconds"] for _, mine in rounds),
        "peer_seconds": statistics.median(theirs["seconds"] for theirs, _ in rounds),
        "peak_gib": max(mine["peak_gib"] for _, mine in rounds),
        "peer_peak_gib": max(theirs["peak_gib"] for theirs, _ in rounds),
    }


def _side(name: str, path: Path) -> dict[str, Any]:
    out = path.with_name("side.json")
    subprocess.run([sys.executable, "-m", "benchmarks.intake", "--json", str(out), "--side", name, str(path)], check=True)
    side: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return side


def _run_side(name: str, path: str, *, out: Path) -> None:
    sides: dict[str, Callable[[Path], pd.Series | float | None]] = {
        "workbook_peer": _read_by_openpyxl,
        "country_peer": _by_pandas,
        "countries_peer": _by_popfidelity,
        "staged": _staged_only,
        "country": lambda file: _to_marts(file, country=COUNTRY),
        "countries": lambda file: _to_marts(file, country=EVERY),
    }
    began = time.monotonic()
    made = sides[name](Path(path))
    more = made if isinstance(made, float) else 0.0
    seconds = round(time.monotonic() - began + more, 2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    shares = [len(made), float((made**2).sum())] if isinstance(made, pd.Series) else [0, 0.0]
    out.write_text(json.dumps({"seconds": seconds, "peak_gib": round(peak, 2), "shares": shares}), encoding="utf-8")


def _study(shape: Shape, *, country: str) -> Study:
    """Every attitude, by sex, age and religion."""
    usual = load_study("country")
    dimensions = {name: section.model_copy(update={"levels": {}}) for name, section in usual.dimensions.items() if name != "ethnicity"}
    survey = usual.survey.model_copy(update={"country": country, "wave": 6 if shape.codebook == INTEGRATED else None})
    return usual.model_copy(update={"survey": survey, "dimensions": dimensions, "items": usual.items.model_copy(update={"limit": None})})


def _staged(path: Path, study: Study) -> Any:
    return ingest(path, section=study.survey, dimensions=study.dimensions, folder=path.parent / "surveys")


def _staged_only(path: Path) -> None:
    _staged(path, _study(SHAPES[-1] if path.name == "series.csv" else SHAPES[0], country=COUNTRY))


def _to_marts(path: Path, *, country: str) -> pd.Series:
    study = _study(SHAPES[0], country=country)
    shares = build_marts(_staged(path, study), study, folder=path.parent / "run").read("distributions")["share"]
    return shares[shares > 0]


def _read_by_openpyxl(path: Path) -> None:
    pd.read_excel(path, engine="openpyxl", dtype=str)


def _attitudes() -> list[Item]:
    return [item for item in load_codebook(7).items.values() if item.kind == "attitude" and 2 <= len(item.options) <= 10]


def _traits(table: pd.DataFrame) -> dict[str, pd.Series]:
    return {"sex": table["Q260"], "age": pd.cut(table["Q262"], AGES).astype(str), "religion": table["Q289"]}


def _by_pandas(path: Path) -> pd.Series:
    """What a notebook does: read, cut down to the country, melt, and group by every trait and pair of traits; then the tables that the marts are."""
    table = pd.read_csv(path)
    table = table[table["B_COUNTRY_ALPHA"] == COUNTRY]
    items = [item.item for item in _attitudes() if item.item in table]
    traits = _traits(table)
    people = table.assign(**traits)[["W_WEIGHT", *traits, *items]]
    long = people.melt(["W_WEIGHT", *traits], var_name="item", value_name="code")
    long = long[long["code"] >= 0].assign(squared=lambda rows: rows["W_WEIGHT"] ** 2)
    groups = [[], *([name] for name in traits), *map(list, combinations(traits, 2))]
    shares: pd.Series = pd.concat([_tables_of(long, ["item", *group]) for group in groups])
    return shares


def _tables_of(long: pd.DataFrame, by: list[str]) -> pd.Series:
    """Sizes, shares, modes with their margin, and the entropy of the modes, for one way of grouping; returns the shares."""
    sizes = long.groupby(by).agg(n=("code", "size"), weight=("W_WEIGHT", "sum"), squared=("squared", "sum")).reset_index()
    sizes = sizes.assign(effective_n=sizes["weight"] ** 2 / sizes["squared"])[sizes["n"] >= MINIMUM]
    shares = long.groupby([*by, "code"])["W_WEIGHT"].sum().reset_index(name="share").merge(sizes, on=by)
    shares["share"] /= shares["weight"]
    ranked = shares.sort_values("share", ascending=False).groupby(by)
    modes = ranked.head(1).merge(ranked.nth(1), on=by, suffixes=("", "_second"))
    modes["margin"] = modes["share"] - modes["share_second"]
    counted = modes.groupby(["item", "code"]).size()
    odds = counted / counted.groupby("item").transform("sum")
    (-odds * np.log(odds)).groupby("item").sum()
    return shares["share"]


def _by_popfidelity(path: Path) -> float:
    """survey_cells, question by question, for every country alone, every trait, and every pair of those; returns the seconds that the questions
    would take which it is not given."""
    from popfidelity import AnswerOption, Question
    from popfidelity.aggregate import survey_cells

    table = pd.read_csv(path)
    traits = {"country": table["B_COUNTRY_ALPHA"], **_traits(table)}
    items = _attitudes()[::PART]
    answers = pd.DataFrame({item.item: table[item.item].where(table[item.item] >= 0) for item in items}).assign(weight=table["W_WEIGHT"])
    everybody = pd.Series("all", index=table.index)
    began = time.monotonic()
    for group in [[], *([name] for name in traits), *map(list, combinations(traits, 2))]:
        cells = reduce(lambda one, other: one + "|" + other, [traits[name].astype(str) for name in group], everybody)
        people = answers.assign(cell_id=cells)
        for item in items:
            options = tuple(AnswerOption(str(option.code), str(option.code), str(option.code), place) for place, option in enumerate(item.options))
            survey_cells(people, Question(item.item, item.question, options), answer=item.item, weight="weight")
    return (len(_attitudes()) / len(items) - 1) * (time.monotonic() - began)


def _made_up(shape: Shape, *, rows: int, columns: int, countries: tuple[str, ...]) -> pd.DataFrame:
    """Codes drawn evenly, and columns of noise until there are enough."""
    generator = np.random.default_rng(7)
    items = load_codebook(shape.codebook).items.values()
    answers = {item.item: generator.choice([option.code for option in item.options] + [-1], size=rows) for item in items}
    people = {
        shape.country[0]: generator.choice(countries, size=rows),
        shape.year: np.full(rows, shape.years[0]),
        shape.weight: np.round(generator.uniform(0.3, 3, size=rows), 6),
        shape.sex: generator.integers(1, 3, size=rows),
        shape.age: generator.integers(18, 90, size=rows),
        shape.religion: generator.integers(0, 10, size=rows),
    } | ({"S002VS": generator.integers(5, 8, size=rows)} if shape.codebook == INTEGRATED else {})
    known = people | {name: codes for name, codes in answers.items() if name not in people}
    noise = {f"X{number}_N": generator.integers(0, 100, size=rows) for number in range(max(0, columns - len(known)))}
    return pd.DataFrame(dict(list((known | noise).items())[:columns]))


def _texts(table: pd.DataFrame) -> pd.DataFrame:
    """As a text export has it: labels, and every cell a string."""
    labels = {item.item: {option.code: option.label for option in item.options} | {-1: "Don´t know"} for item in load_codebook(7).items.values()}
    levels = {column: {code: texts[0] for code, texts in known.items()} for column, known in load_codebook(7).vocabularies.items()}
    return table.assign(
        **{code: table[code].map(texts).fillna(table[code].astype(str)) for code, texts in (levels | labels).items() if code in table}
    ).astype(str)


if __name__ == "__main__":
    main()
