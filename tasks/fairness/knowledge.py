"""The probability that a choice is the population's mode, given the survey and the choice itself.

right = given_choice(is_mode, choices, questions)

The posterior of a target knows the survey only. A model that knows subgroups is right more often than that says, the more so the fewer respondents a
cell has, and would seem to do worse on small subgroups. How much a model knows beyond its usual answers to a question is estimated from its choices.
"""

from typing import NamedTuple

import numpy as np

ITERATIONS = 100
TOLERANCE = 1e-6
POOLED_PAIRS = 10  # what a model knows of all questions counts like so many pairs of each


class Mixture(NamedTuple):
    """Of each pair: the share `known` of its question, and how `usual` its choice is there where the cell's mode is not known."""

    known: np.ndarray
    usual: np.ndarray


def given_choice(is_mode: np.ndarray, choices: np.ndarray, questions: np.ndarray) -> np.ndarray:
    """P(choice is the mode | survey, choice) of each pair; equal to `is_mode` where the choices tell nothing of the cells.

    Mixture: with a question's probability k the model says the cell's mode, else option c with the question's probability r_c, whatever the cell.
    By Bayes' rule a choice c is the mode with odds P_c (k + (1 - k) r_c) : (1 - P_c) (1 - k) r_c. `is_mode`: P_c, by the survey alone; `questions`
    and `choices` (a number for each option of each question) count from 0.
    """
    known, usual = mixture(is_mode, choices, questions)
    right = is_mode * (known + (1 - known) * usual)
    wrong = (1 - is_mode) * (1 - known) * usual
    total = right + wrong
    probability: np.ndarray = np.where(total > 0, right / np.where(total > 0, total, 1), is_mode)
    return probability


def mixture(is_mode: np.ndarray, choices: np.ndarray, questions: np.ndarray) -> Mixture:
    """k and r by the EM algorithm (Dempster, Laird and Rubin 1977) for sum log(k P_c + (1 - k) r_c), each question moved towards all of them as by
    POOLED_PAIRS pairs."""
    counts, shares = np.bincount(questions), np.full(int(questions.max()) + 1, 0.5)
    told = np.full(len(is_mode), 0.5)
    for _ in range(ITERATIONS):
        share = shares[questions]
        usual = np.bincount(choices, weights=1 - told)[choices] / np.maximum(np.bincount(questions, weights=1 - told)[questions], 1e-300)
        told = share * is_mode / np.maximum(share * is_mode + (1 - share) * usual, 1e-300)
        updated = (np.bincount(questions, weights=told) + POOLED_PAIRS * told.mean()) / (counts + POOLED_PAIRS)
        if np.abs(updated - shares).max() < TOLERANCE:
            break
        shares = updated
    return Mixture(shares[questions], usual)
