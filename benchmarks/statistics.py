"""The statistics where the truth is known, and the bootstrap against fairlearn's.

    python -m benchmarks.statistics --json statistics.json [--quick]

- simulation: studies of 40 subgroups (4 x 10 levels, cells of 30 to 400 respondents) x 60 questions. A population is made, surveyed, its targets and
  their certainty computed, a model's answers scored, and the primary statistic taken between the four levels. Cases: `equal` (the model says the
  country's mode or something else, alike for all levels), `planted` (one level's answers are spoilt), `informed` (equal, but the model knows the
  cells' own modes, which the survey's posterior alone would take off the more the smaller a cell is), `unadjusted` (the same, scored by the targets),
  `nmae` (`informed`, by the steps to the mode), `emd` (predicted shares stray alike from those of the cells), `emd_planted` (one level's further),
  `emd_unadjusted` (`emd`, with what sampling adds).
- changes: tables of 5 levels x 60 questions before and after with known standard deviations between levels: coverage of the change's interval,
  p below 0.05, and how often it is called no wider by more than 0.02 (at the margin itself that should be in one of twenty at most); by what is
  right or wrong, and with normal noise of NOISES. Beside it the
  coverage of the plain interval, percentiles of a bootstrap of questions.
- bootstrap: 2,000 replicates by question of 131 subgroups x 160 questions, in seconds.
- fairlearn: MetricFrame(n_bootstrap) over the same pairs, group accuracies of 131 subgroups. `ratio` is for its own replicates of pairs (the bounds
  must be equal to 1e-9), `ratio_by_question` for ours, drawn by question, at equally many replicates.
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from fairlearn.metrics import MetricFrame
from scipy.stats import kstest

from tasks.fairness.distances import earth_movers_distance
from tasks.fairness.intervals import question_weights, ratio_interval, ratio_replicates
from tasks.fairness.scores import score_predictions
from tasks.fairness.variance import between_levels, change_between_levels, component, permuted
from tasks.progress import Meter, report_to_terminal
from tasks.subgroups.certainty import posterior_table

LEVELS, PARTNERS, QUESTIONS, OPTIONS = 4, 10, 60, 4
SIZES = np.array([30, 60, 120, 400])  # respondents of a cell, by level
SUBGROUPS, ASKED = 131, 160
REPLICATES, PEER_REPLICATES, DRAWS = 2000, 40, 500
SPOILT = 0.25  # of the planted level's answers are drawn at random
CASES = ("equal", "planted", "informed", "unadjusted", "nmae", "emd", "emd_planted", "emd_unadjusted")
SCORED_BY = {"unadjusted": "accuracy", "nmae": "nmae_adjusted", "emd": "emd_adjusted", "emd_planted": "emd_adjusted", "emd_unadjusted": "emd"}
STRAYS, STRAYS_SPOILT = 0.6, 0.8  # of predicted shares, standard deviation on the logit scale
CHANGES = ((0.0, 0.0), (0.02, 0.02), (0.05, 0.05), (0.02, 0.08), (0.0, 0.02), (0.01, 0.03), (0.02, 0.04), (0.05, 0.07), (0.08, 0.02))
NOISES = (0.05, 0.15)  # of a level's mean on one question, normal; accuracy's is by the pairs


class Survey(NamedTuple):
    """By cell: [questions, levels, partners]; `truth`, `shares`, `posterior` and `probabilities` (to be the mode) by option, too."""

    truth: np.ndarray
    shares: np.ndarray
    effective_n: np.ndarray
    posterior: np.ndarray
    probabilities: np.ndarray
    national: np.ndarray

    @property
    def mode(self) -> np.ndarray:
        modes: np.ndarray = self.truth.argmax(axis=3)
        return modes

    @property
    def target(self) -> np.ndarray:
        targets: np.ndarray = self.shares.argmax(axis=3)
        return targets


class Answers(NamedTuple):
    choice: np.ndarray
    shares: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="Few studies: shows that it runs, and measures nothing.")
    parser.add_argument("--studies", type=int, default=1000)
    arguments = parser.parse_args()
    report_to_terminal()
    studies = 20 if arguments.quick else arguments.studies
    results = {
        **simulated(studies),
        "bootstrap": bootstrap_seconds(),
        "fairlearn": against_fairlearn(replicates=5 if arguments.quick else PEER_REPLICATES),
    }
    arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


def simulated(studies: int) -> dict[str, list[dict[str, Any]]]:
    """Every case, as many at once as there are cores; each draws from a generator of its own."""
    with ProcessPoolExecutor() as pool, Meter("simulating", total=len(CASES) + len(CHANGES) * (1 + len(NOISES))) as meter:
        given = {
            "simulation": [pool.submit(simulate, case, studies=studies) for case in CASES],
            "changes": [pool.submit(simulate_change, *change, noise=noise, studies=studies) for noise in (None, *NOISES) for change in CHANGES],
        }
        for case in as_completed(chain.from_iterable(given.values())):
            print(json.dumps(case.result()), flush=True)  # an interrupted run has said something
            meter.advance()
        return {kind: [case.result() for case in cases] for kind, cases in given.items()}


def simulate(case: str, *, studies: int, seed: int = 5) -> dict[str, Any]:
    """Coverage, size and power of the primary statistic; calibration of mode certainty; the oracle against the ceiling."""
    generator = np.random.default_rng([seed, CASES.index(case)])
    rows, truths, certain = [], [], []
    for _ in range(studies):
        survey = made_up_survey(generator, sizes=SIZES)
        given = answers(survey, case, generator)
        scores = scored(survey, given, SCORED_BY.get(case, "accuracy_adjusted")).mean(axis=2)
        found = between_levels(scores, draws=DRAWS, generator=generator)
        rows.append([found.value, found.low, found.high, found.p, permuted(scores, draws=DRAWS, generator=generator)])
        truths.append(true_scores(survey, given, SCORED_BY.get(case, "accuracy")).mean(axis=(0, 2)))
        said = np.take_along_axis(survey.probabilities, survey.target[..., None], axis=3)[..., 0]
        certain.append([said.mean(), (survey.target == survey.mode).mean(), *_binned(said, survey.target == survey.mode)])
    return {"case": case, "studies": studies} | _summary(np.array(rows), np.array(truths)) | _calibration(np.array(certain))


def made_up_survey(generator: np.random.Generator, *, sizes: np.ndarray) -> Survey:
    """Cells scatter alike around their country on the logit scale; the prior of the targets' certainty knows nothing of how."""
    national = generator.normal(size=(QUESTIONS, 1, 1, OPTIONS))
    odds = np.exp(national + 0.4 * generator.normal(size=(QUESTIONS, LEVELS, PARTNERS, OPTIONS)))
    truth = odds / odds.sum(axis=-1, keepdims=True)
    n = np.broadcast_to(sizes[:, None], (LEVELS, PARTNERS))
    cells = generator.multinomial(n, truth) / n[..., None]
    whole = (cells * n[..., None]).sum(axis=(1, 2)) / n.sum()
    shares = np.concatenate([whole[:, None], cells.reshape(QUESTIONS, -1, OPTIONS)], axis=1)
    names = ["all", *(f"{level}|{partner}" for level in range(LEVELS) for partner in range(PARTNERS))]
    rows = pd.MultiIndex.from_product([range(QUESTIONS), names, range(OPTIONS)], names=["item", "subgroup_id", "code"]).to_frame(index=False)
    effective_n = np.tile(np.repeat([n.sum(), *n.ravel()], OPTIONS), QUESTIONS).astype(float)
    distributions = rows.assign(position=rows["code"], share=shares.ravel(), effective_n=effective_n)
    subgroups = pd.DataFrame({"subgroup_id": names, "weight_share": [1, *(n.ravel() / n.sum())], "unseen": False})
    subgroups["parents"] = [[], *[["all"]] * (len(names) - 1)]
    table = posterior_table(distributions, subgroups)
    posterior, probabilities = (
        table[name].to_numpy().reshape(QUESTIONS, len(names), OPTIONS)[:, 1:].reshape(truth.shape) for name in ("posterior", "mode_probability")
    )
    said = np.broadcast_to(national.argmax(axis=3), truth.shape[:3])
    return Survey(truth, cells, np.broadcast_to(n, truth.shape[:3]), posterior, probabilities, said)


def scored(survey: Survey, given: Answers, metric: str) -> np.ndarray:
    """As a run scores it: [questions, levels, partners]."""
    size, cells = survey.mode.size, survey.mode.shape
    place = np.arange(size)
    key = {"item": place // (LEVELS * PARTNERS), "subgroup_id": place % (LEVELS * PARTNERS), "split": "ood_test"}
    by_option = {"shares": survey.shares, "posterior": survey.posterior}
    target = survey.target.ravel()
    pairs = pd.DataFrame(
        key
        | {"topic": "", "scale": "ordinal", "effective_n": survey.effective_n.ravel(), "mode_certainty": 0.5, "differs": False, "weight_share": 1.0}
        | {"code": target, "tied_codes": target[:, None].tolist()}
        | {name: list(table.reshape(size, OPTIONS)) for name, table in by_option.items()}
    )
    answered = {"codes": [np.arange(OPTIONS)] * size, "probabilities": list(given.shares.reshape(size, OPTIONS)), "choice": given.choice.ravel()}
    predictions = pd.DataFrame(key | {"model": "made up", "reader": "likelihood", "variant": "plain"} | answered)
    return score_predictions(predictions, pairs)[metric].to_numpy().reshape(cells)


def true_scores(survey: Survey, given: Answers, metric: str) -> np.ndarray:
    """Against the population: [questions, levels, partners]."""
    if metric.startswith("emd"):
        found = earth_movers_distance(given.shares.reshape(-1, OPTIONS), survey.truth.reshape(-1, OPTIONS))
        return found.reshape(given.choice.shape)
    away: np.ndarray = np.abs(given.choice - survey.mode)
    return away / (OPTIONS - 1) if metric.startswith("nmae") else away == 0


def answers(survey: Survey, case: str, generator: np.random.Generator) -> Answers:
    if case.startswith("emd"):
        spread = np.full((LEVELS, 1, 1), STRAYS)
        spread[0] = STRAYS_SPOILT if case == "emd_planted" else STRAYS
        odds = survey.truth * np.exp(spread * generator.normal(size=survey.truth.shape))
        shares = odds / odds.sum(axis=-1, keepdims=True)
        return Answers(shares.argmax(axis=3), shares)
    choice = choices(survey, case, generator)
    return Answers(choice, np.eye(OPTIONS)[choice])


def choices(survey: Survey, case: str, generator: np.random.Generator) -> np.ndarray:
    """The country's mode (informed: the cell's) as often as the question is easy, else any option."""
    known = survey.mode if case in ("informed", "unadjusted", "nmae") else survey.national
    easy = generator.uniform(0.4, 0.95, size=(QUESTIONS, 1, 1))
    drawn = generator.integers(0, OPTIONS, size=known.shape)
    choice = np.where(generator.random(known.shape) < easy, known, drawn)
    if case == "planted":
        spoilt = generator.random(choice.shape) < SPOILT
        spoilt[:, 1:] = False
        choice = np.where(spoilt, generator.integers(0, OPTIONS, size=choice.shape), choice)
    return choice


def _summary(rows: np.ndarray, truths: np.ndarray) -> dict[str, Any]:
    value, low, high, p, again = rows.T
    true = float(truths.mean(axis=0).var(ddof=1))
    true = true if true > 1e-4 else 0.0  # what is left of equal levels is the simulation's own noise
    return {
        "true_sd": round(float(np.sqrt(true)), 4),
        "mean_component": float(value.mean()),
        "covered": float(((low <= true) & (high >= true)).mean()),
        "below_05": float((p < 0.05).mean()),
        "ks_p": float(kstest(p, "uniform").pvalue),
        "permutation_below_05": float((again < 0.05).mean()),
    }


def _binned(said: np.ndarray, true: np.ndarray) -> list[float]:
    """Mean certainty and share that is right where certainty is at least 0.9."""
    sure = said >= 0.9
    return [float(said[sure].mean()), float(true[sure].mean())]


def _calibration(certain: np.ndarray) -> dict[str, float]:
    names = ("ceiling", "oracle", "certainty_from_09", "right_from_09")
    return {name: round(float(value), 4) for name, value in zip(names, certain.mean(axis=0), strict=True)}


def simulate_change(before: float, after: float, *, studies: int, noise: float | None = None) -> dict[str, Any]:
    generator = np.random.default_rng([7, round(1000 * before), round(1000 * after)])
    found = []
    for _ in range(studies):
        tables = [_table(generator, apart=apart, noise=noise) for apart in (before, after)]
        change = change_between_levels(tables[0], tables[1], margin=0.02, draws=DRAWS, generator=generator)
        low, high = _bootstrapped(*tables, generator=generator)
        true = after**2 - before**2
        found.append([change.component.low <= true <= change.component.high, change.component.p < 0.05, change.p_wider < 0.05, low <= true <= high])
    means = dict(zip(("covered", "below_05", "no_wider", "covered_by_bootstrap"), np.mean(found, axis=0).tolist(), strict=True))
    return {"before": before, "after": after, "noise": noise, "studies": studies} | means


def _bootstrapped(before: np.ndarray, after: np.ndarray, *, generator: np.random.Generator) -> tuple[float, float]:
    drawn = generator.integers(0, len(before), size=(DRAWS, len(before)))
    changes = [component(after[rows]) - component(before[rows]) for rows in drawn]
    low, high = np.quantile(changes, [0.025, 0.975])
    return float(low), float(high)


def _table(generator: np.random.Generator, *, apart: float, levels: int = 5, noise: float | None = None) -> np.ndarray:
    """Mean scores of eight intersections per level and question, right or wrong each, or with normal noise; the levels `apart` by that standard
    deviation."""
    effects = np.linspace(-1, 1, levels) / np.linspace(-1, 1, levels).std(ddof=1) * apart
    if noise is not None:
        strayed: np.ndarray = effects + noise * generator.normal(size=(QUESTIONS, levels))
        return strayed
    difficulty = generator.uniform(0.2, 0.8, size=(QUESTIONS, 1, 1))
    scores: np.ndarray = (generator.random((QUESTIONS, levels, 8)) < difficulty + effects[None, :, None]).mean(axis=2)
    return scores


def bootstrap_seconds() -> dict[str, float]:
    """The whole of it: draws, sums, ratios and bounds of every subgroup."""
    _, right = _made_up_pairs()
    began = time.monotonic()
    weights = question_weights(ASKED, replicates=REPLICATES, generator=np.random.default_rng(1))
    ratio_interval(right, np.ones_like(right), weights=weights)
    return {"replicates": REPLICATES, "subgroups": SUBGROUPS, "questions": ASKED, "seconds": round(time.monotonic() - began, 3)}


def against_fairlearn(*, replicates: int, seed: int = 3) -> dict[str, float]:
    pairs, right = _made_up_pairs()
    groups = (pairs["subgroup"].to_numpy()[:, None] == np.arange(SUBGROUPS)).astype(float)
    rounds = []
    for _ in range(3):
        began = time.monotonic()
        frame = MetricFrame(
            metrics=lambda truth, choice: np.mean(truth == choice), y_true=np.ones(len(pairs)), y_pred=pairs["right"],
            sensitive_features=pairs["subgroup"], n_boot=replicates, ci_quantiles=[0.025, 0.975], random_state=seed,
        )  # fmt: skip
        theirs = np.array([bound.to_numpy(dtype=float) for bound in frame.by_group_ci])
        seconds = [time.monotonic() - began]
        began = time.monotonic()
        found = ratio_replicates(pairs["right"].to_numpy()[:, None] * groups, groups, weights=_draws_of_fairlearn(len(pairs), replicates, seed=seed))
        ours = np.quantile(found, [0.025, 0.975], axis=1)
        seconds.append(time.monotonic() - began)
        began = time.monotonic()
        weights = question_weights(ASKED, replicates=replicates, generator=np.random.default_rng(seed))
        ratio_interval(right, np.ones_like(right), weights=weights)
        rounds.append([*seconds, time.monotonic() - began])
        if not np.allclose(theirs, ours, atol=1e-9):
            raise SystemExit(f"other bounds than fairlearn's from the same draws: {np.abs(theirs - ours).max()}")
    peer, same, by_question = np.median(rounds, axis=0)
    ratios = {
        "ratio": float(np.median([row[0] / row[1] for row in rounds])),
        "ratio_by_question": float(np.median([row[0] / row[2] for row in rounds])),
    }
    return {"replicates": replicates, "peer_seconds": float(peer), "seconds": float(same), "seconds_by_question": float(by_question)} | ratios


def _draws_of_fairlearn(rows: int, replicates: int, *, seed: int) -> np.ndarray:
    """How often each of its replicates draws each row: DataFrame.sample(frac=1, replace=True) with a seed for each."""
    seeds = np.random.default_rng(seed).integers(low=0, high=np.iinfo(np.uint32).max, size=replicates, dtype=np.uint32)
    drawn = [np.random.RandomState(one).choice(rows, size=rows, replace=True) for one in seeds]
    return np.array([np.bincount(places, minlength=rows) for places in drawn], dtype=float)


def _made_up_pairs() -> tuple[pd.DataFrame, np.ndarray]:
    """Pairs as rows, and the same as a table: [questions, subgroups]."""
    right = (np.random.default_rng(2).random((ASKED, SUBGROUPS)) < 0.6).astype(float)
    return pd.DataFrame({"subgroup": np.tile(np.arange(SUBGROUPS), ASKED), "right": right.ravel()}), right


if __name__ == "__main__":
    main()
