"""What a user gets who makes a mistake: one clear message, no traceback, exit code 2, and nothing left behind."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tasks.files import held_alone, write_json
from tasks.intake.synthetic import write_synthetic_survey
from tests.flows.command import valuescape, write_study


def refused(*arguments: str | Path) -> str:
    ended = valuescape(*arguments)
    assert ended.code == 2, ended
    assert "Traceback" not in ended.err
    return ended.err


def test_a_study_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path) -> None:
    message = refused("run", "sampel", "--workspace", tmp_path / "workspace")
    assert "no study 'sampel'" in message
    assert "sample" in message
    assert not (tmp_path / "workspace").exists()


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("training.epohcs=3", "unknown key 'training.epohcs'"),
        ("training.epochs=many", "training.epochs: Input should be a valid number"),
        ("training.objective=best", "training.objective: Input should be 'tokens', 'modal', 'distribution', 'ordinal' or 'none'"),
        ("training", "expected key=value"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(tmp_path: Path, setting: str, expected: str) -> None:
    assert expected in refused("run", "sample", "--set", setting, "--workspace", tmp_path)


def test_a_study_on_the_users_own_file_says_how_to_give_it(tmp_path: Path) -> None:
    message = refused("run", "country", "--workspace", tmp_path)
    assert "--survey FILE" in message
    assert "worldvaluessurvey.org" in message


def test_a_missing_survey_file_is_refused_before_anything_starts(tmp_path: Path) -> None:
    assert "does not exist" in refused("run", "country", "--survey", tmp_path / "none.csv", "--workspace", tmp_path / "workspace")
    assert not (tmp_path / "workspace").exists()


def test_an_empty_survey_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    assert "empty.csv is empty" in refused("run", "country", "--survey", tmp_path / "empty.csv", "--workspace", tmp_path / "workspace")


def test_a_workspace_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = refused("run", "sample", "--workspace", tmp_path / "file" / "workspace")
    assert "cannot be written" in message
    assert "--workspace" in message


def test_inspecting_what_is_no_survey_says_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("name;age\nA;3\n", encoding="utf-8")
    message = refused("inspect", tmp_path / "notes.csv")
    assert "is not a survey" in message


def test_a_command_that_does_not_exist_is_refused() -> None:
    assert "No such command" in refused("rnu")


def test_a_study_file_of_ones_own_can_be_wrong_too(tmp_path: Path) -> None:
    study = write_study(tmp_path, dimensions={"sex": {"column": "Q260", "persona": "You are {level}."}})
    assert "need as many; add one" in refused("run", study, "--workspace", tmp_path)


def test_runs_of_an_empty_workspace_say_how_to_start_one(tmp_path: Path) -> None:
    ended = valuescape("runs", "--workspace", tmp_path)
    assert ended.code == 0
    assert "valuescape run sample" in ended.out


def test_a_report_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert f"no finished run in {tmp_path}" in refused("report", "--workspace", tmp_path)


def test_fine_tuning_elsewhere_without_a_server_for_it_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    assert "`make up` first" in refused("run", "sample", "--finetune-on", "gpu", "--workspace", tmp_path)
    assert not list(tmp_path.glob("runs/*"))


def test_a_run_whose_process_was_killed_is_listed_as_such(tmp_path: Path) -> None:
    manifest = {"study_name": "small", "run_id": "20261124-080000-abcdef", "status": "running", "synthetic": True, "error": None}
    write_json(tmp_path / "runs" / "small" / "20261124-080000-abcdef" / "manifest.json", manifest)
    with held_alone(tmp_path / "runs" / "small" / "20261124-080000-abcdef" / ".running", refusal=""):
        assert json.loads(valuescape("runs", "--workspace", tmp_path, "--json").out)[0]["status"] == "running"
    listed = json.loads(valuescape("runs", "--workspace", tmp_path, "--json").out)[0]
    assert listed["status"] == "killed"
    assert "repeating the command goes on" in listed["error"]


@pytest.mark.parametrize(("synthetic", "shown"), [(True, "synthetic"), (False, "real"), (None, "not read")])
def test_runs_say_whether_their_survey_is_real(tmp_path: Path, synthetic: bool | None, shown: str) -> None:
    manifest = {"study_name": "small", "run_id": "20261124-080000-abcdef", "status": "failed", "synthetic": synthetic, "error": "it broke"}
    write_json(tmp_path / "runs" / "small" / "20261124-080000-abcdef" / "manifest.json", manifest)
    assert f"failed │ {shown} " in valuescape("runs", "--workspace", tmp_path).out


def test_inspecting_a_survey_says_its_wave_and_country(tmp_path: Path) -> None:
    inspected = valuescape("inspect", write_synthetic_survey(tmp_path), "--json")
    assert inspected.code == 0, inspected.err
    found = json.loads(inspected.out)
    assert (found["wave"], list(found["countries"]), found["synthetic"]) == (7, ["SGP"], True)


def test_a_draft_is_written_from_the_header_texts(tmp_path: Path) -> None:
    answers = ["Very important", "Rather important", "Not very important", "Not at all important"]
    lines = ["B_COUNTRY_ALPHA;A_WAVE;V1: Important in life: Family;V2: Important in life: Friends"]
    (tmp_path / "wave8.csv").write_text("\n".join([*lines, *(f"SGP;8;{one};{one}" for one in 30 * answers)]) + "\n", encoding="utf-8")
    drafted = valuescape("codebook", tmp_path / "wave8.csv", "--out", tmp_path / "draft.csv")
    assert drafted.code == 0, drafted.err
    drawn_up = pd.read_csv(tmp_path / "draft.csv").set_index("item")["question"]
    assert (drawn_up["V1"], drawn_up["V2"]) == ("How important is your family in your life?", "How important are your friends in your life?")


def test_a_draft_never_replaces_a_file_that_is_there(tmp_path: Path) -> None:
    survey = write_synthetic_survey(tmp_path)
    (tmp_path / "mine.csv").write_text("confirmed")
    assert "mine.csv exists, and may be a draft that somebody has confirmed" in refused("codebook", survey, "--out", tmp_path / "mine.csv")
    assert (tmp_path / "mine.csv").read_text() == "confirmed"
