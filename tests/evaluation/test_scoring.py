"""Predictions of a model: one for each variant and pair, and each prompt asked once."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.evaluation import asking, scoring
from tasks.evaluation.predictions import NO_ANSWER, predictions_frame
from tasks.evaluation.scoring import ScoringJob, compare, score
from tasks.prompting.prompt import messages, render_prompt
from tasks.prompting.tree import EncodedPrompt, PromptEncoder
from tasks.study import ModelSection, Study
from tasks.study_evaluation import Reader
from tasks.training.forward import OptionScorer
from tasks.training.model import load_model
from tests.evaluation.test_asking import made_up_marts
from tests.training.tiny import QUESTIONS, made_up_pairs, save_model, tiny_tokenizer

JOB = ScoringJob("tuned", ("plain", "blank_persona", "permuted_persona"), "item", ModelSection(dtype="float32"), pairs_per_forward=4, seed=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def predictions(model: Path) -> pd.DataFrame:
    return score(made_up_pairs(), model, adapter=None, job=JOB)


def by_key(predictions: pd.DataFrame, variant: str) -> pd.DataFrame:
    return predictions[predictions["variant"] == variant].set_index(["item", "subgroup_id"])


def test_every_test_pair_has_one_prediction_of_each_variant(predictions: pd.DataFrame) -> None:
    pairs = made_up_pairs()
    tested = int(pairs["split"].isin(["id_test", "ood_test"]).sum())
    assert predictions.groupby("variant").size().to_dict() == dict.fromkeys(JOB.variants, tested)


def test_probabilities_and_the_mass_outside_make_one(predictions: pd.DataFrame) -> None:
    totals = [row["probabilities"].sum() + row["outside"] for _, row in predictions.iterrows()]
    assert totals == pytest.approx([1] * len(totals))


def test_a_blank_persona_gets_one_answer_to_a_question_whoever_is_asked(predictions: pd.DataFrame) -> None:
    blank = by_key(predictions, "blank_persona").loc["Q1", "probabilities"]
    assert len(blank) == 3
    assert all(np.array_equal(row, blank.iloc[0]) for row in blank)


def test_a_permuted_persona_is_another_subgroups(predictions: pd.DataFrame) -> None:
    """Within a question and split the answers are handed on: the two ood subgroups swap theirs, the lone id_test one takes another's."""
    plain, permuted = by_key(predictions, "plain")["probabilities"], by_key(predictions, "permuted_persona")["probabilities"]
    first, second = ("Q2", "sex=Male|age=old"), ("Q2", "sex=Male|age=young")
    assert np.array_equal(permuted[first], plain[second])
    assert np.array_equal(permuted[second], plain[first])
    assert not np.array_equal(plain[first], plain[second])
    assert not np.array_equal(permuted[("Q2", "age=young")], plain[("Q2", "age=young")])


@pytest.mark.parametrize("seed", range(5))
def test_no_subgroup_keeps_its_persona(seed: int) -> None:
    sizes = {("Q1", "id_test"): 7, ("Q1", "ood_test"): 2, ("Q2", "id_test"): 1, ("Q2", "ood_test"): 12}
    rows = [{"item": item, "split": split, "subgroup_id": f"{split} {row}"} for (item, split), size in sizes.items() for row in range(size)]
    pairs = pd.DataFrame(rows).sample(frac=1, random_state=seed)
    pairs = pairs.assign(subgroup_order=1, prompt=pairs["item"] + " " + pairs["subgroup_id"])
    permuted = asking._permuted_prompts(pairs, pairs=pairs, seed=seed)
    for key, group in pairs.groupby(["item", "split"]):
        assert not (permuted[group.index] == group["prompt"]).any()
        assert permuted[group.index].str.startswith(key[0]).all()
        assert sizes[key] == 1 or sorted(permuted[group.index]) == sorted(group["prompt"])
    assert permuted.equals(asking._permuted_prompts(pairs, pairs=pairs, seed=seed))


def test_the_persona_first_prompts_of_a_subgroup_are_asked_together(model: Path, asked: list[list[EncodedPrompt]]) -> None:
    """Another grouping shares other tokens and gives the same answers."""
    pairs = made_up_pairs()
    pairs["prompt"] = [render_prompt(QUESTIONS[row.item], persona=row.persona, order="persona_first") for row in pairs.itertuples()]
    job = replace(JOB, variants=("plain",))
    by_persona = score(pairs, model, adapter=None, job=replace(job, group_by="subgroup_id"))
    assert [len(prompts) for prompts in asked] == [3, 3, 3]
    by_question = score(pairs, model, adapter=None, job=job)
    assert set(by_question["precision"]) == {"float32"}
    for one, other in zip(by_persona["probabilities"], by_question["probabilities"], strict=True):
        assert one == pytest.approx(other, abs=1e-5)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[EncodedPrompt]]]:
    """The batches that were asked, without the ones that a new scorer tries."""
    batches: list[list[EncodedPrompt]] = []
    made = scoring.scorer_for

    def counted(*arguments: Any) -> OptionScorer:
        scorer = made(*arguments)
        scorer.register_forward_pre_hook(lambda _, inputs: batches.append(list(inputs[0])))
        return scorer

    monkeypatch.setattr(scoring, "scorer_for", counted)
    yield batches


def test_small_groups_go_through_the_model_together_and_are_answered_as_one_by_one(model: Path, asked: list[list[EncodedPrompt]]) -> None:
    job = replace(JOB, variants=("plain",))
    together, alone = (score(made_up_pairs(), model, adapter=None, job=replace(job, pairs_per_forward=size)) for size in (7, 1))
    assert [len(prompts) for prompts in asked] == [6, 3, *[1] * 9]  # a group of three would not fit any more
    for one, other in zip(together["probabilities"], alone["probabilities"], strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_a_prompt_goes_through_the_model_once(model: Path, asked: list[list[EncodedPrompt]]) -> None:
    score(made_up_pairs(), model, adapter=None, job=JOB)
    prompts = [prompt.tokens for batch in asked for prompt in batch]
    assert len(prompts) == len(set(prompts)) == 3 * (3 + 1)


def test_the_choice_is_the_likeliest_option_and_the_first_of_equals() -> None:
    pairs = pd.DataFrame({"item": "Q1", "subgroup_id": ["a", "b"], "split": "ood_test", "codes": [[0, 1, 2], [1, 3, 2]]})
    made = predictions_frame(pairs, [np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.4, 0.4])], model="base", reader="likelihood")
    assert list(made["choice"]) == [2, 3]
    assert list(made["outside"]) == pytest.approx([0.4, 0.1])


def asked_by(model: Path, reader: Reader) -> pd.DataFrame:
    return score(made_up_pairs(), model, adapter=None, job=replace(JOB, variants=("plain",), reader=reader, answer_tokens=6))


def test_the_first_token_reader_looks_at_one_token_and_divides_it_where_options_share_it(model: Path) -> None:
    """Trap: with a token for each digit, "1" begins both 1 and 10; which of them is meant is not in that token."""
    read, whole = asked_by(model, "first_token"), asked_by(model, "likelihood")
    loaded = load_model(model, ModelSection(dtype="float32"))
    row = read[read["item"] == "Q2"].iloc[0]
    pairs = made_up_pairs().set_index(["item", "subgroup_id"])
    opening = loaded.tokenizer.apply_chat_template(
        messages(pairs.loc[("Q2", row["subgroup_id"]), "prompt"]), tokenize=False, add_generation_prompt=True
    )
    tokens = loaded.tokenizer(f"{opening}Answer: ", add_special_tokens=False, return_tensors="pt")["input_ids"]
    shares = loaded.model(tokens).logits[0, -1].detach().softmax(-1)
    one, two = (float(shares[loaded.tokenizer(digit, add_special_tokens=False)["input_ids"][0]]) for digit in "12")
    assert row["probabilities"][[0, 1, 9]] == pytest.approx([one / 2, two, one / 2], abs=1e-6)
    assert (read["outside"] <= whole["outside"] + 1e-6).all()


def test_the_generated_reader_takes_exactly_one_option_or_none(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_as = {"Answer: 1": (1, 0), "Answer: 77": (NO_ANSWER, 1), "Answer: 0 or 1": (NO_ANSWER, 1), "**Answer: 1**.": (1, 0)}
    said: dict[tuple[int, ...], str] = {}

    def say(_: object, prompts: list[EncodedPrompt]) -> list[str]:
        for prompt in prompts:
            said[prompt.tokens] = list(read_as)[len(said) % 4]
        return [said[prompt.tokens] for prompt in prompts]

    monkeypatch.setattr(scoring.Generator, "__call__", say)
    read, pairs = asked_by(model, "generated"), made_up_pairs().set_index(["item", "subgroup_id"])
    encoder = PromptEncoder(tiny_tokenizer())
    for row in read.itertuples():
        prompt = encoder.encode(pairs.loc[(row.item, row.subgroup_id), "prompt"], codes=QUESTIONS[row.item].codes)
        assert (row.choice, row.outside) == read_as[said[prompt.tokens]]
    assert len(said) > 4
    assert set(read["reader"]) == {"generated"}


def test_a_random_model_s_text_is_no_answer(model: Path) -> None:
    read = asked_by(model, "generated")
    assert (read["choice"] == NO_ANSWER).all()


def test_other_readers_and_other_words_are_asked_of_the_same_sample(model: Path, sample_study: Study) -> None:
    settings = {"readers": ("likelihood", "first_token", "generated"), "variants": ("letters", "reversed_options"), "compared_pairs": 6}
    study = sample_study.model_copy(update={"evaluation": sample_study.evaluation.model_copy(update=settings)})
    made = compare(made_up_pairs(), made_up_marts(), model, adapter=None, job=JOB, study=study)
    sizes = {("first_token", "plain"): 6, ("generated", "plain"): 6, ("likelihood", "letters"): 6, ("likelihood", "reversed_options"): 6}
    assert made.groupby(["reader", "variant"]).size().to_dict() == sizes
    keys = [set(zip(rows["item"], rows["subgroup_id"], strict=True)) for _, rows in made.groupby(["reader", "variant"])]
    assert all(key == keys[0] for key in keys)


def test_letters_are_scored_as_the_options_that_they_stand_for(model: Path) -> None:
    """Asked under letters, the probabilities are those of the letters, in the order of the codes."""
    asked = made_up_pairs(("Q3",)).query("split == 'ood_test'").assign(variant="letters", labels=[("A", "B")] * 2)
    loaded = load_model(model, ModelSection(dtype="float32"))
    lettered, numbered = (scoring.ask(rows, loaded, job=JOB) for rows in (asked, asked.drop(columns="labels")))
    swapped = scoring.ask(asked.assign(labels=[("B", "A")] * 2), loaded, job=JOB)
    for one, other, plain in zip(lettered["probabilities"], swapped["probabilities"], numbered["probabilities"], strict=True):
        assert one == pytest.approx(other[::-1])
        assert one != pytest.approx(plain)
