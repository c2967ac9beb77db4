"""A file of the user's against its codebook: VALUESCAPE_REAL_FILE=<file> VALUESCAPE_REAL_WAVE=<wave> pytest tests/intake/test_real_file.py

Waves: 4, 5, 6, 7 (default) or integrated. Skipped without a file. Looks at header texts and distinct cells only, and says nothing of a respondent.
"""

import os
from pathlib import Path

import pytest

from tasks.intake.codebook import load_codebook
from tasks.intake.formats import RawSurvey, read_survey
from tasks.intake.labels import UNKNOWN, item_resolver

FILE = os.environ.get("VALUESCAPE_REAL_FILE", "")
NAMED = os.environ.get("VALUESCAPE_REAL_WAVE", "7")
WAVE: int | str = int(NAMED) if NAMED.isdigit() else NAMED
# More different cells than this hold free text or numbers, whatever the codebook says; they are counted, not shown.
MOST_SHOWN = 20

pytestmark = pytest.mark.skipif(not FILE, reason="names no file: set VALUESCAPE_REAL_FILE")


@pytest.fixture(scope="module")
def survey() -> RawSurvey:
    return read_survey(Path(FILE))


def test_every_cell_of_every_item_is_an_option_or_known_as_missing(survey: RawSurvey) -> None:
    items = [item for item in load_codebook(WAVE).items.values() if item.item in survey.headers]
    assert items, f"no item of the codebook of wave {WAVE} is in the file: set VALUESCAPE_REAL_WAVE"
    cells = {item.item: survey.frame[item.item].unique() for item in items}
    unknown = {item.item: [cell for cell in cells[item.item] if item_resolver(item)(cell).rule == UNKNOWN] for item in items}
    found = {name: texts if len(texts) <= MOST_SHOWN else f"{len(texts)} cells" for name, texts in unknown.items() if texts}
    assert found == {}


def test_every_header_text_is_the_one_of_its_item(survey: RawSurvey) -> None:
    """A code means another question in another wave: equal header texts say that the file is of the wave that was named."""
    items = [item for item in load_codebook(WAVE).items.values() if item.header and survey.headers.get(item.item)]
    same = sum(" ".join(survey.headers[item.item].split()).casefold() == item.header.casefold() for item in items)
    assert not items or same / len(items) > 0.9
