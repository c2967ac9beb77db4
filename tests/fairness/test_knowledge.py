"""What a model knows of subgroups is found in its choices, so that small cells do not make it look worse; where the truth is known."""

from functools import cache

import numpy as np
import pytest

from benchmarks.statistics import LEVELS, OPTIONS, PARTNERS, QUESTIONS, SIZES, Survey, choices, made_up_survey, simulate
from tasks.fairness.knowledge import given_choice, mixture


@cache
def studied(case: str) -> tuple[Survey, np.ndarray, np.ndarray, np.ndarray]:
    """A survey, the model's choices, and the probability of being right by the survey alone and given the choice: [questions, levels, partners]."""
    generator = np.random.default_rng(41)
    survey = made_up_survey(generator, sizes=SIZES)
    choice = choices(survey, case, generator)
    alone = np.take_along_axis(survey.probabilities, choice[..., None], axis=3)[..., 0]
    questions = np.repeat(np.arange(QUESTIONS), LEVELS * PARTNERS)
    given = given_choice(alone.ravel(), questions * OPTIONS + choice.ravel(), questions)
    return survey, choice, alone, given.reshape(alone.shape)


def test_a_model_that_knows_the_cells_is_right_as_often_as_said_in_small_cells_too() -> None:
    survey, choice, alone, given = studied("informed")
    right = (choice == survey.mode).mean(axis=(0, 2))
    assert given.mean(axis=(0, 2)) == pytest.approx(right, abs=0.035)
    assert right[0] - alone.mean(axis=(0, 2))[0] > 0.04  # the smallest cells, by the survey alone


def test_of_a_model_that_knows_the_country_only_nothing_changes() -> None:
    survey, choice, alone, given = studied("equal")
    assert given.mean(axis=(0, 2)) == pytest.approx((choice == survey.mode).mean(axis=(0, 2)), abs=0.045)
    assert given.mean() == pytest.approx(alone.mean(), abs=0.02)


def test_the_share_that_is_known_is_found() -> None:
    generator = np.random.default_rng(42)
    questions = np.repeat(np.arange(50), 40)
    mode = generator.integers(0, 4, questions.size)
    knows = generator.random(questions.size) < 0.3
    choice = np.where(knows, mode, generator.integers(0, 4, questions.size))
    is_mode = np.where(choice == mode, 0.97, 0.01)
    assert mixture(is_mode, questions * 4 + choice, questions).known.mean() == pytest.approx(0.3, abs=0.04)


def test_what_is_certain_stays_certain() -> None:
    given = given_choice(np.array([0.0, 1.0, 0.5]), np.array([0, 1, 1]), np.array([0, 0, 0]))
    assert given[0] == 0 and given[1] == 1 and 0.5 <= given[2] <= 1


@pytest.mark.parametrize("case", ["equal", "informed", "nmae", "emd"])
def test_cells_of_many_sizes_do_not_make_a_disparity(case: str) -> None:
    """25 studies: at most four p-values below 0.05, which one of a hundred such tests would break by chance."""
    found = simulate(case, studies=25, seed=6)
    assert found["below_05"] <= 4 / 25
    assert found["covered"] >= 21 / 25
    assert found["oracle"] == pytest.approx(found["ceiling"], abs=0.01)
