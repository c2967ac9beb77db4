"""The answers of the synthetic survey: probabilities that reproduce the published toplines, and answers drawn from them.

    models = answer_models()                      # item -> AnswerModel: the probability of each option, for every respondent
    answers = draw_answers(seed=1)                # a frame of codes, -1 and -2 where there is no answer

Ordinal and binary items are cumulative logits, nominal items multinomial logits. The questionnaire's rules are part of the model: the eleven
child qualities are independent choices conditioned on at most five of them (a conditional Bernoulli design; Chen, Dempster and Liu 1994), and a
second choice is a logit over the options that the first left. In each, the intercepts are solved so that the expected unweighted shares of valid
answers equal the published ones; probabilities stay exact, so no truth needs a simulation.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from tasks.errors import StepError
from tasks.intake.synthetic_effects import Effects, Item, load_effects, logistic
from tasks.intake.synthetic_population import Floats, Integers

TOLERANCE = 1e-9
ROUNDS = 2000
DONT_KNOW, NO_ANSWER = -1, -2


class AnswerModel(NamedTuple):
    """Of one item, for every respondent: `shares` (respondents, options) among valid answers, and `valid`, the probability of one.

    `rule` is what drawing needs beyond the shares: log odds of the child qualities, log strengths of a second choice's options.
    """

    item: Item
    shares: Floats
    valid: Floats
    rule: Floats | None = None


@cache
def answer_models() -> dict[str, AnswerModel]:
    """Item -> model, in questionnaire order."""
    effects = load_effects()
    battery, seconds = effects.settings["at_most"]["items"], effects.settings["second_choices"]
    models = _capped_models(effects, [effects.items[name] for name in battery])
    for name, item in effects.items.items():
        if name in seconds:
            models[name] = _second_choice_model(effects, item, models[seconds[name]])
        elif name not in battery:
            models[name] = _single_model(effects, item)
    return {name: models[name] for name in effects.items}


def _single_model(effects: Effects, item: Item) -> AnswerModel:
    valid, predictors = 1 - effects.missing_rates(item), effects.predictors(item)
    if item.nominal:
        intercepts = solve(lambda values: _mean(_softmax(values + predictors), valid), goal=item.shares, link=np.log)
        return AnswerModel(item, _softmax(intercepts + predictors), valid)
    goal = np.cumsum(item.shares)[:-1]
    thresholds = solve(lambda values: _mean(logistic(values - predictors), valid), goal=goal, link=_logit)
    cumulative = np.column_stack([logistic(thresholds - predictors), np.ones(len(valid))])
    return AnswerModel(item, np.diff(cumulative, prepend=0.0, axis=1), valid)


def _second_choice_model(effects: Effects, item: Item, first: AnswerModel) -> AnswerModel:
    """P(second = b) = sum over a of P(first = a) P(b | b is not a)."""
    valid, predictors = first.valid * (1 - effects.missing_rates(item)), effects.predictors(item)

    def shares(values: Floats) -> Floats:
        return np.asarray(np.einsum("ia,iab->ib", first.shares, _leaving_out(values + predictors)))

    intercepts = solve(lambda values: _mean(shares(values), valid), goal=item.shares, link=np.log)
    return AnswerModel(item, shares(intercepts), valid, rule=intercepts + predictors)


def _leaving_out(strengths: Floats) -> Floats:
    """(respondents, first choice, second choice): the softmax without the first choice."""
    odds = np.exp(strengths)[:, None, :] * (1 - np.eye(strengths.shape[1]))
    return np.asarray(odds / odds.sum(axis=2, keepdims=True))


def _capped_models(effects: Effects, items: list[Item]) -> dict[str, AnswerModel]:
    """The items of which at most so many can be mentioned (code 1); the battery is answered or refused as a whole."""
    most = int(effects.settings["at_most"]["most"])
    valid = 1 - effects.missing_rates(items[0])
    predictors = -np.column_stack([effects.predictors(item) for item in items])
    goal = np.array([item.shares[0] for item in items])
    intercepts = solve(lambda values: _mean(inclusion(values + predictors, most), valid), goal=goal, link=_logit)
    mentioned = inclusion(intercepts + predictors, most)
    shares = np.stack([mentioned, 1 - mentioned], axis=2)
    return {item.name: AnswerModel(item, shares[:, place], valid, rule=intercepts + predictors) for place, item in enumerate(items)}


def inclusion(log_odds: Floats, most: int) -> Floats:
    """Probability that each of the (respondents, items) is chosen when at most `most` can be."""
    odds = np.exp(log_odds)
    items = odds.shape[1]
    others = np.array([[other for other in range(items) if other != item] for item in range(items)])
    without = _symmetric_sums(odds[:, others], most)  # respondents, items, sizes
    chosen = odds * without[..., :most].sum(axis=2)
    return np.asarray(chosen / (chosen + without.sum(axis=2)))


def _symmetric_sums(odds: Floats, most: int) -> Floats:
    """Elementary symmetric polynomials 0..most over the last axis."""
    sums = np.zeros((*odds.shape[:-1], most + 1))
    sums[..., 0] = 1.0
    for place in range(odds.shape[-1]):
        sums[..., 1:] += odds[..., place, None] * sums[..., :-1].copy()
    return sums


def solve(expected: Callable[[Floats], Floats], *, goal: Floats, link: Callable[[Floats], Floats]) -> Floats:
    """Intercepts at which `expected` gives `goal`: each moves by what its share lacks on the link's scale until all agree."""
    intercepts = link(goal)
    for _ in range(ROUNDS):
        found = expected(intercepts)
        if np.abs(found - goal).max() < TOLERANCE:
            return intercepts
        intercepts = intercepts + link(goal) - link(found)
    raise StepError(
        f"the synthetic survey cannot reach the published shares {goal.round(4).tolist()} (found {found.round(4).tolist()}); weaken its effects"
    )


def _mean(shares: Floats, valid: Floats) -> Floats:
    """Expected share among valid answers, every respondent counted once."""
    return np.asarray(valid @ shares / valid.sum())


def _softmax(strengths: Floats) -> Floats:
    odds = np.exp(strengths)
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def _logit(shares: Floats) -> Floats:
    return np.asarray(np.log(shares / (1 - shares)))


def draw_answers(*, seed: int) -> pd.DataFrame:
    """Codes of every item (columns) and respondent (rows), in the population's order."""
    effects, models = load_effects(), answer_models()
    generator = np.random.Generator(np.random.PCG64(seed))
    ranks = _ranks(effects, generator)
    positions = {name: choose(model.shares, ranks[name]) for name, model in models.items()}
    positions |= _draw_capped(effects, models, generator)
    for second, first in effects.settings["second_choices"].items():
        left = _leaving_out(_rule(models[second]))[np.arange(len(positions[first])), positions[first]]
        # A fresh rank: one that leans as the first choice's did would not be even given the first choice, and would move the shares.
        positions[second] = choose(left, generator.random(len(left)))
    codes = {name: np.array(models[name].item.codes)[places] for name, places in positions.items()}
    return _with_missing(effects, pd.DataFrame(codes)[list(models)], generator)


def _ranks(effects: Effects, generator: np.random.Generator) -> dict[str, Floats]:
    """Even on (0, 1) for every item and respondent, and correlated within a family: the respondent's own leaning (a Gaussian copula)."""
    people, families = len(effects.population.weights), list(effects.settings["families"])
    leanings = dict(zip(families, generator.standard_normal((len(families), people)), strict=True))
    ranks = {}
    for name, item in effects.items.items():
        shared, sign = float(effects.family(item, "shared")), -1.0 if item.loadings[0] < 0 else 1.0
        noise = sign * math.sqrt(shared) * leanings[item.family] + math.sqrt(1 - shared) * generator.standard_normal(people)
        ranks[name] = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in noise])
    return ranks


def choose(shares: Floats, ranks: Floats) -> Integers:
    """The option in whose part of the (respondents, options) cumulative shares the rank falls."""
    return np.asarray((ranks[:, None] > np.cumsum(shares, axis=1)[:, :-1]).sum(axis=1), dtype=np.int64)


def _draw_capped(effects: Effects, models: dict[str, AnswerModel], generator: np.random.Generator) -> dict[str, Integers]:
    """Positions of the child qualities, drawn one after the other given how many were taken."""
    most, names = int(effects.settings["at_most"]["most"]), effects.settings["at_most"]["items"]
    odds = np.exp(_rule(models[names[0]]))
    people = np.arange(len(odds))
    taken = np.zeros(len(odds), dtype=np.int64)
    positions = {}
    for place, name in enumerate(names):
        rest = np.cumsum(_symmetric_sums(odds[:, place + 1 :], most), axis=1)  # respondents, how many may still follow
        skipped = rest[people, most - taken]
        picked = np.where(taken < most, odds[:, place] * rest[people, most - taken - 1], 0.0)
        chosen = generator.random(len(odds)) < picked / (picked + skipped)
        taken += chosen
        positions[name] = np.where(chosen, 0, 1)
    return positions


def _with_missing(effects: Effects, codes: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    answers = codes.copy()
    battery, seconds = effects.settings["at_most"]["items"], effects.settings["second_choices"]
    for name, item in effects.items.items():
        draws = generator.random((3, len(codes)))
        missing = np.where(draws[1] < float(effects.family(item, "dont_know")), DONT_KNOW, NO_ANSWER)
        answers[name] = np.where(draws[0] < effects.missing_rates(item), missing, codes[name])
        if name in battery[1:]:
            answers[name] = np.where(answers[battery[0]] < 0, answers[battery[0]], codes[name])
        if name in seconds:
            answers[name] = np.where(answers[seconds[name]] < 0, answers[seconds[name]], answers[name])
        if name in effects.settings["off_scale"]:
            off_scale = (draws[2] < effects.off_scale_rate(name)) & (answers[name] > 0)
            answers[name] = np.where(off_scale, effects.settings["off_scale"][name], answers[name])
    return answers


def _rule(model: AnswerModel) -> Floats:
    if model.rule is None:
        raise StepError(f"{model.item.name} has no rule of the questionnaire to draw by; list it in synthetic_data/effects.yaml")
    return model.rule
