"""How long the control that never saw a subgroup is trained, and on what."""

import pandas as pd
import pytest

from tasks.study import TrainingSection
from tasks.training.order0 import FEWEST_PASSES, PART_OF_PAIRS, order0_pairs, training_of_order0
from tests.training.tiny import made_up_pairs


def test_it_sees_everybodys_trained_answers_only() -> None:
    pairs = made_up_pairs()
    pairs.loc[(pairs["item"] == "Q3") & (pairs["subgroup_id"] == "all"), "split"] = "ood_test"  # an unseen question
    assert list(order0_pairs(pairs)[["item", "subgroup_id"]].itertuples(index=False, name=None)) == [("Q1", "all"), ("Q2", "all")]


def test_it_sees_a_twentieth_of_the_pairs_that_the_study_sees_by_the_same_recipe() -> None:
    pairs = pd.concat([made_up_pairs().assign(subgroup_order=1)] * 20 + [made_up_pairs()])
    training = TrainingSection(epochs=3, objective="ordinal", learning_rate=0.001)
    found = training_of_order0(training, pairs)
    seen = 3 * (pairs["split"] == "train").sum()
    assert found.epochs * len(order0_pairs(pairs)) == pytest.approx(PART_OF_PAIRS * seen, rel=0.01)
    assert found == training.model_copy(update={"epochs": found.epochs, "questions_per_step": 1, "pairs_per_question": 4})


def test_few_pairs_are_seen_often_enough_to_learn_the_form_of_an_answer() -> None:
    assert training_of_order0(TrainingSection(epochs=1), made_up_pairs()).epochs == FEWEST_PASSES
