"""How much the levels of a dimension differ beyond chance: the variance between them, untruncated, with its interval, test and change.

    between_levels(table, draws=2000, generator=generator)                 table: [questions, levels], a level's mean score on each question
    change_between_levels(before, after, margin=0.02, draws=2000, generator=generator)

Model: score of level l on question q = effect of the question + effect a_l of the level + noise that is independent between questions, with any
covariance between levels. With x_q the scores of a question less their mean over levels, the statistic is |mean x|^2 / (L - 1) less what noise
adds to it, trace(cov x) / Q / (L - 1): the two-way analysis of variance's component (MS levels - MS residual) / Q (Searle, Casella and McCulloch,
Variance Components, 1992, ch. 4), unbiased, and negative as often as not where the levels are equal.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

FEWEST_QUESTIONS = 5
BISECTIONS = 40
FITTED = 500  # values that are tried
NUISANCE = 0.9  # of the components of both models, where effects are equal, what is taken off their mean


class Component(NamedTuple):
    """`value`, `low` and `high` in squared units of the score; `p`: one-sided for a component, two-sided for a change."""

    value: float
    low: float
    high: float
    p: float


class Change(NamedTuple):
    """Tuned minus base; `p_wider`: that a standard deviation between levels which widened by the margin would look as small as this, or smaller."""

    component: Component
    p_wider: float


class _Noise(NamedTuple):
    """Draws of the noise around the mean effects of a model [draws, levels - 1], and of its component where all effects are zero [draws]."""

    means: np.ndarray
    components: np.ndarray


def component(table: np.ndarray) -> float:
    """The untruncated variance component between the columns of `table` [questions, levels]."""
    effects = _effects(table)
    noise = effects.var(axis=0, ddof=1).sum() / len(table)
    return float(((effects.mean(axis=0) ** 2).sum() - noise) / effects.shape[1])


def between_levels(table: np.ndarray, *, draws: int, generator: np.random.Generator, level: float = 0.95) -> Component:
    """The component with the interval of the values that the simulation does not reject, and p under equal effects.

    Below zero the interval is that of zero, moved along: it may hold negative values only, which chance alone does in one of forty.
    """
    effects = _effects(table)
    (noise,) = _simulated(effects, models=1, draws=draws, generator=generator)
    found = component(table)
    along = 2 * noise.means @ _direction(effects.mean(axis=0)) / np.sqrt(effects.shape[1])

    def quantile(value: float, share: float) -> float:
        return value + float(np.quantile(np.sqrt(max(value, 0)) * along + noise.components, share))

    low, high = (_solve(quantile, found, share=share) for share in ((1 + level) / 2, (1 - level) / 2))
    return Component(found, low, high, _share_above(noise.components, found))


def change_between_levels(
    before: np.ndarray, after: np.ndarray, *, margin: float, draws: int, generator: np.random.Generator, level: float = 0.95
) -> Change:
    """The component of `after` less that of `before`, on the same questions and levels: [questions, levels] each.

    The simulation needs both components, not their difference alone: their mean is taken from the data, less what
    equal effects reach in one of ten simulations, so that it is mostly zero where there is nothing.
    """
    tables, found = (before, after), component(after) - component(before)
    means = [_effects(table).mean(axis=0) for table in tables]
    noises = _simulated(np.concatenate([_effects(table) for table in tables], axis=1), models=2, draws=draws, generator=generator)
    along = [2 * noise.means @ _direction(mean) / np.sqrt(len(mean)) for noise, mean in zip(noises, means, strict=True)]
    together = (noises[0].components + noises[1].components) / 2
    middle = max((component(before) + component(after)) / 2 - float(np.quantile(together, NUISANCE)), 0.0)

    def simulated(one: float, other: float) -> np.ndarray:
        draws_of: np.ndarray = (other + np.sqrt(other) * along[1] + noises[1].components) - (one + np.sqrt(one) * along[0] + noises[0].components)
        return draws_of

    def quantile(change: float, share: float) -> float:
        larger = max(middle, abs(change) / 2)
        return float(np.quantile(simulated(max(larger - change / 2, 0), max(larger + change / 2, 0)), share))

    low, high = (_solve(quantile, found, share=share) for share in ((1 + level) / 2, (1 - level) / 2))
    equal = simulated(middle, middle)
    p = min(1.0, 2 * min(_share_above(equal, found), _share_above(-equal, -found)))
    deviation = _widened((component(before), component(after)), noises, along, margin=margin)
    wider = simulated(deviation**2, (deviation + margin) ** 2)
    return Change(Component(found, low, high, p), _share_above(-wider, -found))


def _widened(found: tuple[float, float], noises: list[_Noise], along: list[np.ndarray], *, margin: float) -> float:
    """The standard deviation of `before` under the null that `after` has one larger by the margin, fitted to both components (as Farrington and
    Manning, Statistics in Medicine 9, 1990, fit the null of non-inferiority): the smallest within a standard error of the best. What `before` alone
    says is too large where its levels hardly differ, and the larger it is, the smaller a change by the margin looks."""
    before = np.linspace(0, np.sqrt(max(*found, 0)) + margin, FITTED)
    misfit = np.zeros(FITTED)  # -2 log likelihood, of normal components
    for component_of, noise, direction, deviation in zip(found, noises, along, (before, before + margin), strict=True):
        variance = noise.components.var() + direction.var() * deviation**2 + np.finfo(float).tiny
        misfit += (component_of - deviation**2) ** 2 / variance + np.log(variance)
    return float(before[np.argmax(misfit <= misfit.min() + 1)])


def permuted(table: np.ndarray, *, draws: int, generator: np.random.Generator) -> float:
    """p of the component when each question's scores are dealt anew to the levels: a second view, which takes levels for exchangeable."""
    questions, levels = table.shape
    order = generator.random((draws, questions, levels)).argsort(axis=2)
    dealt = np.take_along_axis(np.broadcast_to(table, order.shape), order, axis=2).mean(axis=1)
    # Within a question the sum of squares stays, so that the variance of the means orders the permutations as the component does.
    return _share_above(dealt.var(axis=1), float(table.mean(axis=0).var()))


def noise_of_means(table: np.ndarray, *, draws: int, generator: np.random.Generator) -> np.ndarray:
    """Levels' means as they would scatter around a common one: [draws, levels]."""
    (noise,) = _simulated(_effects(table), models=1, draws=draws, generator=generator)
    means: np.ndarray = noise.means @ _contrasts(table.shape[1]).T
    return means


def _effects(table: np.ndarray) -> np.ndarray:
    """Scores less their question's mean, in L - 1 orthonormal coordinates: [questions, levels - 1]."""
    effects: np.ndarray = table @ _contrasts(table.shape[1])
    return effects


def _contrasts(levels: int) -> np.ndarray:
    """An orthonormal basis of what sums to zero (Helmert): [levels, levels - 1]."""
    basis = np.zeros((levels, levels - 1))
    for place in range(1, levels):
        basis[:place, place - 1], basis[place, place - 1] = 1, -place
        basis[:, place - 1] /= np.sqrt(place * (place + 1))
    return basis


def _simulated(effects: np.ndarray, *, models: int, draws: int, generator: np.random.Generator) -> list[_Noise]:
    """Noise of the means with the covariance between questions; `effects` of the models side by side: [questions, models * (levels - 1)].

    The covariance is itself an estimate: as in Student's t, normal draws are divided by the root of a chi-square's mean, here that of a Wishart
    matrix's trace, sum of eigenvalue * chi2(Q - 1) / (Q - 1).
    """
    questions, size = len(effects), effects.shape[1] // models
    covariance = _shrunk(effects, models=models) / questions
    values, vectors = np.linalg.eigh(covariance)
    normal = generator.standard_normal((draws, len(values))) * np.sqrt(np.maximum(values, 0)) @ vectors.T
    noises = []
    for part in (slice(start, start + size) for start in range(0, len(values), size)):
        variances = np.maximum(np.linalg.eigvalsh(covariance[part, part]), 0)
        scale = generator.chisquare(questions - 1, size=(draws, size)) @ variances / (questions - 1)
        total = variances.sum()
        means = normal[:, part] / np.sqrt(scale / total)[:, None] if total > 0 else normal[:, part]
        noises.append(_Noise(means, ((means**2).sum(axis=1) - total) / size))
    return noises


def _shrunk(effects: np.ndarray, *, models: int) -> np.ndarray:
    """The covariance of a question's effects, moved towards equal variances as far as it is uncertain (Ledoit and Wolf 2004).

    `models`: the effects of so many stand side by side; between two of them equal covariances are the aim.
    """
    questions, coordinates = effects.shape
    centred = effects - effects.mean(axis=0)
    covariance = centred.T @ centred / questions
    size = coordinates // models
    blocks = covariance.reshape(models, size, models, size)
    aim = (np.trace(blocks, axis1=1, axis2=3)[:, None, :, None] / size * np.eye(size)[None, :, None, :]).reshape(coordinates, coordinates)
    away = ((covariance - aim) ** 2).sum()
    uncertain = ((centred**2).sum(axis=1) ** 2).sum() / questions**2 - (covariance**2).sum() / questions
    part = 1.0 if away <= 0 else min(1.0, max(0.0, uncertain / away))
    shrunk: np.ndarray = (part * aim + (1 - part) * covariance) * questions / (questions - 1)
    return shrunk


def _direction(effects: np.ndarray) -> np.ndarray:
    """The effects' direction, of length 1; any will do where there is none."""
    length = np.sqrt((effects**2).sum())
    direction: np.ndarray = effects / length if length > 0 else np.full(len(effects), 1 / np.sqrt(len(effects)))
    return direction


def _share_above(draws: np.ndarray, found: float) -> float:
    """(1 + draws at least as large) / (1 + draws), so that no p is zero (Davison and Hinkley 1997, ch. 4); equal but for rounding is as large."""
    return float((1 + (draws >= found - 1e-12 * abs(found)).sum()) / (1 + len(draws)))


def _solve(quantile: Callable[[float, float], float], found: float, *, share: float) -> float:
    """The true value whose simulated statistic has `found` as its quantile; the quantile rises with the value."""
    reach = abs(found) + abs(quantile(0.0, 0.001)) + abs(quantile(0.0, 0.999)) + 1e-12
    low, high = found - reach, found + reach
    while quantile(high, share) < found:
        high += reach
    while quantile(low, share) > found:
        low -= reach
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if quantile(middle, share) < found else (low, middle)
    return (low + high) / 2
