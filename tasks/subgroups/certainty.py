"""How sure a target is: what the sample says of the population's shares, as a Dirichlet posterior, and which option is then the mode.

    posteriors = posterior_table(distributions, subgroups)        one row per question, subgroup and option: posterior, mode_probability

A cell's prior is centred on its parents' shares without the cell's own respondents (everybody's is even); how far subgroups of a question stray from
that centre is estimated from all its cells, so that a question on which subgroups differ much takes little from the parents.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import gammainc, gammainccinv, gammaincinv, gammaln

NODES, WEIGHTS = np.polynomial.legendre.leggauss(64)
TAIL = 1e-13  # probability that the integral leaves out on either side
CELLS_AT_ONCE = 4096
LARGEST_PART_OF_A_PARENT = 0.95  # what is left of a parent says nothing when the cell is nearly all of it
EVEN_PART = 0.02  # of a prior's centre: an option that none of the parents' respondents chose is not impossible
DISPERSIONS = (0.002, 0.5)  # of subgroups around their parents' shares: a prior worth 499 respondents, or 1
POOLED_CELLS = 10  # the dispersion of all questions counts like so many cells of each


class Parents(NamedTuple):
    """`gives` [cell, parent]: what a parent's shares are multiplied by; `takes` [cell, parent]: what then goes off for the cell's own respondents."""

    gives: np.ndarray
    takes: np.ndarray


def posterior_table(distributions: pd.DataFrame, subgroups: pd.DataFrame) -> pd.DataFrame:
    """One row per row of `distributions` (item, subgroup_id, code, position, share, effective_n), in its order.

    `posterior`: the Dirichlet parameter, effective_n * share + strength * centre. `mode_probability`: that the option is the population's mode.
    `subgroups`: the mart.
    """
    if distributions.empty:
        return distributions[["item", "subgroup_id", "code"]].assign(posterior=np.empty(0), mode_probability=np.empty(0))
    ordered = distributions.sort_values(["item", "subgroup_id", "position"])
    lineage = _lineage(subgroups)
    places = {name: place for place, name in enumerate(subgroups["subgroup_id"])}
    questions = [_question(rows, lineage=lineage, places=places) for _, rows in ordered.groupby("item", sort=False)]
    strengths = _strengths(questions)
    posteriors = [
        question.effective_n[:, None] * question.shares + strength[:, None] * question.centres
        for question, strength in zip(questions, strengths, strict=True)
    ]
    parameters, probabilities = (np.concatenate([table.ravel() for table in tables]) for tables in (posteriors, _of_each(posteriors)))
    filled = ordered[["item", "subgroup_id", "code"]].assign(posterior=parameters, mode_probability=probabilities)
    return filled.loc[distributions.index]


def mode_probabilities(posteriors: np.ndarray) -> np.ndarray:
    """P(option k is the mode) for Dirichlet parameters `posteriors` [cells, options]; each row sums to 1.

    A Dirichlet is independent gammas over their sum, so P(k) = integral of f_k(x) * product over j != k of F_j(x) dx with the gamma densities and
    distribution functions (Johnson, Kotz and Balakrishnan, Continuous Multivariate Distributions, 2000, ch. 49); Gauss-Legendre in log x.
    """
    found = np.empty_like(posteriors, dtype=float)
    for start in range(0, len(posteriors), CELLS_AT_ONCE):
        part = slice(start, start + CELLS_AT_ONCE)
        found[part] = _mode_probabilities(posteriors[part])
    return found


def _mode_probabilities(posteriors: np.ndarray) -> np.ndarray:
    largest = posteriors.max(axis=1)
    low, high = np.log(np.maximum(gammaincinv(largest, TAIL), 1e-300)), np.log(gammainccinv(largest, TAIL))
    logs = low[:, None] + (high - low)[:, None] * (NODES + 1) / 2  # [cells, nodes]
    x, shape = np.exp(logs)[:, None, :], posteriors[:, :, None]
    density = np.exp(shape * logs[:, None, :] - x - gammaln(shape))  # x f(x), as the integral is over log x: [cells, options, nodes]
    below = np.maximum(gammainc(shape, x), 1e-300)
    others = np.exp(np.log(below).sum(axis=1, keepdims=True) - np.log(below))
    odds = (density * others) @ WEIGHTS
    probabilities: np.ndarray = odds / odds.sum(axis=1, keepdims=True)
    return probabilities


def _of_each(posteriors: list[np.ndarray]) -> list[np.ndarray]:
    """mode_probabilities of several tables at once, those with equally many options together."""
    found: list[np.ndarray] = [np.empty(0)] * len(posteriors)
    for options in {table.shape[1] for table in posteriors}:
        places = [place for place, table in enumerate(posteriors) if table.shape[1] == options]
        together = mode_probabilities(np.concatenate([posteriors[place] for place in places]))
        ends = np.cumsum([len(posteriors[place]) for place in places])[:-1]
        for place, part in zip(places, np.split(together, ends), strict=True):
            found[place] = part
    return found


class _Question(NamedTuple):
    """A question's cells: shares and prior centres [cells, options]; `led` where the centre is the parents' and not even."""

    shares: np.ndarray
    effective_n: np.ndarray
    centres: np.ndarray
    led: np.ndarray


def _question(rows: pd.DataFrame, *, lineage: Parents, places: dict[str, int]) -> _Question:
    options = rows["position"].nunique()
    cells = rows.iloc[::options]
    shares = rows["share"].to_numpy().reshape(-1, options)
    known = np.array([places[name] for name in cells["subgroup_id"]])
    gives, takes = (table[np.ix_(known, known)] for table in lineage)
    # Parents first; where none of them is there, everybody, who is the last resort of `_lineage` with a weight of next to nothing.
    total = gives.sum(axis=1) - takes.sum(axis=1)
    led = total > 0
    centres = np.where(led[:, None], gives @ shares - takes.sum(axis=1)[:, None] * shares, 1.0)
    centres = np.maximum(centres, 0)
    centres /= centres.sum(axis=1, keepdims=True)
    return _Question(shares, cells["effective_n"].to_numpy(), (1 - EVEN_PART) * centres + EVEN_PART / options, led)


def _lineage(subgroups: pd.DataFrame) -> Parents:
    """Parents' shares without the cell's own respondents are (parent - r * cell) / (1 - r), r the cell's part of the parent."""
    names = list(subgroups["subgroup_id"])
    places = {name: place for place, name in enumerate(names)}
    shares, unseen = subgroups["weight_share"].to_numpy(), subgroups["unseen"].to_numpy()
    gives, takes = np.zeros((len(names), len(names))), np.zeros((len(names), len(names)))
    for cell, parents in enumerate(subgroups["parents"]):
        resort = {} if names[cell] == "all" else {"all": 1e-9}
        for name, weight in (resort | dict.fromkeys(parents, 1.0)).items():
            apart = unseen[cell] and not unseen[places[name]]  # a held-out country's respondents are in none of the trained subgroups
            part = 0.0 if apart else shares[cell] / shares[places[name]]
            if part <= LARGEST_PART_OF_A_PARENT:
                gives[cell, places[name]], takes[cell, places[name]] = weight / (1 - part), weight * part / (1 - part)
    return Parents(gives, takes)


def _strengths(questions: list[_Question]) -> list[np.ndarray]:
    """How many respondents each cell's prior is worth: 1 / dispersion - 1, and for an even centre half an answer per option (Jeffreys).

    The dispersion phi of a question's subgroups around their centres is a moment estimate of the Dirichlet-multinomial (Weir and Hill 2002 use it
    for allele shares): the mean of sum (share - centre)^2 / sum centre (1 - centre) is phi + (1 - phi) / n, so that each cell estimates
    phi by (ratio - 1/n) / (1 - 1/n); cells weigh by their precision, 1 / (0.02 + 1/n)^2.
    """
    sums = np.array([_dispersion(question) for question in questions])  # [questions, (weighted sum, weight, cells)]
    pooled = sums[:, 0].sum() / max(sums[:, 1].sum(), 1e-12)
    usual = sums[:, 1].sum() / max(sums[:, 2].sum(), 1) * POOLED_CELLS
    dispersion = np.clip((sums[:, 0] + usual * pooled) / (sums[:, 1] + max(usual, 1e-12)), *DISPERSIONS)
    return [np.where(question.led, 1 / phi - 1, question.shares.shape[1] / 2) for question, phi in zip(questions, dispersion, strict=True)]


def _dispersion(question: _Question) -> tuple[float, float, int]:
    n = question.effective_n[question.led]
    shares, centres = question.shares[question.led], question.centres[question.led]
    ratio = ((shares - centres) ** 2).sum(axis=1) / (centres * (1 - centres)).sum(axis=1)
    inverse = 1 / np.maximum(n, 1.5)
    weights = 1 / (0.02 + inverse) ** 2
    return float(weights @ ((ratio - inverse) / (1 - inverse))), float(weights.sum()), len(n)
