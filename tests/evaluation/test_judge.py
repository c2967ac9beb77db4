"""A judge reads a text blind to the persona, in two orders; the labelled set says how far it is to be believed."""

import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import cohen_kappa_score

from tasks.evaluation import judge
from tasks.evaluation.judge import NO_TEXT, NONE, calibrate, judge_texts, kappa_within_questions, labelled_texts, read_responses
from tasks.evaluation.open_ended import names_option, open_pairs
from tasks.evaluation.predictions import NO_ANSWER
from tasks.evaluation.scoring import ScoringJob, respond
from tasks.prompting.prompt import Question
from tasks.study import ModelSection, Study
from tasks.training.model import LoadedModel
from tests.evaluation.test_asking import made_up_marts
from tests.training.tiny import made_up_pairs, tiny_model, tiny_tokenizer

QUESTION = Question("How important is family?", (1, 2, 3), ("Very", "Rather", "Not at all"))
Asks = Callable[[pd.DataFrame], list[np.ndarray]]


def texts_of(*texts: str) -> pd.DataFrame:
    asked = pd.Series([QUESTION] * len(texts), dtype=object)
    return pd.DataFrame({"item": "Q1", "text": list(texts), "question": asked, "subgroup_id": "a", "split": "ood_test"})


def shown(prompt: str) -> list[str]:
    """The options of a judge's prompt, in the order in which they are shown."""
    return re.findall(r"^[A-Z]+\. (.*)$", prompt, re.MULTILINE)


def one_who_reads(understands: Callable[[str, list[str]], str], *, leaning: float = 0.0) -> Asks:
    """A judge that gives 0.6 to the option that it understands (`leaning` of the rest to whatever stands first), and the remainder to all."""

    def asks(rows: pd.DataFrame) -> list[np.ndarray]:
        made = []
        for prompt, text in zip(rows["prompt"], rows["text"], strict=True):
            options = shown(prompt)
            shares = np.full(len(options), (0.4 - leaning) / len(options))
            shares[0] += leaning
            meant = understands(text, options)
            made.append(shares + [0.6 * (option == meant) for option in options])
        return made

    return asks


def test_a_judge_s_answer_is_put_back_in_scale_order() -> None:
    meant = {"family first": "Very", "so so": "Rather", "the weather": NONE, NO_TEXT: ""}
    judged = judge_texts(texts_of("family first", "so so", "the weather"), one_who_reads(lambda text, _: meant[text]))
    assert [int(shares.argmax()) for shares in judged] == [0, 1, 3]
    assert [shares.sum() for shares in judged] == pytest.approx([1, 1, 1])


def test_trap_9_what_a_judge_gives_to_a_place_cancels() -> None:
    """Options are shown in one order and in its opposite; a judge that only ever takes the first has said nothing of the text."""
    judged = judge_texts(texts_of("family first"), one_who_reads(lambda _, options: options[0], leaning=0.3))
    assert judged[0] == pytest.approx([0.25] * 4)
    orders: list[list[str]] = []

    def asks(rows: pd.DataFrame) -> list[np.ndarray]:
        orders.extend(shown(prompt) for prompt in rows["prompt"])
        return [np.full(4, 0.25) for _ in rows.index]

    judge_texts(texts_of("family first"), asks)
    assert orders[0] == orders[1][::-1]
    assert set(orders[0]) == {*QUESTION.options, NONE}


def test_a_judge_never_sees_the_persona() -> None:
    prompts: list[str] = []

    def asks(rows: pd.DataFrame) -> list[np.ndarray]:
        prompts.extend(rows["prompt"])
        return [np.full(len(labels), 0.1) for labels in rows["labels"]]

    judge_texts(texts_of("family first").assign(persona="You are a woman.", subgroup_id="sex=Female"), asks)
    assert not any("woman" in prompt or "Female" in prompt for prompt in prompts)
    assert sum("family first" in prompt for prompt in prompts) == 2


def test_a_text_that_means_no_option_or_that_nobody_judged_is_no_answer() -> None:
    responses = texts_of("a", "b", "c").assign(codes=[[1, 2, 3]] * 3)
    judged = [np.array([0.1, 0.6, 0.1, 0.2]), np.array([0.2, 0.1, 0.1, 0.6]), judge._settled(np.zeros(4))]
    read = read_responses(responses, judged, model="base")
    assert list(read["choice"]) == [2, NO_ANSWER, NO_ANSWER]
    assert list(read["outside"]) == pytest.approx([0.2, 1, 1])
    assert set(read["reader"]) == {"open_ended"}


@pytest.mark.parametrize(
    ("text", "named"), [("I'd say 3.", True), ("Very much so", True), ("It is everything to me", False), ("Every day", False), ("13 of them", False)]
)
def test_a_text_that_names_an_option_is_told_from_a_free_one(text: str, named: bool) -> None:
    assert names_option(text, QUESTION) is named


def test_the_labelled_set_has_every_kind_of_scale_in_both_styles_and_gives_no_option_away() -> None:
    texts = labelled_texts()
    assert len(texts) >= 240
    assert texts["text"].is_unique
    counted = texts.groupby(["scale", "style"]).size().unstack()
    assert set(counted.index) == {"ordinal", "binary", "nominal"}
    assert (counted >= 20).all(axis=None)
    assert (counted["plain"] == counted["storied"]).all()
    assert (texts["place"] == -1).sum() >= 20
    assert not [text for text, question in zip(texts["text"], texts["question"], strict=True) if names_option(text, question)]


def test_a_judge_that_reads_well_is_usable_and_one_that_guesses_is_not() -> None:
    texts = labelled_texts()
    meant = {text: [*question.options, NONE][place] for text, question, place in zip(texts["text"], texts["question"], texts["place"], strict=True)}
    good = calibrate(one_who_reads(lambda text, _: meant.get(text, "")))
    assert good[["accuracy", "kappa"]].iloc[0].tolist() == [1, 1]
    assert good["usable"].all()
    assert set(good["dimension"]) == {"all", "style", "scale", "level"}
    bad = calibrate(one_who_reads(lambda text, options: sorted(options)[len(text) % len(options)] if text != NO_TEXT else ""))
    assert abs(bad["kappa"].iloc[0]) < 0.15
    assert not bad["usable"].any()


def test_kappa_is_scikit_learns_for_a_question_and_counts_chance_question_by_question() -> None:
    generator = np.random.default_rng(9)
    texts = pd.DataFrame({"item": generator.choice(["Q1", "Q2", "Q3"], 200, p=[0.2, 0.3, 0.5]), "place": generator.integers(-1, 4, 200)})
    texts["judged"] = np.where(generator.random(200) < 0.5, texts["place"], generator.integers(-1, 3, 200))
    agreed = chance = 0.0
    for _, rows in texts.groupby("item"):
        kappa, same = cohen_kappa_score(rows["place"], rows["judged"]), (rows["place"] == rows["judged"]).mean()
        assert kappa_within_questions(rows) == pytest.approx(kappa, abs=1e-12)
        agreed += len(rows) * same
        chance += len(rows) * (same - kappa) / (1 - kappa)  # kappa = (same - chance) / (1 - chance)
    assert kappa_within_questions(texts) == pytest.approx((agreed - chance) / (len(texts) - chance), abs=1e-12)


def test_a_judge_that_reads_everything_too_high_is_found_out_by_level() -> None:
    texts = labelled_texts()
    place = dict(zip(texts["text"], texts["place"], strict=True))
    question = dict(zip(texts["text"], texts["question"], strict=True))
    top = calibrate(one_who_reads(lambda text, _: question[text].options[-1] if place.get(text, -1) >= 0 else ""))
    bias = top[top["dimension"] == "level"].set_index("group")["bias"]
    assert bias["low"] > bias["middle"] > bias["high"] >= 0


def test_free_answers_are_the_seed_s_and_of_the_question_alone(sample_study: Study) -> None:
    loaded = LoadedModel(tiny_model(), tiny_tokenizer(), torch.device("cpu"), torch.float32)
    chosen = made_up_pairs().query("split == 'ood_test'").reset_index(drop=True)
    asked = open_pairs(chosen, made_up_marts(), sample_study)
    assert not any("1." in prompt for prompt in asked["prompt"])
    assert all(persona in prompt for persona, prompt in zip(chosen["persona"], asked["prompt"], strict=True))
    job = ScoringJob("base", ("plain",), "item", ModelSection(dtype="float32"), pairs_per_forward=2, seed=1)
    made = respond(asked, loaded, job=job)
    again = respond(asked.sample(frac=1, random_state=1), loaded, job=job)
    keys = ["item", "subgroup_id"]
    assert made.sort_values(keys)["text"].tolist() == again.sort_values(keys)["text"].tolist()
    assert made["text"].nunique() > 1
