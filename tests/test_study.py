"""A study is refused at load when it cannot run, in words that name the key and what to do."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tasks.errors import InputError
from tasks.study import load_study, overridden, shipped_studies

SMALL: dict[str, Any] = {
    "name": "small",
    "title": "Small",
    "dimensions": {"sex": {"column": "Q260", "persona": "You are {level}."}, "age": {"column": "Q262", "persona": "{level}", "bands": [16, 25]}},
}


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Write the small study with some keys changed, and give its path."""

    def write(text: str | None = None, **changes: Any) -> str:
        path = tmp_path / "small.yaml"
        path.write_text(text if text is not None else yaml.safe_dump(SMALL | changes, sort_keys=False))
        return str(path)

    return write


def refusal(path: str, *overrides: str) -> str:
    with pytest.raises(InputError) as refused:
        load_study(path, overrides=list(overrides))
    assert refused.value.exit_code == 2
    return str(refused.value)


def test_the_studies_that_the_project_promises_are_shipped() -> None:
    assert {"sample", "singapore-w7", "country", "tan2026"} <= set(shipped_studies())


@pytest.mark.parametrize("name", shipped_studies())
def test_a_shipped_study_loads_and_can_be_written_and_read_again(name: str, written: Any) -> None:
    study = load_study(name)
    assert study.name == name
    assert load_study(written(yaml.safe_dump(study.model_dump(mode="json")))) == study


def test_tan2026_follows_the_paper() -> None:
    study = load_study("tan2026")
    assert (study.prompt.order, study.training.objective, study.split.overlap) == ("persona_first", "tokens", "keep")
    assert study.subgroups.minimum_respondents == 1


def test_a_study_of_the_least_keys_has_the_defaults_of_the_design(written: Any) -> None:
    study = load_study(written())
    assert (study.subgroups.minimum_respondents, study.split.held_out, study.split.id_test, study.split.validation) == (30, 0.3, 0.1, 0.1)
    assert (study.prompt.order, study.prompt.shared_by) == ("question_first", "item")
    assert (study.training.objective, study.evaluation.reader) == ("distribution", "likelihood")
    assert list(study.dimensions) == ["sex", "age"], "in the order of the file"


def test_the_pairs_that_begin_alike_are_a_persona_s_when_it_comes_first(written: Any) -> None:
    assert load_study(written(), overrides=["prompt.order=persona_first"]).prompt.shared_by == "subgroup_id"


def test_a_study_is_frozen(written: Any) -> None:
    study = load_study(written())
    for section, key in ((study, "seed"), (study.training, "epochs"), (study.dimensions["sex"], "column")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, key, 1)


# Overrides


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("training.epochs=3", "training", "epochs", 3.0),
        ("training.learning_rate=5e-4", "training", "learning_rate", 0.0005),
        ("items.include=[Q6, Q7]", "items", "include", ("Q6", "Q7")),
        ("survey.file=null", "survey", "file", None),
        ("survey.file=a=b.csv", "survey", "file", "a=b.csv"),
        (" survey.country =SGP", "survey", "country", "SGP"),
    ],
)
def test_an_override_changes_its_key_alone(written: Any, override: str, section: str, key: str, value: Any) -> None:
    plain, changed = load_study(written()), load_study(written(), overrides=[override])
    assert getattr(getattr(changed, section), key) == value
    assert plain.model_dump() | {section: getattr(plain, section).model_dump() | {key: value}} == changed.model_dump()


def test_of_two_overrides_of_a_key_the_last_one_counts(written: Any) -> None:
    assert load_study(written(), overrides=["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs", "--set 'training.epochs': expected key=value, for example training.epochs=3"),
        ("title.size=3", "--set 'title.size=3': 'title' is a value, not a section with keys"),
        ("items.include=[Q6", "--set 'items.include=[Q6': the value is not readable YAML; put quotes around"),
        ("title=one: two: three", "the value is not readable YAML"),
        ("title=2026-13-45", "the value is not readable YAML"),
        ("training.epoch=3", "unknown key 'training.epoch'; remove it or correct its spelling"),
        ("training.epochs=many", "training.epochs: Input should be a valid number"),
        ("=3", "--set '=3': expected key=value"),
        ("training.=3", "--set 'training.=3': expected key=value"),
    ],
)
def test_an_override_that_cannot_be_meant_is_refused(written: Any, override: str, message: str) -> None:
    assert message in refusal(written(), override)


def test_the_command_line_s_choices_become_overrides() -> None:
    lines = overridden(["seed=7"], surveys=['my "wave" 7: a.csv'], country="SGP", model="sample")
    study = load_study("sample", overrides=lines)
    assert (study.seed, study.survey.file, study.survey.country, study.model.name) == (7, 'my "wave" 7: a.csv', "SGP", "sample")
    assert overridden(None) == []


def test_naming_a_served_model_asks_for_no_training() -> None:
    study = load_study("sample", overrides=overridden(None, model="openai:gpt/x:1"))
    assert (study.model.served_name, study.training.objective) == ("gpt/x:1", "none")
    assert load_study("sample").model.served_name is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.name=openai:x"], "model openai:x is on a server, and training.objective is distribution; set training.objective=none"),
        (["model.name='openai:'", "training.objective=none"], "names no model; give `sample`, a name, a folder or openai:NAME"),
        (["evaluation.judge=gpt-x"], "judge 'gpt-x' is unknown; set it to base, or to openai:NAME"),
        (["evaluation.budget.cost=5"], "budget.cost needs prices; add server.prices"),
        (["evaluation.budget.cost=0"], "evaluation.budget.cost"),
        (["evaluation.variants=[upside_down]"], "evaluation.variants"),
    ],
)
def test_what_cannot_be_asked_of_a_server_or_a_model_is_refused(overrides: list[str], message: str) -> None:
    assert message in refusal("sample", *overrides)


def test_a_study_like_another_takes_what_it_does_not_say_from_it(tmp_path: Path) -> None:
    usual = load_study("country")
    assert load_study("country-w7") == usual.model_copy(
        update={"name": "country-w7", "title": "A country of World Values Survey wave 7", "survey": usual.survey.model_copy(update={"wave": 7})}
    )
    (tmp_path / "mine.yaml").write_text("like: country-w7\nname: mine\n")
    with pytest.raises(InputError, match="is like country-w7, which is itself like country. Name a study that is like none"):
        load_study(str(tmp_path / "mine.yaml"))


def test_several_files_countries_and_waves_are_one_survey(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.csv", "b.csv")]
    for file in files:
        file.write_text("version\n")
    lines = overridden(["survey.wave=[6, 7]"], surveys=[str(file) for file in files], country=["SGP", "USA"])
    survey = load_study("country", overrides=lines).survey
    assert (survey.paths(), survey.countries, survey.waves, survey.has_one_file) == (files, ("SGP", "USA"), (6, 7), False)
    with pytest.raises(InputError, match=r"a.csv is given twice; its respondents would count twice"):
        load_study("country", overrides=overridden(None, surveys=[str(files[0])] * 2)).survey.paths()


# What is refused


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"dimension": {}}, ["unknown key 'dimension'", "correct its spelling"]),
        ({"split": {"heldout": 0.2}}, ["unknown key 'split.heldout'"]),
        ({"dimensions": SMALL["dimensions"] | {"sex": {"column": "Q260", "persona": "{level}", "band": [1]}}}, ["unknown key 'dimensions.sex.band'"]),
        ({"training": {"epochs": "two"}}, ["training.epochs: ", "valid number", "found 'two'"]),
        ({"training": {"epochs": -1}}, ["training.epochs: ", "greater than 0", "found -1"]),
        ({"training": "none"}, ["training: ", "found 'none'"]),
        ({"training": {"epochs": float("inf")}}, ["training.epochs: ", "finite"]),
        ({"training": {"objective": "tokenz"}}, ["training.objective: ", "'tokens', 'modal', 'distribution', 'ordinal' or 'none'", "found 'tokenz'"]),
        ({"split": {"held_out": 30}}, ["split.held_out: ", "less than 1", "found 30"]),
        ({"split": {"overlap": "some"}}, ["split.overlap: ", "'keep' or 'disjoint'", "found 'some'"]),
        ({"split": {"swapped": True}}, ["split: ", "swapped exchanges the halves of the survey, and overlap is keep; set it to disjoint"]),
        ({"subgroups": {"minimum_respondents": 0}}, ["subgroups.minimum_respondents: ", "greater than 0"]),
        ({"seed": 2**63}, ["seed: ", "less than 9223372036854775808"]),
        ({"seed": -1}, ["seed: ", "greater than or equal to 0", "found -1"]),
        ({"items": {"include": []}}, ["items.include: ", "at least 1 item"]),
        ({"name": "My Study"}, ["name: ", "found 'My Study'"]),
        ({"dimensions": {"sex": SMALL["dimensions"]["sex"]}}, ["dimensions holds 1, and intersections of order 2 need as many; add one"]),
        (
            {"dimensions": {**SMALL["dimensions"], "topic": SMALL["dimensions"]["age"]}},
            ["dimensions holds topic, a name that the tables use themselves"],
        ),
        ({"dimensions": {**SMALL["dimensions"], "sex=x|y": SMALL["dimensions"]["age"]}}, ["dimensions.sex=x|y", "match pattern"]),
        (
            {"dimensions": SMALL["dimensions"] | {"sex": {"column": "Q260", "persona": "You are {sex}."}}},
            ["dimensions.sex: ", "persona 'You are {sex}.' lacks '{level}', the place where the level is put"],
        ),
    ],
)
def test_a_key_that_cannot_be_meant_is_named_with_what_was_found_and_what_to_do(written: Any, changes: dict[str, Any], messages: list[str]) -> None:
    told = refusal(written(**changes))
    assert "small.yaml" in told
    for message in messages:
        assert message in told


def test_every_fault_of_a_study_is_named_at_once(written: Any) -> None:
    told = refusal(written(seed="x", title=3, colour="red"))
    assert all(key in told for key in ("seed: ", "title: ", "'colour'"))


def test_a_missing_key_is_named(written: Any) -> None:
    assert "key 'dimensions' is missing; add it as in flows/studies/sample.yaml" in refusal(written("name: a\ntitle: b\n"))
    persona_only = {"sex": {"persona": "{level}"}, "age": SMALL["dimensions"]["age"]}
    assert "key 'dimensions.sex.column' is missing" in refusal(written(dimensions=persona_only))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2\nb: 3", "is not readable YAML"),
        ("a: *nothing", "is not readable YAML"),
        ("title: 2026-13-45", "is not readable YAML: month must be in 1..12"),
        ("title: one\ntitle: two", "key title appears twice"),
        ("just a sentence", "holds str, expected keys and values as in flows/studies/sample.yaml"),
        ("- a\n- b", "holds list, expected keys and values"),
        ("", "holds NoneType, expected keys and values"),
    ],
)
def test_a_file_that_is_no_study_is_refused(written: Any, text: str, message: str) -> None:
    assert message in refusal(written(text))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "survey.xlsx").write_bytes(b"PK\x03\x04\xff\xfe\x00\x81")
    assert "is not readable YAML" in refusal(str(tmp_path / "survey.xlsx"))


@pytest.mark.parametrize("name", ["samples", "nowhere/else.yaml", "."])
def test_a_study_that_is_not_there_is_refused_with_those_that_are(name: str) -> None:
    told = refusal(name)
    assert f"no study {name!r}" in told
    assert "sample" in told
    assert "the path of a YAML file" in told


# The survey file


def test_the_survey_of_a_study_is_the_synthetic_one_or_a_file_that_is_there(written: Any, tmp_path: Path) -> None:
    (tmp_path / "wave7.csv").write_text("version\n")
    assert load_study("sample").survey.is_synthetic
    survey = load_study(written(survey={"file": str(tmp_path / "wave7.csv")})).survey
    assert not survey.is_synthetic
    assert survey.paths() == [tmp_path / "wave7.csv"]


@pytest.mark.parametrize(("file", "message"), [(None, "give it as --survey FILE"), ("gone.csv", "gone.csv does not exist or is no file")])
def test_a_survey_file_that_is_not_named_or_not_there_is_asked_for(written: Any, file: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_study(written(survey={"file": file})).survey.paths()


def test_replications_of_disjoint_halves_swap_them_before_they_change_the_seeds(written: Any) -> None:
    study = load_study(str(written(seed=7, split={"overlap": "disjoint"})))
    found = [study.replicate(number) for number in range(4)]
    assert found[0] == study
    assert [(one.seed, one.split.trained_half, one.split.tested_half) for one in found] == [
        (7, "A", "B"),
        (7, "B", "A"),
        (8, "A", "B"),
        (8, "B", "A"),
    ]
    kept = load_study(str(written(seed=7)))
    assert [(kept.replicate(number).seed, kept.replicate(number).split.swapped) for number in range(3)] == [(7, False), (8, False), (9, False)]


def test_halves_need_the_minimum_where_they_are_trained_and_tested_and_half_of_it_where_they_only_audit(written: Any) -> None:
    cells = {"minimum_respondents": 31, "minimum_effective_n": 10.0}
    kept, disjoint = (load_study(str(written(subgroups=cells, split={"overlap": overlap}))) for overlap in ("keep", "disjoint"))
    assert kept.least_in_a_half == {"minimum_respondents": 16, "minimum_effective_n": 5.0}
    assert disjoint.least_in_a_half == cells
