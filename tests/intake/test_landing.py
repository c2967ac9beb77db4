"""Files in a landing zone: when they are taken, what is put on record, and which studies ask for them."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pytest

from tasks.errors import InputError, StepError
from tasks.files import make_workspace
from tasks.intake import landing, landings
from tasks.intake.inspection import Inspection
from tasks.intake.landing import look
from tasks.intake.landings import READY, UNKNOWN, UNREADABLE, Landed, Landings, what_to_do
from tasks.intake.synthetic import write_synthetic_survey
from tasks.study import Study, load_study
from tests.intake.hostile import SECRET, file

PROJECT = Path(__file__).resolve().parents[2]
SETTLE = 0.05
LOOKS = """
import sys
from pathlib import Path
from tasks.intake.inspection import Inspection
from tasks.intake.landing import look
from tasks.intake.landings import Landings
from tasks.study import load_study

workspace = Path(sys.argv[1])
with Landings(workspace) as landings:
    seen = look(str(workspace / "landing"), landings, workspace=workspace, settle_seconds=0.05)
    landings.want(seen.present, {"country": load_study("country")}, parameters={"workspace": str(workspace)})
"""


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_synthetic_survey(tmp_path_factory.mktemp("survey")).read_bytes()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    make_workspace(tmp_path / "workspace")
    (tmp_path / "workspace" / "landing").mkdir()
    return tmp_path / "workspace"


@pytest.fixture
def zone(workspace: Path) -> Path:
    return workspace / "landing"


def seen(workspace: Path, *, settle_seconds: float = SETTLE) -> list[Landed]:
    """One look: what is in the zone."""
    with Landings(workspace) as opened:
        found = look(str(workspace / "landing"), opened, workspace=workspace, settle_seconds=settle_seconds)
        found.refuse_failed("the zone")
        return opened.files(found.present)


def on_record(workspace: Path) -> list[tuple[str, str]]:
    with Landings(workspace) as opened:
        return [(landed.name, landed.status) for landed in opened.files()]


def test_a_survey_is_on_record_with_wave_country_and_version_and_a_copy_that_outlives_it(workspace: Path, zone: Path, survey: bytes) -> None:
    (zone / "wave7.csv").write_bytes(survey)
    (landed,) = seen(workspace)
    assert (landed.status, landed.waves, landed.countries, landed.respondents) == (READY, (7,), ("SGP",), 2012)
    assert landed.version.startswith("SYNTHETIC")
    (zone / "wave7.csv").unlink()
    assert Path(landed.copy).read_bytes() == survey
    assert seen(workspace) == []
    assert on_record(workspace) == [("wave7.csv", READY)]
    assert (workspace / "landed").stat().st_mode & 0o077 == 0


def test_a_file_under_another_name_or_twice_is_the_same_file(workspace: Path, zone: Path, survey: bytes) -> None:
    (zone / "wave7.csv").write_bytes(survey)
    first = seen(workspace)
    (zone / "wave7.csv").rename(zone / "renamed.csv")
    (zone / "twice").mkdir()
    (zone / "twice" / "wave7.csv").write_bytes(survey)
    assert seen(workspace) == first
    assert len(list((workspace / "landed").rglob("*.csv"))) == 1


def test_a_file_that_was_seen_is_not_read_again(workspace: Path, zone: Path, survey: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    (zone / "wave7.csv").write_bytes(survey)
    first = seen(workspace)
    monkeypatch.setattr(landing, "_copy", lambda *_: pytest.fail("it was read again"))
    began = time.monotonic()
    assert seen(workspace, settle_seconds=30) == first
    assert time.monotonic() - began < 5


def test_a_file_that_grows_is_left_until_it_stands_still(workspace: Path, zone: Path, survey: bytes) -> None:
    def drop_slowly() -> None:
        with (zone / "wave7.csv").open("wb") as target:
            for start in range(0, len(survey), len(survey) // 20):
                target.write(survey[start : start + len(survey) // 20])
                target.flush()
                time.sleep(0.1)

    dropping = threading.Thread(target=drop_slowly)
    dropping.start()
    time.sleep(0.2)
    assert seen(workspace, settle_seconds=0.5) == []
    dropping.join()
    assert [landed.status for landed in seen(workspace)] == [READY]


def test_a_file_that_changes_while_it_is_read_is_left_for_the_next_look(
    workspace: Path, zone: Path, survey: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zone / "wave7.csv"
    path.write_bytes(survey[:-1000])
    copied = landing._copy

    def copy_and_write_on(*given: Any) -> str:
        sha256 = copied(*given)
        path.write_bytes(survey)
        return sha256

    with monkeypatch.context() as changed:
        changed.setattr(landing, "_copy", copy_and_write_on)
        assert seen(workspace) == []
    assert on_record(workspace) == []
    assert [landed.status for landed in seen(workspace)] == [READY]


@pytest.mark.parametrize("name", [".wave7.csv", "wave7.csv.part", "wave7.csv.crdownload", "~$wave7.xlsx", ".hidden/wave7.csv"])
def test_what_a_program_is_still_writing_is_passed_over(workspace: Path, zone: Path, survey: bytes, name: str) -> None:
    (zone / name).parent.mkdir(exist_ok=True)
    (zone / name).write_bytes(survey)
    assert seen(workspace) == []


def test_what_is_no_survey_is_on_record_with_the_reason_and_judged_once(
    workspace: Path, zone: Path, survey: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (zone / "cut.xlsx").write_bytes(b"PK\x03\x04 cut")
    (landed,) = seen(workspace)
    assert landed.status == UNREADABLE
    assert "truncated or corrupt xlsx" in landed.reason
    assert "Download or copy the file again" in what_to_do(landed)
    assert not landed.copy
    with monkeypatch.context() as changed:
        changed.setattr(landing, "inspect_survey", lambda _: pytest.fail("it was judged again"))
        (zone / "cut.xlsx").rename(zone / "the same.xlsx")
        assert seen(workspace) == [landed]
    (zone / "the same.xlsx").write_bytes(survey)
    assert [changed.status for changed in seen(workspace)] == [READY]
    assert [status for _, status in on_record(workspace)] == [UNREADABLE, READY]


def test_a_wave_without_a_codebook_is_unknown_until_the_project_has_one(
    workspace: Path, zone: Path, survey: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    header, *rows = survey.decode("utf-8-sig").splitlines()
    year = header.split(";").index("A_YEAR")
    (zone / "wave8.csv").write_text("\n".join([header, *(_with_cell(row, year, "2026") for row in rows)]), encoding="utf-8")
    (landed,) = seen(workspace)
    assert landed.status == UNKNOWN
    assert "a later wave numbers its questions anew" in landed.reason
    assert "valuescape codebook" in what_to_do(landed)
    with Landings(workspace) as opened:
        opened.mark_announced(landed.sha256)
        assert opened.unannounced() == []
    monkeypatch.setattr(landing, "inspect_survey", lambda path: replace(_ready_inspection(), file=path.name))
    assert seen(workspace) == [landed], "the same codebooks say the same"
    monkeypatch.setattr(landings, "judged_by", lambda: "codebooks with wave 8")
    (again,) = seen(workspace)
    assert (again.status, again.waves) == (READY, (8,))
    with Landings(workspace) as opened:
        assert [changed.sha256 for changed in opened.unannounced()] == [landed.sha256]


def _with_cell(row: str, place: int, cell: str) -> str:
    cells = row.split(";")
    return ";".join([*cells[:place], cell, *cells[place + 1 :]])


def _ready_inspection() -> Any:
    from tasks.intake.inspection import Inspection

    empty: dict[str, Any] = dict.fromkeys(("items_known", "items_unknown", "items_absent", "unknown_labels", "reasons", "notes"), ())
    return Inspection(
        file="", size_bytes=1, format="Csv", encoding="", columns=1, respondents=1, wave=8, version="8-0", synthetic=False,
        countries={"SGP": {"name": "Singapore", "year": 2026, "respondents": 1}}, weight_column=None, dimensions={}, mapped_by={}, missing={},
        can_be_studied=True, **empty,
    )  # fmt: skip


@pytest.mark.parametrize("error", [MemoryError(SECRET), OSError(SECRET), duckdb.IOException(SECRET), duckdb.OutOfMemoryException(SECRET)])
def test_a_machine_that_fails_on_a_file_keeps_no_other_from_being_taken_or_started_and_is_tried_again(
    workspace: Path, zone: Path, survey: bytes, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    (zone / "a.csv").write_bytes(survey + b"\n")
    (zone / "b.csv").write_bytes(survey)
    with monkeypatch.context() as changed:
        changed.setattr(landing, "inspect_survey", failing_on_a(error))
        with pytest.raises(StepError, match=rf"could not take a.csv \({type(error).__name__} in test_landing.py\)") as raised:
            seen(workspace)
    assert SECRET not in str(raised.value)
    assert on_record(workspace) == [("b.csv", READY)]
    assert {landed.name for landed in seen(workspace)} == {"a.csv", "b.csv"}


def failing_on_a(error: Exception) -> Callable[[Path], Inspection]:
    inspected = landing.inspect_survey

    def inspect(path: Path) -> Inspection:
        if path.name == "a.csv":
            raise error
        return inspected(path)

    return inspect


def test_a_file_whose_reader_fails_is_unreadable_and_not_tried_again_until_it_or_the_code_changes(
    workspace: Path, zone: Path, survey: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (zone / "a.csv").write_bytes(survey)
    with monkeypatch.context() as changed:
        changed.setattr(landing, "inspect_survey", failing_on_a(ValueError(SECRET)))
        (refused,) = seen(workspace)
        changed.setattr(landing, "inspect_survey", lambda _: pytest.fail("it was tried again"))
        assert seen(workspace) == [refused]
    assert refused.status == UNREADABLE
    assert re.fullmatch(r"a.csv could not be read: .* \(ValueError in test_landing.py\)", refused.reason)
    monkeypatch.setattr(landings, "judged_by", lambda: "a reader that knows it")
    assert [landed.status for landed in seen(workspace)] == [READY]


def test_a_zone_that_is_not_there_is_named(workspace: Path) -> None:
    with Landings(workspace) as opened, pytest.raises(InputError, match="nowhere is not there"):
        look(str(workspace / "nowhere"), opened, workspace=workspace, settle_seconds=0)
    with Landings(workspace) as opened, pytest.raises(InputError, match="cannot be understood"):
        look("gopher://survey", opened, workspace=workspace, settle_seconds=0)


def test_two_looks_at_once_put_a_file_on_record_once(workspace: Path, zone: Path, survey: bytes) -> None:
    (zone / "wave7.csv").write_bytes(survey)
    both = [_looking(workspace), _looking(workspace)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert on_record(workspace) == [("wave7.csv", READY)]
    with Landings(workspace) as opened:
        assert [start.study for start in opened.unmade()] == ["country"]
    assert [path.name for path in (workspace / "landed").rglob("*") if path.is_file()] == ["wave7.csv"]


def test_a_look_that_is_killed_at_any_moment_loses_and_doubles_nothing(workspace: Path, zone: Path, survey: bytes) -> None:
    (zone / "wave7.csv").write_bytes(survey)
    for seconds in (0.8, 1.4, 1.8, 2.2, 2.6):
        killed = _looking(workspace)
        time.sleep(seconds)
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait(timeout=10)
    assert _looking(workspace).wait(timeout=120) == 0
    assert on_record(workspace) == [("wave7.csv", READY)]
    with Landings(workspace) as opened:
        assert [start.study for start in opened.unmade()] == ["country"]


def _looking(workspace: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", LOOKS, workspace], cwd=PROJECT)


SINGAPORE_7 = Landed("aa", "a.csv", 1, READY, copy="a.csv", waves=(7,), countries=("SGP",))
SEVERAL = replace(SINGAPORE_7, waves=(6, 7), countries=("JPN", "SGP"))


@pytest.mark.parametrize(
    ("landed", "study", "asks"),
    [
        (SINGAPORE_7, "country", True),
        (SINGAPORE_7, "country-w7", True),
        (SINGAPORE_7, "singapore-w7", True),
        (SINGAPORE_7, "sample", False),
        (replace(SINGAPORE_7, waves=(6,)), "country-w7", False),
        (replace(SINGAPORE_7, countries=("JPN",)), "singapore-w7", False),
        (replace(SINGAPORE_7, status=UNKNOWN), "country", False),
        (SEVERAL, "country", False),
        (SEVERAL, "singapore-w7", True),
        (replace(SEVERAL, waves=(7,)), "country", False),
    ],
)
def test_a_study_asks_for_a_file_in_which_it_has_something_to_choose(landed: Landed, study: str, asks: bool) -> None:
    assert landed.is_asked_for_by(load_study(study)) is asks


def test_a_study_of_all_countries_asks_for_any_of_its_wave() -> None:
    study = load_study("country", overrides=["survey.country=ALL", "survey.wave=7"])
    assert SEVERAL.is_asked_for_by(study)
    assert not replace(SEVERAL, waves=(5, 6)).is_asked_for_by(study)


@pytest.fixture
def country() -> dict[str, Study]:
    return {"country": load_study("country")}


def test_a_start_is_wanted_once_and_made_once(workspace: Path, zone: Path, survey: bytes, country: dict[str, Study]) -> None:
    (zone / "wave7.csv").write_bytes(survey)
    (landed,) = seen(workspace)
    with Landings(workspace) as opened:
        for _ in range(2):
            opened.want([landed.sha256], country, parameters={"workspace": "here", "overrides": ["items.limit=3"]})
        (start,) = opened.unmade()
        assert start.parameters == {"study": "country", "surveys": [landed.copy], "workspace": "here", "overrides": ["items.limit=3"]}
        opened.made(start, "run")
        opened.want([landed.sha256], country, parameters={"workspace": "here"})
        assert opened.unmade() == []
        (row,) = opened.table()
    assert (row["file"], row["wave"], row["country"], row["studies"]) == ("wave7.csv", "7", "SGP", "country: run")
    assert json.loads(json.dumps(row)) == row


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket of an S3 server on this machine, as a client sees it."""
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    s3fs.S3FileSystem.clear_instance_cache()  # which would go on with another test's server

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "NO_PROXY": host}
    for name, value in {**settings, "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="surveys")
    yield client
    server.stop()


def test_a_zone_on_an_s3_server_is_a_zone_like_any_other(workspace: Path, survey: bytes, bucket: Any, tmp_path: Path) -> None:
    def look_there() -> list[Landed]:
        with Landings(workspace) as opened:
            return opened.files(look("s3://surveys/wvs", opened, workspace=workspace, settle_seconds=SETTLE).present)

    assert look_there() == []
    bucket.put_object(Bucket="surveys", Key="wvs/wave7.csv", Body=survey)
    bucket.put_object(Bucket="surveys", Key="elsewhere/notes.csv", Body=b"name;age\nA;3\n")
    (landed,) = look_there()
    assert (landed.status, landed.waves, landed.countries) == (READY, (7,), ("SGP",))
    assert Path(landed.copy).read_bytes() == survey
    bucket.copy_object(Bucket="surveys", Key="wvs/renamed.csv", CopySource="surveys/wvs/wave7.csv")
    bucket.delete_object(Bucket="surveys", Key="wvs/wave7.csv")
    assert look_there() == [landed]
    bucket.put_object(Bucket="surveys", Key="wvs/renamed.csv", Body=file(b"name;age\nA;3\n")(tmp_path).read_bytes())
    assert [changed.status for changed in look_there()] == [UNREADABLE]
    bucket.delete_object(Bucket="surveys", Key="wvs/renamed.csv")
    assert look_there() == []


def test_a_bucket_that_is_not_there_and_a_server_that_is_down_are_said_so(workspace: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with Landings(workspace) as opened:
        with pytest.raises(InputError, match="s3://nobodys/wvs is not there"):
            look("s3://nobodys/wvs", opened, workspace=workspace, settle_seconds=SETTLE)
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        fsspec.filesystem("s3").clear_instance_cache()
        with pytest.raises(StepError, match="s3://elsewhere/wvs does not answer"):
            look("s3://elsewhere/wvs", opened, workspace=workspace, settle_seconds=SETTLE)
