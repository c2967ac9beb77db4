"""The pairs of the sample study, and the dataset that other trainers read."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tasks.files import FileSet
from tasks.prompting.pairs import build_pairs, read_questions
from tasks.prompting.prompt import answer_text, messages
from tasks.quality.evidence import Limits, check
from tasks.study import Study

SPLITS = ("train", "validation", "id_test", "ood_test")
Chat = dict
SINGAPORE = [{"country": "SGP", "country_name": "Singapore", "wave": 7, "year": 2020}]


@pytest.fixture(scope="module")
def made(sample_marts: FileSet, sample_study: Study, tmp_path_factory: pytest.TempPathFactory) -> FileSet:
    return build_pairs(sample_marts, sample_study, populations=SINGAPORE, folder=tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def pairs(made: FileSet) -> pd.DataFrame:
    return made.read("pairs")


@pytest.fixture(scope="module")
def dataset(made: FileSet) -> dict[str, list[Chat]]:
    return {split: [json.loads(line) for line in made.path(f"dataset/{split}.jsonl").read_text(encoding="utf-8").splitlines()] for split in SPLITS}


def test_every_target_is_one_pair_with_its_survey_answer(pairs: pd.DataFrame, sample_marts: FileSet) -> None:
    keys = ["item", "subgroup_id"]
    shown = [*keys, "code", "tied", "margin", "respondents", "effective_n"]
    pd.testing.assert_frame_equal(pairs[shown], sample_marts.read("targets")[shown])
    assert not pairs.duplicated(keys).any()
    assert set(pairs["split"]) == set(SPLITS)


def test_the_largest_share_of_a_pair_is_its_target_s(pairs: pd.DataFrame) -> None:
    for row in pairs.to_dict("records"):
        assert len(row["codes"]) == len(row["shares"]) == row["k"]
        assert row["shares"].sum() == pytest.approx(1, abs=1e-12)
        assert row["codes"][row["shares"].argmax()] in row["tied_codes"]


def test_no_code_of_a_pair_is_a_missing_code(pairs: pd.DataFrame) -> None:
    assert min(codes.min() for codes in pairs["codes"]) >= 0


def test_a_prompt_holds_the_question_its_options_and_the_persona_of_its_subgroup(pairs: pd.DataFrame, sample_marts: FileSet) -> None:
    questions = read_questions(sample_marts.read("items"), sample_marts.read("options"))
    for row in pairs.to_dict("records"):
        question = questions[row["item"]]
        assert row["prompt"].endswith(f"\n\n{row['persona']}")
        assert f"\n\n{question.wording}\n{question.codes[0]}. {question.options[0]}\n" in row["prompt"]
        assert question.codes == tuple(row["codes"])
    one = pairs[pairs["subgroup_id"] == "sex=Female|religion=Muslim"]
    assert set(one["persona"]) == {"You live in Singapore. You are a woman. Your religion is Muslim."}


def test_subgroups_of_a_question_are_told_apart_by_their_prompts(pairs: pd.DataFrame) -> None:
    assert not pairs["prompt"].duplicated().any()


def test_persona_first_changes_the_prompts_and_nothing_else(pairs: pd.DataFrame, sample_marts: FileSet, sample_study: Study, tmp_path: Path) -> None:
    study = Study.model_validate(sample_study.model_dump() | {"prompt": {"order": "persona_first"}})
    turned = build_pairs(sample_marts, study, populations=SINGAPORE, folder=tmp_path).read("pairs")
    assert all(prompt.startswith(f"{persona}\n\n") for prompt, persona in zip(turned["prompt"], turned["persona"], strict=True))
    pd.testing.assert_frame_equal(turned.drop(columns="prompt"), pairs.drop(columns="prompt"))


def test_equal_marts_give_equal_files_to_the_byte(made: FileSet, sample_marts: FileSet, sample_study: Study, tmp_path: Path) -> None:
    assert build_pairs(sample_marts, sample_study, populations=SINGAPORE, folder=tmp_path).content_key == made.content_key


def test_the_dataset_has_each_split_s_pairs_in_a_file_of_its_own(dataset: dict[str, list[Chat]], pairs: pd.DataFrame) -> None:
    for split, chats in dataset.items():
        rows = pairs[pairs["split"] == split]
        assert [(chat["item"], chat["subgroup_id"]) for chat in chats] == list(zip(rows["item"], rows["subgroup_id"], strict=True))


def test_a_line_of_the_dataset_is_the_chat_that_is_trained_with_the_modal_answer(dataset: dict[str, list[Chat]], pairs: pd.DataFrame) -> None:
    known = pairs.set_index(["item", "subgroup_id"])
    for chat in (chat for chats in dataset.values() for chat in chats):
        pair = known.loc[(chat["item"], chat["subgroup_id"])]
        assert chat["messages"] == [*messages(pair["prompt"]), {"role": "assistant", "content": answer_text(pair["code"])}]
        assert list(chat["shares"]) == [str(code) for code in pair["codes"]]
        assert all(round(share, 3) == share for share in chat["shares"].values())
        assert list(chat["shares"].values()) == pytest.approx(pair["shares"].tolist(), abs=5.01e-4)


def test_the_record_names_every_file_and_they_hold(made: FileSet) -> None:
    assert set(made.files) == {"tables/pairs.parquet", *(f"dataset/{split}.jsonl" for split in SPLITS)}
    assert made.rows == {"pairs": len(made.read("pairs"))}
    assert made.holds()


@pytest.mark.parametrize("overlap", ["keep", "disjoint"])
def test_unseen_questions_pass_the_pairs_gate_and_know_where_they_differ_from_a_country_that_was_not_trained(
    sample_marts: FileSet, sample_study: Study, tmp_path: Path, overlap: str
) -> None:
    study = Study.model_validate(sample_study.model_dump() | {"split": {"kind": "unseen_question", "overlap": overlap}})
    made = build_pairs(sample_marts, study, populations=SINGAPORE, folder=tmp_path)
    limits = Limits(
        minimum_respondents=15, minimum_effective_n=0, subgroup_order=2, quarantine_limit=0.005, countries=["SGP"], split_kind="unseen_question"
    )
    assert check("pairs", made=[made], limits=limits, folder=tmp_path).failed == 0
    pairs, items = made.read("pairs"), sample_marts.read("items")
    unseen = pairs[pairs["split"] == "ood_test"]
    assert unseen["item"].nunique() == round(0.3 * len(items)) and set(unseen["subgroup_order"]) == {1, 2}
    assert not set(unseen["item"]) & set(pairs.loc[pairs["split"] != "ood_test", "item"])
    national = _everybody(sample_marts, overlap)
    assert (unseen["differs"] == (unseen["code"] != unseen["item"].map(national))).all() and 0 < unseen["differs"].mean() < 1


def _everybody(marts: FileSet, overlap: str) -> pd.Series:
    """The country's modal answers, of the half that is trained where there are halves."""
    halves = marts.read("half_targets", under="halves")
    targets = marts.read("targets") if overlap == "keep" else halves[halves["half"] == "A"]
    return targets[targets["subgroup_id"] == "all"].set_index("item")["code"]
