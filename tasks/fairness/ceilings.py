"""What the targets' own noise allows: the ceiling, and a score in respondents.

    scores = pd.concat([scores, ceiling_scores(pairs)])           a contender named `ceiling`
    sizes = equivalent_sizes(metrics, pairs, plan=plan)            rows of the metrics table, metric equivalent_n

A target is the mode of a sample. Who knows the population and none of the sample's respondents answers its mode, and is right where the sample's mode
is the population's: the expected score is the mean mode certainty. It is a ceiling only for answers that know nothing of the targets' respondents;
a baseline that counts them too (overlap keep) may score above.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from tasks.fairness.plan import Plan
from tasks.fairness.scores import CERTAIN, KEYS, TEST_SPLITS

CEILING = "ceiling"
SIZES = np.array([1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200, 400, 1000, 3000, 10_000])
DRAWS = 8  # populations drawn for each pair; a split has hundreds of pairs


class Curve(NamedTuple):
    """The expected accuracy of fresh surveys of `sizes` respondents per cell; at size 0 an option is guessed."""

    sizes: np.ndarray
    accuracies: np.ndarray

    def size_of(self, accuracy: np.ndarray) -> np.ndarray:
        """Respondents for an accuracy, between sizes by their logarithm; at most the largest size, also where no survey would do as well."""
        found: np.ndarray = np.expm1(np.interp(accuracy, self.accuracies, np.log1p(self.sizes)))
        return np.where(np.isnan(accuracy), np.nan, found)


def ceiling_scores(pairs: pd.DataFrame) -> pd.DataFrame:
    """A score for each test pair, as of a model: the probability that the oracle is right."""
    test = pairs[pairs["split"].isin(TEST_SPLITS)]
    certainty = test["mode_certainty"]
    certain = certainty >= CERTAIN
    scores = {
        "accuracy": certainty,
        "accuracy_certain": certainty.where(certain),
        "accuracy_differs": certainty.where(certain & test["differs"]),
    }
    return test[[*KEYS, "topic", "weight_share"]].assign(model=CEILING, reader="table", variant="plain", **scores)


def equivalent_sizes(metrics: pd.DataFrame, pairs: pd.DataFrame, *, plan: Plan) -> pd.DataFrame:
    """Rows of the metrics table: how many respondents a fresh survey cell would need to predict the targets as well as each model does.

    Over all pairs of a split; the bounds are those of the accuracy.
    """
    overall = metrics[(metrics["dimension"] == "all") & (metrics["metric"] == "accuracy") & (metrics["weighting"] == "pairs")]
    overall = overall[~overall["model"].str.contains("-") & (overall["model"] != CEILING)]
    parts = []
    for split, rows in overall.groupby("split"):
        curve = survey_curve(pairs[pairs["split"] == split], generator=plan.generator("equivalent", str(split)))
        bounds = {name: curve.size_of(rows[name].to_numpy(dtype=float)) for name in ("value", "low", "high")}
        parts.append(rows.assign(metric="equivalent_n", **bounds))
    return pd.concat(parts, ignore_index=True) if parts else metrics.iloc[:0]


def survey_curve(pairs: pd.DataFrame, *, generator: np.random.Generator) -> Curve:
    """For each size, the mean over pairs of P(mode of so many fresh answers = target), populations drawn from the pairs' posteriors; tied modes share
    the point."""
    hits, guesses = np.zeros(len(SIZES)), 0.0
    for options, rows in pairs.groupby(pairs["codes"].map(len)):
        target = (np.stack(rows["codes"].to_list()) == rows["code"].to_numpy()[:, None]).argmax(axis=1)
        gammas = generator.standard_gamma(np.stack(rows["posterior"].to_list()), size=(DRAWS, len(rows), int(str(options))))
        populations = gammas / gammas.sum(axis=2, keepdims=True)
        for place, size in enumerate(SIZES):
            counts = generator.multinomial(size, populations)  # [draws, pairs, options]
            modes = counts == counts.max(axis=2, keepdims=True)
            hits[place] += (modes[:, np.arange(len(rows)), target] / modes.sum(axis=2)).mean(axis=0).sum()
        guesses += len(rows) / int(str(options))
    accuracies = np.maximum.accumulate(np.array([guesses, *hits]) / max(len(pairs), 1))
    return Curve(np.array([0, *SIZES]), accuracies + 1e-12 * np.arange(len(accuracies)))
