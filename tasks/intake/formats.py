"""Format readers: a survey file, whatever its name, becomes a table of text cells in DuckDB.

    with opened(Path("F00013339-WVS_Wave_7_Nowhere_ExcelTxt_v5.0.xlsx")) as raw:
        raw.format          # 'ExcelTxt': Csv and Excel hold codes, CsvTxt and ExcelTxt labels
        raw.headers["Q260"] # 'Sex', or '' where the file has bare codes
        raw.counts("Q260")  # [('Female', 1053), ('Male', 959)]

The format is sniffed from the content. Another one needs a line in SIGNATURES and a reader in READERS.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from tasks.errors import InputError
from tasks.intake.headers import FORMATS, QUESTION, WHAT_TO_DO, understood
from tasks.intake.layout import FACT_COLUMNS
from tasks.intake.raw import ChosenRows, RawSurvey, hold_facts, offered
from tasks.intake.readers.archive import check_archive, unpack
from tasks.intake.readers.delimited import read_delimited
from tasks.intake.readers.excel import read_excel
from tasks.intake.readers.r_data import read_r
from tasks.intake.readers.statistical import read_spss, read_stata
from tasks.intake.readers.table import Table
from tasks.intake.sniff import CSV, SPSS, STATA, XLSX, ZIP, R, sniff
from tasks.warehouse.database import connect

READERS: dict[str, Callable[[Path, Path], Table]] = {
    CSV: read_delimited,
    XLSX: read_excel,
    SPSS: read_spss,
    STATA: read_stata,
    R: read_r,
}
MEMORY = "2GiB"  # of DuckDB, past which it works on disk
OFFICIAL_NAMES = {CSV: "Csv", XLSX: "Excel", SPSS: "Spss", STATA: "Stata", R: "R"}


@contextmanager
def opened(path: Path) -> Iterator[RawSurvey]:
    """All of a survey for a look: its database is in a private temporary folder that goes when the look ends. Raises InputError as read_survey
    does."""
    readable_format(path)
    with TemporaryDirectory(prefix="valuescape-") as name, connect(Path(name) / "survey.duckdb", readable=[path]) as connection:
        with read_survey(path, connection=connection, folder=Path(name)) as raw:
            kept = keep(raw)
        yield kept


@contextmanager
def read_survey(path: Path, *, connection: duckdb.DuckDBPyConnection, folder: Path, file: str = "") -> Iterator[RawSurvey]:
    """A survey file of any known format, open for `keep`, through a `connection` that can read `path` and `folder`; respondents are known by `file`
    and their row, and what has to be written on the way is written into `folder` and removed.

    Raises InputError for a file that is missing, empty, damaged, of another format, without survey columns or with duplicate ones.
    """
    connection.execute(f"set memory_limit = '{MEMORY}'")
    with TemporaryDirectory(prefix=".reading-", dir=folder) as name:
        container, found = _unzipped(path, Path(name))
        table = READERS[container](found, Path(name))
        headers = understood(table.header, name=path.name)
        facts = [code for code in headers if code in FACT_COLUMNS] or list(headers)[:1]
        with offered(connection, table.cells, codes=list(headers), folder=Path(name), label=f"reading {path.name}"):
            respondents = hold_facts(connection, path=path, columns=facts)
            if not respondents:
                raise InputError(
                    f"{path.name}: found {len(headers)} columns and no respondent, expected one row per respondent. Download the file again"
                )
            labels = dict(zip(headers, table.value_labels, strict=False))
            yield RawSurvey(
                path, container, table.encoding, headers, respondents, connection, file, held=frozenset(facts), value_labels=labels
            )  # fmt: skip


def keep(raw: RawSurvey, *, columns: list[str] | None = None, rows: ChosenRows | None = None) -> RawSurvey:
    """What is used of the survey, in raw_responses, and which of the official downloads the file is."""
    kept = raw.keep(columns=columns, rows=rows)
    return kept._replace(format=_official_format(kept))


def readable_format(path: Path) -> str:
    """What `path` is: a key of READERS, or a zip with one survey file. Raises InputError for a file that no reader takes."""
    container = sniff(path)
    if container == ZIP:
        check_archive(path)
    elif container not in READERS:
        raise InputError(f"{path.name}: found {container}, expected {FORMATS}. {WHAT_TO_DO}")
    return container


def _unzipped(path: Path, folder: Path) -> tuple[str, Path]:
    """The format and the file itself, or those of the survey in the zip."""
    container = readable_format(path)
    if container != ZIP:
        return container, path
    survey = unpack(path, folder)
    container = sniff(survey)
    if container not in READERS:
        what = "another zip" if container == ZIP else container
        raise InputError(f"{path.name}: found {what} in the zip, expected a survey file. Unpack it and give the survey file in it")
    return container, survey


def _official_format(raw: RawSurvey) -> str:
    """The official download that the file is. Of text and sheets, the Txt exports answer in labels."""
    name = OFFICIAL_NAMES[raw.format]
    if raw.format not in (CSV, XLSX):
        return name
    questions = [code for code in raw.held if QUESTION.fullmatch(code)]
    return f"{name}Txt" if raw.answers_in_words(questions) else name
