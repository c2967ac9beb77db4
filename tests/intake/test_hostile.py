"""No file that is wrong gets through, hangs, leaves something behind or tells of a respondent: one message, or a count in the quarantine."""

import tempfile

import pytest

from tasks.errors import InputError
from tasks.intake.formats import readable_format
from tasks.intake.ingest import ingest, read_report
from tasks.intake.inspection import inspect_survey
from tasks.study import SurveySection
from tasks.warehouse.database import connect
from tests.intake.hostile import HOSTILE, ROWS, SECRET, csv, file, zipped

pytestmark = pytest.mark.usefixtures("codebook")


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Where the file lies, the workspace, and the place of temporary files."""
    found = [tmp_path / name for name in ("given", "surveys", "temporary")]
    for folder in found:
        folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(found[2]))
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_one_message_and_leaves_nothing(name, places, dimensions):
    given, surveys, temporary = places
    path = HOSTILE[name].make(given)
    before = sorted(given.rglob("*"))
    with pytest.raises(InputError) as refusal:
        ingest(path, section=SurveySection(), dimensions=dimensions, folder=surveys)
    message = str(refusal.value)
    assert HOSTILE[name].says in message
    assert refusal.value.exit_code == 2
    assert path.name in message
    assert SECRET not in message
    assert len(message) < 500
    assert "\n" not in message
    assert sorted(given.rglob("*")) == before
    assert not list(surveys.iterdir())
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_can_be_inspected_without_a_traceback(name, places):
    given, _, temporary = places
    path = HOSTILE[name].make(given)
    try:
        assert SECRET not in repr(inspect_survey(path))
    except InputError as refusal:
        assert SECRET not in str(refusal)
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    ("cells", "quarantined"),
    [
        ({"Q1": "Very important", "Q2": "Agree"}, {}),
        ({"Q1": "=cmd|' /C calc'!A0"}, {"Q1": 1}),
        ({"Q1": "<script>alert(1)</script>", "Q2": "77"}, {"Q1": 1, "Q2": 1}),
        ({"Q289": "'), drop table raw_responses --"}, {"Q289": 1}),
        ({"Q262": "forty"}, {"Q262": 1}),
        ({"Q262": "1e9"}, {"Q262": 1}),
        ({"W_WEIGHT": "nan"}, {"W_WEIGHT": 1}),
        ({"W_WEIGHT": "-0.5"}, {"W_WEIGHT": 1}),
        ({"W_WEIGHT": "No weighting"}, {}),
        ({"W_WEIGHT": ",385"}, {}),
    ],
)
def test_cells_that_are_not_understood_are_counted_never_guessed(cells, quarantined, places, dimensions):
    path = file(csv([ROWS[0] | cells, *ROWS[1:]]))(places[0])
    files = ingest(path, section=SurveySection(), dimensions=dimensions, folder=places[1])
    with connect(files.path(next(name for name in files.files if name.endswith(".duckdb"))), read_only=True) as connection:
        assert dict(connection.execute('select "column", respondents from quarantine').fetchall()) == quarantined
        weights = connection.execute("select weight from stg_respondents where split_part(respondent_id, '-', 2) = '1'").fetchall()
    expected = {"nan": [], "-0.5": [], "No weighting": [(1.0,)], ",385": [(0.385,)]}.get(cells.get("W_WEIGHT", ""), [(0.5,)])
    assert weights == expected
    assert SECRET not in str(read_report(files))


def test_a_file_that_may_not_be_read_says_so(places, monkeypatch):
    path = file(csv())(places[0])

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(InputError, match="cannot be read: Permission denied. Check its permissions"):
        readable_format(path)


def test_a_zip_is_looked_into_before_a_run_starts(places):
    path = file(zipped(("../survey.csv", csv())))(places[0])
    with pytest.raises(InputError, match="nothing was unpacked"):
        readable_format(path)


def test_there_are_enough_hostile_files():
    assert len(HOSTILE) > 60
