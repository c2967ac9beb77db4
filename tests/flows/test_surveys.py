"""What a study makes of the surveys that it is given: damaged ones, several, one that holds what nobody else says. On a tiny model."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from tasks.intake.synthetic import write_synthetic_survey
from tests.flows.command import Ended, read, server_up, valuescape, with_unknown_codes, write_study
from tests.training.tiny import save_model

pytestmark = pytest.mark.flow
CANARIES = ("987654321012", "1.7305112", "what-nobody-else-said")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """With a tiny model and a workspace that the tests share, whose server is up."""
    folder = tmp_path_factory.mktemp("surveys")
    save_model(folder / "tiny")
    with server_up(folder / "workspace"):
        yield folder


@pytest.fixture
def workspace(folder: Path) -> Path:
    return folder / "workspace"


def studied(folder: Path, study: Path, *arguments: str | Path) -> Ended:
    return valuescape("run", study, *arguments, "--model", folder / "tiny", "--workspace", folder / "workspace")


def test_a_failed_gate_stops_the_study_and_names_table_rule_and_count(folder: Path, workspace: Path) -> None:
    survey = with_unknown_codes(write_synthetic_survey(folder))
    study = write_study(folder, survey={"country": "SGP"})
    ended = studied(folder, study, "--survey", survey)
    assert ended.code == 1
    assert "gate intake" in ended.err
    assert "assert_answer_quarantine_within_limit" in ended.err
    assert "Q57" in ended.err
    assert "Traceback" not in ended.err
    failed = sorted((workspace / "runs" / "small").iterdir())[-2:]
    assert not any((path / "tables").exists() for path in failed if read(path / "manifest.json")["status"] == "failed")


def test_two_files_are_one_study_that_tests_the_country_it_never_saw_in_two_replications(folder: Path, workspace: Path) -> None:
    files = [write_synthetic_survey(folder / "singapore"), folder / "japan.csv"]
    survey = pd.read_csv(files[0], sep=";", dtype=str, keep_default_na=False)
    survey.assign(B_COUNTRY_ALPHA="JPN", B_COUNTRY="392").tail(1000).to_csv(files[1], sep=";", index=False)
    study = write_study(folder, items={"include": ["Q1", "Q57"]}, survey={"wave": 7}, split={"kind": "unseen_country", "unseen": ["JPN"]})
    arguments = [argument for file in files for argument in ("--survey", file)]
    ended = studied(folder, study, *arguments, "--set", "name=several", "--set", "training.objective=none", "--set", "replications=2")
    assert ended.code == 0, ended
    run = workspace / "runs" / "several" / "latest"
    assert [gate["stage"] for gate in read(run / "quality" / "gates.json")] == [
        *("intake-1", "intake-2", "staging-1", "staging-2", "pooled", "marts", "pairs", "base_predictions", "overlap")
    ]
    pairs = pd.read_parquet(run / "tables" / "pairs.parquet")
    assert set(pairs.loc[pairs["split"] == "ood_test", "subgroup_id"]) == set(pairs.loc[pairs["subgroup_id"].str.contains("JPN"), "subgroup_id"])
    assert pairs.set_index("subgroup_id").loc["country=JPN|sex=Female", "persona"].iloc[0] == "You live in Japan. You are a woman."
    summary, manifest = read(run / "summary.json"), read(run / "manifest.json")
    assert (summary["survey"]["country"], summary["survey"]["respondents"]) == ("JPN and SGP", 3012)
    assert [population["country"] for population in manifest["survey"]["populations"]] == ["JPN", "SGP"]
    other = pd.read_parquet(run / "replications" / "2" / "tables" / "pairs.parquet")
    drawn = [set(frame.loc[frame["split"] == "id_test", ["item", "subgroup_id"]].itertuples(index=False, name=None)) for frame in (pairs, other)]
    assert len(drawn[0]) == len(drawn[1]) and drawn[0] != drawn[1]
    assert pd.read_parquet(run / "tables" / "replications.parquet")["replications"].max() == 2
    assert "Japan and Singapore" in (run / "report" / "index.html").read_text(encoding="utf-8")


def test_unseen_questions_are_answered_for_everybody_and_trained_for_nobody(folder: Path, workspace: Path) -> None:
    study = write_study(folder, items={"include": ["Q1", "Q2", "Q57", "Q164"]}, split={"kind": "unseen_question", "unseen": ["Q2"]})
    ended = studied(folder, study, "--set", "name=questions")
    assert ended.code == 0, ended
    run = workspace / "runs" / "questions" / "latest"
    pairs, predictions = (pd.read_parquet(run / "tables" / f"{name}.parquet") for name in ("pairs", "predictions"))
    assert set(pairs.loc[pairs["split"] == "ood_test", "item"]) == {"Q2"} == set(pairs.loc[pairs["item"] == "Q2", "item"])
    assert set(pairs.loc[pairs["item"] == "Q2", "split"]) == {"ood_test"}
    assert {"base", "tuned", "nearest_question", "topic_prior"} <= set(predictions.loc[predictions["split"] == "ood_test", "model"])
    assert "Unseen questions" in (run / "report" / "index.html").read_text(encoding="utf-8")


def test_nothing_of_a_respondent_is_in_what_a_run_leaves_outside_the_surveys(folder: Path, workspace: Path) -> None:
    """One respondent has an id, a weight and an answer that nobody else has; the answer is quarantined."""
    rows = pd.read_csv(write_synthetic_survey(folder), sep=";", dtype=str, encoding="utf-8-sig")
    rows.loc[5, ["D_INTERVIEW", "W_WEIGHT", "Q57"]] = CANARIES
    rows.to_csv(folder / "canary.csv", sep=";", index=False)
    study = write_study(folder, survey={"country": "SGP"}, training={"objective": "none"})
    ended = studied(folder, study, "--survey", folder / "canary.csv")
    assert ended.code == 0, ended
    run = (workspace / "runs" / "small" / "latest").resolve()
    assert any(canary in text for canary in CANARIES for text in _texts(workspace / "surveys")), "the canaries are where they may be"
    for text in (ended.out, ended.err, *_texts(run), *_texts(workspace / "prefect")):
        assert not [canary for canary in CANARIES if canary in text]


def _texts(folder: Path) -> Iterator[str]:
    """Everything under a folder as text: the cells of tables, the bytes of all else."""
    for path in (path for path in folder.rglob("*") if path.is_file()):
        if path.suffix == ".parquet":
            yield pd.read_parquet(path).to_csv()
        elif path.suffix == ".duckdb":
            with duckdb.connect(str(path), read_only=True) as connection:
                for (table,) in connection.execute("select table_name from duckdb_tables()").fetchall():
                    yield connection.execute(f'from "{table}"').df().to_csv()
        else:
            yield path.read_bytes().decode("latin-1")


@pytest.mark.parametrize(
    ("dropped", "expected"),
    [("W_WEIGHT", "survey.weight to none"), ("Q289", "Q289")],
    ids=["without its weight column", "without a dimension's column"],
)
def test_a_survey_that_lacks_a_column_is_refused(folder: Path, workspace: Path, dropped: str, expected: str) -> None:
    rows = pd.read_csv(write_synthetic_survey(folder), sep=";", dtype=str, encoding="utf-8-sig")
    rows.drop(columns=dropped).to_csv(folder / "lacking.csv", sep=";", index=False)
    study = write_study(folder, survey={"country": "SGP"})
    ended = studied(folder, study, "--survey", folder / "lacking.csv")
    assert ended.code == 2
    assert expected in ended.err
    assert "Traceback" not in ended.err
