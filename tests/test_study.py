"""A study is refused at load when it cannot run; the message says which key, and what to do."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tasks.errors import InputError
from tasks.study import STUDIES_FOLDER, load_study, overridden, shipped_studies


def sample() -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((STUDIES_FOLDER / "sample.yaml").read_text(encoding="utf-8"))
    return values


def refusal(folder: Path, values: Any, *overrides: str) -> str:
    path = folder / "study.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(InputError) as raised:
        load_study(str(path), overrides=list(overrides))
    assert raised.value.exit_code == 2
    return str(raised.value)


def test_the_four_studies_of_the_readme_are_shipped_and_say_how_they_are_run() -> None:
    assert shipped_studies() == ["country-w7", "sample", "singapore-w7", "tan2026"]
    for name in shipped_studies():
        assert load_study(name).name == name
        assert (STUDIES_FOLDER / f"{name}.yaml").read_text(encoding="utf-8").startswith(f"# valuescape run {name}")


def test_tan2026_follows_the_paper() -> None:
    study = load_study("tan2026")
    assert (study.prompt.order, study.training.objective, study.split.overlap) == ("persona_first", "tokens", "keep")
    assert study.subgroups.minimum_respondents == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"trainng": {}}, "unknown key 'trainng'"),
        ({"training": {"epochs": "many"}}, "training.epochs"),
        ({"training": {"epochs": -1}}, "training.epochs"),
        ({"split": {"held_out": 1.5}}, "split.held_out"),
        ({"name": "No Spaces"}, "name"),
        ({"dimensions": {"sex": {"column": "Q260", "persona": "You are {level}."}}}, "at least two"),
        ({"dimensions": {"sex": {"column": "Q260", "persona": "You are."}, "age": {"column": "Q262", "persona": "{level}"}}}, "lacks '{level}'"),
    ],
)
def test_what_cannot_run_is_refused(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    assert expected in refusal(tmp_path, sample() | change)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    values = sample()
    del values["title"]
    assert "key 'title' is missing" in refusal(tmp_path, values)


@pytest.mark.parametrize("text", ["- a\n- list\n", "a: [unclosed\n", "just words"])
def test_what_is_no_study_file_is_refused(tmp_path: Path, text: str) -> None:
    assert "sample.yaml" in refusal(tmp_path, text)


def test_overrides_change_single_settings(tmp_path: Path) -> None:
    study = load_study("sample", overrides=["training.epochs=3", "items.include=[Q1, Q2]"])
    assert study.training.epochs == 3
    assert study.items.include == ("Q1", "Q2")
    assert study.training.lora_rank == load_study("sample").training.lora_rank
    assert "is a value, not a section" in refusal(tmp_path, sample(), "name.first=x")


def test_a_study_cannot_be_changed_once_it_is_loaded() -> None:
    with pytest.raises(ValidationError):
        load_study("sample").seed = 1  # type: ignore[misc]


def test_the_command_lines_choices_become_settings() -> None:
    choices = overridden(["training.epochs=1"], surveys=["a file.csv"], country="SGP", model="sample")
    study = load_study("country-w7", overrides=choices)
    assert (study.survey.file, study.survey.country, study.model.name, study.training.epochs) == ("a file.csv", "SGP", "sample", 1)


def test_two_survey_files_are_refused() -> None:
    with pytest.raises(InputError, match="2 survey files"):
        overridden(None, surveys=["a.csv", "b.csv"])
