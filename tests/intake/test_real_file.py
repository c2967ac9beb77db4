"""A survey file of the user's, from its cells to gated tables: make test-real FILE=<file> [COUNTRY=USA]

Skipped without a file. It is looked at in a temporary folder, and no test says anything of a respondent.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tasks.files import FileSet
from tasks.intake.choices import Source, choose
from tasks.intake.codebook import load_codebook
from tasks.intake.formats import opened
from tasks.intake.ingest import ingest, read_report
from tasks.intake.inspection import inspect_survey
from tasks.intake.labels import item_resolver, number
from tasks.intake.layout import INTEGRATED
from tasks.quality.evidence import Limits, check
from tasks.study import Study, load_study
from tasks.subgroups.marts import build_marts

FILE = os.environ.get("VALUESCAPE_REAL_FILE", "")
COUNTRY = os.environ.get("VALUESCAPE_REAL_COUNTRY") or None
# More different cells than this hold free text or numbers, whatever the codebook says; they are counted, not shown.
MOST_SHOWN = 20

pytestmark = pytest.mark.skipif(not FILE, reason="names no file: set VALUESCAPE_REAL_FILE")


@pytest.fixture(scope="module")
def source() -> Iterator[Source]:
    with opened(Path(FILE)) as raw:
        yield choose(raw, section=load_study("country").survey.model_copy(update={"country": COUNTRY, "wave": None}), dimensions={})


@pytest.fixture(scope="module")
def study(source: Source) -> Study:
    """Every item, in the dimensions that the file has."""
    usual = load_study("country")
    held = source.layout.shape.dimensions
    dimensions = {name: section for name, section in usual.dimensions.items() if held[str(section.column)] in source.raw.headers}
    kinds = ("attitude", "behaviour", "experience", "knowledge")
    changes = {"survey": usual.survey.model_copy(update={"country": tuple(source.countries), "wave": tuple(source.waves)}), "dimensions": dimensions}
    return usual.model_copy(update={**changes, "items": usual.items.model_copy(update={"kinds": kinds, "limit": None})})


@pytest.fixture(scope="module")
def staged(study: Study, tmp_path_factory: pytest.TempPathFactory) -> FileSet:
    return ingest(Path(FILE), section=study.survey, dimensions=study.dimensions, folder=tmp_path_factory.mktemp("real"))


def test_it_can_be_studied_and_every_label_is_known() -> None:
    inspection = inspect_survey(Path(FILE))
    assert inspection.can_be_studied, inspection.reasons
    unknown = {label.item for label in inspection.unknown_labels}
    assert not unknown


def test_every_header_text_is_the_one_of_its_item(source: Source) -> None:
    """A code means another question in another wave: equal header texts say that the file is of the wave that was recognised."""
    headers = source.raw.headers
    items = [item for item in load_codebook(source.layout.codebook).items.values() if item.header and headers.get(item.item)]
    same = sum(" ".join(headers[item.item].split()).casefold() == item.header.casefold() for item in items)
    assert not items or same / len(items) > 0.9


def test_national_distributions_are_those_of_pandas(source: Source, study: Study, staged: FileSet, tmp_path: Path) -> None:
    """Each item's weighted shares, by a loop over columns in pandas, to 1e-9."""
    tables = build_marts(staged, study, folder=tmp_path)
    ours = tables.read("distributions").query("subgroup_id == 'all'").set_index(["item", "code"])["share"]
    frame = source.raw.connection.execute("select * from raw_responses").df()
    chosen = frame[source.rows.country_column].isin(source.rows.country_cells) & frame[source.rows.wave_column].isin(source.rows.wave_cells)
    frame = frame[chosen]
    weights = frame[source.weight_column].map(lambda cell: number(cell) or 1.0) if source.weight_column else pd.Series(1.0, index=frame.index)
    differences = {}
    for item in ours.index.unique("item"):
        codes = frame[item].map({cell: item_resolver(source.codebook.items[item])(cell).code for cell in frame[item].unique()})
        shares = weights.groupby(codes).sum() / weights[codes.notna()].sum()
        differences[item] = (ours[item] - shares.reindex(ours[item].index, fill_value=0)).abs().max()
    assert len(differences) > 100 or source.layout.codebook in (4, 5, INTEGRATED)
    assert max(differences.values()) < 1e-9, {item: value for item, value in differences.items() if value >= 1e-9}


def test_every_gate_up_to_the_marts_is_passed(study: Study, staged: FileSet, tmp_path: Path) -> None:
    countries = [population["country"] for population in read_report(staged)["populations"]]
    limits = Limits(minimum_respondents=30, minimum_effective_n=0, subgroup_order=2, quarantine_limit=0.005, countries=countries)
    for stage in ("intake", "staging"):
        assert check(stage, made=[staged], limits=limits, folder=tmp_path).failed == 0
    assert check("marts", made=[build_marts(staged, study, folder=tmp_path)], limits=limits, folder=tmp_path).failed == 0
