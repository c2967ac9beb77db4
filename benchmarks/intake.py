"""Intake against what people would otherwise write, paired in one run: ratios, not seconds, are the result.

    python -m benchmarks.intake --json intake.json [--quick]

- workbook: an ExcelTxt of 2,596 x 394 to staged tables, against pandas.read_excel with openpyxl, which only reads.
- country: one country of a cross-national Csv of 97,220 x 613 to all marts, against the same subgroup shares by pandas melt and groupby.
- series: a time series at three sizes (up to 450,000 x 1,000) to staged tables of one country and wave: seconds per million cells, which stay the
  same when time is linear, and the peak memory.

The files are made up, in a temporary folder (2 GB with the largest series). Each side runs in a process of its own, whose peak memory is its own.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv

from tasks.intake.codebook import INTEGRATED, load_codebook
from tasks.intake.ingest import ingest
from tasks.intake.layout import SHAPES, Shape
from tasks.study import Study, load_study
from tasks.subgroups.marts import build_marts

REPEATS = 3
COUNTRIES = ("SGP", "USA", "JPN", "DEU", "NGA", "BRA", "IND", "EGY", "AUS", "MEX")
SIZES = ((50_000, 1_000), (450_000, 500), (450_000, 1_000))
QUICK_SIZES = ((5_000, 500), (20_000, 250), (20_000, 500))


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
        results = [_workbook(Path(name), quick=arguments.quick), _country(Path(name), quick=arguments.quick)]
        results += [_series(Path(name), shape) for shape in (QUICK_SIZES if arguments.quick else SIZES)]
    arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(pd.DataFrame(results).to_string(index=False))


def _workbook(folder: Path, *, quick: bool) -> dict[str, Any]:
    path = folder / "survey.xlsx"
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Data")
    table = _texts(_made_up(SHAPES[0], rows=200 if quick else 2_596, columns=394, countries=("USA",)))
    sheet.append([f"{code}: {code}" for code in table])
    for row in table.itertuples(index=False):
        sheet.append(list(row))
    book.save(path)
    return {"case": "workbook", "rows": len(table), "columns": table.shape[1], **_paired("workbook_peer", "staged", path=path)}


def _country(folder: Path, *, quick: bool) -> dict[str, Any]:
    path = folder / "cross.csv"
    table = _made_up(SHAPES[0], rows=5_000 if quick else 97_220, columns=613, countries=COUNTRIES)
    pa_csv.write_csv(pa.Table.from_pandas(table, preserve_index=False), path)
    return {"case": "country", "rows": len(table), "columns": table.shape[1], **_paired("country_peer", "marts", path=path)}


def _series(folder: Path, size: tuple[int, int]) -> dict[str, Any]:
    """Written in blocks: the maker needs bounded memory too."""
    rows, columns = size
    path = folder / "series.csv"
    block = pa.Table.from_pandas(_made_up(SHAPES[-1], rows=rows // 10, columns=columns, countries=COUNTRIES), preserve_index=False)
    with pa_csv.CSVWriter(path, block.schema) as writer:
        for _ in range(10):
            writer.write_table(block)
    side = _side("staged", path)
    path.unlink()
    return {"case": "series", "rows": rows, "columns": columns, **side, "seconds_per_million_cells": side["seconds"] / (rows * columns / 1e6)}


def _paired(peer: str, ours: str, *, path: Path) -> dict[str, Any]:
    """The peer and we take turns, so that what else the machine does falls on both."""
    rounds = [(_side(peer, path), _side(ours, path)) for _ in range(REPEATS)]
    ratio = statistics.median(theirs["seconds"] / mine["seconds"] for theirs, mine in rounds)
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
    sides: dict[str, Callable[[Path], object]] = {
        "workbook_peer": lambda file: pd.read_excel(file, engine="openpyxl", dtype=str),
        "country_peer": _melted,
        "staged": _staged,
        "marts": lambda file: build_marts(_staged(file), _study(SHAPES[0]), folder=file.parent / "run"),
    }
    began = time.monotonic()
    sides[name](Path(path))
    seconds = round(time.monotonic() - began, 2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    out.write_text(json.dumps({"seconds": seconds, "peak_gib": round(peak, 2)}), encoding="utf-8")


def _study(shape: Shape) -> Study:
    usual = load_study("country")
    columns = {"sex": shape.sex, "age_group": shape.age, "religion": shape.religion}
    dimensions = {name: usual.dimensions[name].model_copy(update={"column": column}) for name, column in columns.items()}
    survey = usual.survey.model_copy(update={"country": COUNTRIES[1], "wave": 6 if shape.codebook == INTEGRATED else None})
    return usual.model_copy(update={"survey": survey, "dimensions": dimensions, "items": usual.items.model_copy(update={"limit": None})})


def _staged(path: Path) -> Any:
    study = _study(SHAPES[-1] if path.name == "series.csv" else SHAPES[0])
    return ingest(path, section=study.survey, dimensions=study.dimensions, folder=path.parent / "surveys")


def _melted(path: Path) -> pd.Series:
    """What a notebook does: read, cut down to the country, melt, and group by every trait and pair of traits."""
    table = pd.read_csv(path)
    table = table[table["B_COUNTRY_ALPHA"] == COUNTRIES[1]]
    items = [item for item in load_codebook(7).items if item in table]
    traits = {"sex": table["Q260"], "age": pd.cut(table["Q262"], [15, 24, 34, 44, 54, 64, 200]).astype(str), "religion": table["Q289"]}
    long = table.assign(**traits)[["W_WEIGHT", *traits, *items]].melt(["W_WEIGHT", *traits], var_name="item", value_name="code")
    long = long[long["code"] >= 0]
    groups = [[], *([name] for name in traits), ["sex", "age"], ["sex", "religion"], ["age", "religion"]]
    shares = []
    for group in groups:
        weights = long.groupby(["item", *group, "code"])["W_WEIGHT"].sum()
        shares.append(weights / weights.groupby(["item", *group]).transform("sum"))
    return pd.concat(shares)


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
