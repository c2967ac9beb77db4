"""A run once more from its manifest; and, on real parts, what a run leaves of its log, its lineage and of a new wave."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flows.circumstances import circumstances
from flows.rerun import compare_tables, find_run, is_same_model, rerun
from tasks.errors import InputError
from tasks.files import sha256_of, write_json, write_table
from tasks.intake.synthetic import write_synthetic_survey
from tasks.study import load_study
from tests.flows.command import Ended, valuescape, write_study


def manifest_of(survey: Path, **changes: Any) -> dict[str, Any]:
    study = load_study("country", overrides=[f"survey.file={survey}", "items.limit=7"])
    told = {"study_name": "country", "run_id": "run-1", "status": "finished", "inputs": {str(survey): sha256_of(survey)}}
    return {**told, "study": study.model_dump(mode="json"), **circumstances(), **changes}


@pytest.fixture
def survey(tmp_path: Path) -> Path:
    path = tmp_path / "survey.csv"
    path.write_text("a survey")
    return path


def written(workspace: Path, manifest: dict[str, Any]) -> Path:
    write_json(workspace / "runs" / "country" / "run-1" / "manifest.json", manifest)
    return workspace / "runs" / "country" / "run-1"


def test_a_run_once_more_is_the_same_study(tmp_path: Path, survey: Path) -> None:
    again = rerun(written(tmp_path, manifest_of(survey)), workspace=tmp_path, surveys=[])
    assert load_study(str(again.study)) == load_study("country", overrides=[f"survey.file={survey}", "items.limit=7"])
    assert [difference for difference in again.differs if "its commit, now as then" not in difference] == []


def test_what_is_not_as_it_was_is_said(tmp_path: Path, survey: Path) -> None:
    here = circumstances()
    changed = {"commit": "older", "versions": here["versions"] | {"torch": "1.0"}, "hardware": here["hardware"] | {"cores": 4096}}
    again = rerun(written(tmp_path, manifest_of(survey, **changed)), workspace=tmp_path, surveys=[])
    commit, torch, machine = again.differs
    assert commit == f"the project is at commit {here['commit']}, and was at older"
    assert torch == f"torch is {here['versions']['torch']}, and was 1.0"
    assert machine.startswith("this machine is") and "4096" in machine


@pytest.mark.parametrize("place", ["given", "landed"])
def test_a_file_that_has_moved_is_found_by_its_content(tmp_path: Path, survey: Path, place: str) -> None:
    folder = written(tmp_path, manifest_of(survey))
    found = tmp_path / "moved.csv" if place == "given" else tmp_path / "landed" / sha256_of(survey)[:16] / "name.csv"
    found.parent.mkdir(parents=True, exist_ok=True)
    survey.rename(found)
    again = rerun(folder, workspace=tmp_path, surveys=[found] if place == "given" else [])
    assert load_study(str(again.study)).survey.paths() == [found]
    assert f"{survey} is not there; {found} holds the same" in again.differs


def test_a_file_that_has_gone_or_changed_is_refused(tmp_path: Path, survey: Path) -> None:
    folder = written(tmp_path, manifest_of(survey))
    survey.write_text("another survey")
    with pytest.raises(InputError, match="survey.csv holds something else than it did.*Give that file with --survey"):
        rerun(folder, workspace=tmp_path, surveys=[])
    survey.unlink()
    with pytest.raises(InputError, match="survey.csv is not there any more"):
        rerun(folder, workspace=tmp_path, surveys=[])


def test_a_run_of_another_version_is_refused(tmp_path: Path, survey: Path) -> None:
    manifest = manifest_of(survey)
    with pytest.raises(InputError, match="studies had other keys"):
        rerun(written(tmp_path, manifest | {"study": manifest["study"] | {"colour": "red"}}), workspace=tmp_path, surveys=[])
    del manifest["inputs"]
    with pytest.raises(InputError, match="manifest does not say what its files held"):
        rerun(written(tmp_path, manifest), workspace=tmp_path, surveys=[])


def test_a_run_is_found_by_id_study_and_path(tmp_path: Path, survey: Path) -> None:
    folder = written(tmp_path, manifest_of(survey))
    assert find_run("run-1", tmp_path) == find_run("country", tmp_path) == find_run(str(folder), tmp_path) == folder
    with pytest.raises(InputError, match="no run 'run-2'"):
        find_run("run-2", tmp_path)


def test_tables_are_compared_by_content_and_by_who_has_them(tmp_path: Path) -> None:
    for run, tables in {"a": {"same": 1, "changed": 1, "gone": 1}, "b": {"same": 1, "changed": 2, "new": 1}}.items():
        for name, value in tables.items():
            write_table(pd.DataFrame({"x": [value]}), tmp_path / run / "tables" / f"{name}.parquet")
    assert compare_tables(tmp_path / "a", tmp_path / "b") == (["same"], ["changed", "gone", "new"])


@pytest.mark.parametrize(("then", "now", "same"), [("a", "a", True), ("a", "b", False), (None, "b", True)])
def test_weights_that_a_name_no_longer_stands_for_are_noticed(tmp_path: Path, then: str | None, now: str, same: bool) -> None:
    for run, files in (("before", then), ("after", now)):
        write_json(tmp_path / run / "manifest.json", {"status": "finished"} | ({} if files is None else {"model_files": files}))
    assert is_same_model(tmp_path / "before", tmp_path / "after") is same


@pytest.mark.parametrize(("loss", "differs"), [(0.5, False), (0.4, True)])
def test_how_long_a_training_took_is_no_difference(tmp_path: Path, loss: float, differs: bool) -> None:
    for run, more in (("a", {"loss": 0.5, "seconds": 2.0}), ("b", {"loss": loss, "seconds": 3.0})):
        write_table(
            pd.DataFrame([{"step": 1, "samples_per_second": 16 / more["seconds"]} | more]), tmp_path / run / "tables" / "training_log.parquet"
        )
    assert compare_tables(tmp_path / "a", tmp_path / "b")[1] == ["training_log"] * differs


def test_an_image_says_which_commit_it_was_built_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no git, and two images must not pass for one."""
    monkeypatch.setenv("VALUESCAPE_COMMIT", "c0ffee")
    assert circumstances.__wrapped__()["commit"] == "c0ffee"


@pytest.mark.parametrize("arguments", [[], ["sample", "--from", "run-1"], ["--from", "run-1", "--country", "USA"]])
def test_a_study_or_a_run_is_given_not_both(tmp_path: Path, arguments: list[str]) -> None:
    ended = valuescape("run", *arguments, "--workspace", tmp_path)
    assert ended.code == 2
    assert "--from" in ended.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rerun")


@pytest.fixture(scope="module")
def workspace(folder: Path) -> Path:
    """A wave that is studied, the run once more although the file has moved, and a new version of the wave."""
    workspace = folder / "workspace"
    old = write_synthetic_survey(folder / "old")
    study = write_study(folder, items={"include": ["Q1", "Q57"]}, survey={"country": "SGP"}, training={"objective": "none"})
    rows = pd.read_csv(old, sep=";", dtype=str, keep_default_na=False)
    women = rows["Q260"] == "2"
    rows.loc[women, "Q57"] = "1"
    rows.loc[~women, "Q57"] = "2"
    rows.to_csv(folder / "new.csv", sep=";", index=False)
    _told(folder, "first", valuescape("run", study, "--survey", old, "--workspace", workspace))
    shutil.move(old, folder / "moved.csv")
    study.unlink()
    _told(folder, "again", valuescape("run", "--from", "small", "--survey", folder / "moved.csv", "--workspace", workspace, "--fresh"))
    study = write_study(folder, items={"include": ["Q1", "Q57"]}, survey={"country": "SGP"}, training={"objective": "none"})
    _told(folder, "new", valuescape("run", study, "--survey", folder / "new.csv", "--workspace", workspace))
    return workspace


def _told(folder: Path, name: str, ended: Ended) -> None:
    assert ended.code == 0, ended
    (folder / f"{name}.txt").write_text(ended.out + ended.err, encoding="utf-8")


def runs_of(workspace: Path) -> list[Path]:
    return sorted(path for path in (workspace / "runs" / "small").iterdir() if not path.is_symlink())


@pytest.mark.flow
@pytest.mark.fault
def test_a_run_from_its_manifest_has_the_same_tables_and_says_what_differs(folder: Path, workspace: Path) -> None:
    said = " ".join((folder / "again.txt").read_text(encoding="utf-8").split())
    first, again, _ = runs_of(workspace)
    same, others = compare_tables(first, again)
    assert len(same) > 8
    assert others == []
    assert f"{len(same)} tables are those of run {first.name} to the last byte." in said
    assert "moved.csv holds the same" in said
    assert json.loads((again / "manifest.json").read_text())["reused"] == []
    assert "model's files" not in said and json.loads((again / "manifest.json").read_text())["model_files"]


@pytest.mark.flow
@pytest.mark.fault
def test_every_step_is_in_the_log_of_the_run(workspace: Path) -> None:
    run = runs_of(workspace)[0]
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    done = {line["stage"] for line in lines if line["message"].startswith("done:")}
    assert done == set(json.loads((run / "manifest.json").read_text())["seconds"])
    assert {line["run_id"] for line in lines} == {run.name}
    assert any("subgroups" in line["message"] and line["stage"] == "build the tables" for line in lines), "the tasks' own lines"


@pytest.mark.flow
@pytest.mark.fault
def test_every_file_of_a_run_is_in_the_lineage(workspace: Path) -> None:
    run = runs_of(workspace)[0]
    with sqlite3.connect(workspace / "registry.sqlite") as registry:
        rows = dict(registry.execute("select file, sha256 from lineage where run_id = ?", [run.name]).fetchall())
        inputs, code, parameters = registry.execute(
            "select inputs, code, parameters from lineage where run_id = ? and file = 'tables/targets.parquet'", [run.name]
        ).fetchone()
    for path in (run / "tables").glob("*.parquet"):
        assert rows[f"tables/{path.name}"] == sha256_of(path)
    assert code == circumstances()["commit"]
    assert any(name.endswith(".duckdb") for name in json.loads(inputs))
    assert json.loads(parameters)["study"]["subgroups"]["minimum_respondents"] == 30


@pytest.mark.flow
@pytest.mark.fault
def test_a_new_version_of_a_wave_says_which_modal_answers_moved(workspace: Path) -> None:
    new = runs_of(workspace)[-1]
    drift = pd.read_parquet(new / "tables" / "drift.parquet").set_index(["item", "subgroup_id"])
    assert drift.loc["Q1", "distance"].max() < 1e-12
    assert not drift.loc["Q1", "moved"].any()
    was, now = (_modes(run) for run in (runs_of(workspace)[0], new))
    assert drift.loc["Q57", "moved"].to_dict() == {subgroup: not was[subgroup] & now[subgroup] for subgroup in drift.loc["Q57"].index}
    assert 0 < drift.loc["Q57", "moved"].sum() < len(drift.loc["Q57"])
    assert drift.loc[("Q57", "sex=Female"), "share"] == 1.0
    assert drift["respondents"].min() >= 30 and drift["respondents_before"].min() >= 30


def _modes(run: Path) -> dict[str, set[int]]:
    """Subgroup -> the modal options of Q57, several where they tie."""
    targets = pd.read_parquet(run / "tables" / "targets.parquet")
    rows = targets.loc[targets["item"] == "Q57", ["subgroup_id", "tied_codes"]].itertuples(index=False, name=None)
    return {subgroup: set(codes) for subgroup, codes in rows}


@pytest.mark.flow
@pytest.mark.fault
def test_after_cleaning_a_run_reuses_what_the_runs_that_stayed_have(folder: Path, workspace: Path) -> None:
    assert "Removed." in valuescape("clean", "--max-size", "0", "--yes", "--workspace", workspace).out
    (stayed,) = runs_of(workspace)
    study = write_study(folder, items={"include": ["Q1", "Q57"]}, survey={"country": "SGP"}, training={"objective": "none"})
    ended = valuescape("run", study, "--survey", folder / "new.csv", "--workspace", workspace)
    assert ended.code == 0, ended
    again = runs_of(workspace)[-1]
    manifest = json.loads((again / "manifest.json").read_text())
    assert {"take in the survey", "build the tables", "score a model: base"} <= set(manifest["reused"])
    same, others = compare_tables(stayed, again)
    assert set(others) <= {"drift"}, "the run that it would be compared with has gone"
    assert "targets" in same
