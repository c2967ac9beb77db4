"""How good each single prediction is: one row per prediction with a column per metric. Metrics are means of these.

Positions are ranks on the question's scale, among the options fielded (K of them). Nominal questions have no distance: NMAE and EMD are NaN there.
The `adjusted` metrics take the target's noise off: accuracy and NMAE by the probability of each option to be the population's mode, given the survey
and the model's choice (tasks/fairness/knowledge.py), EMD by what sampling adds to it on average (tasks/fairness/floor.py). `accuracy_certain` is
over pairs of a mode certainty of at least CERTAIN, `accuracy_differs` over those of them whose target is not the country's modal answer; elsewhere
they are NaN.
"""

from typing import Any

import numpy as np
import pandas as pd

from tasks.fairness import distances
from tasks.fairness.floor import sampling_floor
from tasks.fairness.knowledge import given_choice
from tasks.subgroups.certainty import mode_probabilities

METRICS = ("accuracy", "nmae", "emd")
ADJUSTED = {"accuracy": "accuracy_adjusted", "nmae": "nmae_adjusted", "emd": "emd_adjusted"}
RESTRICTED = ("accuracy_certain", "accuracy_differs")
SCORES = (*METRICS, "total_variation", "jensen_shannon", *ADJUSTED.values(), *RESTRICTED)
CONFIDENCE = "confidence"  # the choice's share of the probability on the options: for calibration
CERTAIN = 0.9
TEST_SPLITS = ("id_test", "ood_test")
KEYS = ["item", "subgroup_id", "split"]
CONTENDER = ["model", "reader", "variant", "split"]
OF_PAIRS = ["topic", "scale", "shares", "posterior", "effective_n", "mode_certainty", "differs", "tied_codes", "code", "weight_share"]
GUESSES = "chance"  # its choice is drawn, so it scores what it can expect


def score_predictions(predictions: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """The predictions' keys, topic and weight_share, with a column for each of SCORES, and CONFIDENCE. An answer that could not be read is wrong and
    as far off as can be; it says nothing of the options, so what compares distributions is null.

    Raises ValueError when a prediction has no pair, or cannot be measured: only a nominal question's distances may be missing.
    """
    joined = predictions.merge(pairs[[*KEYS, *OF_PAIRS]], on=KEYS, how="left", validate="many_to_one")
    orphans = int(joined["scale"].isna().sum())
    if orphans:
        raise ValueError(f"{orphans} of {len(joined)} predictions belong to no pair; expected every (item, subgroup_id, split) among the pairs")
    options = joined["codes"].map(len)
    scores = pd.concat([_scores(rows) for _, rows in joined.groupby(options)]).reindex(joined.index)
    lacks = scores["total_variation"].isna() | (scores["emd"].isna() & (joined["scale"] != "nominal"))
    read = [model == GUESSES or choice in codes for model, choice, codes in zip(joined["model"], joined["choice"], joined["codes"], strict=True)]
    unscored = int((lacks & np.array(read)).sum())
    if unscored:
        raise ValueError(f"{unscored} of {len(joined)} predictions have no finite probabilities above zero; they would vanish from the means")
    known = pd.concat([joined[["model", "reader", "variant", *KEYS, "topic", "weight_share"]], scores], axis=1)
    for _, rows in joined[joined["model"] != GUESSES].groupby(CONTENDER):
        known.loc[rows.index, ["accuracy_adjusted", "nmae_adjusted"]] = _given_choices(known.loc[rows.index], rows["choice"])
    measured = joined[known["emd"].notna()]
    for _, rows in measured.groupby(CONTENDER):
        known.loc[rows.index, "emd_adjusted"] -= _floor(rows)
    return known


def _floor(rows: pd.DataFrame) -> np.ndarray:
    """What sampling adds to the EMD of each pair of one contender in one split."""
    questions, subgroups = (pd.factorize(rows[name])[0] for name in ("item", "subgroup_id"))
    predicted, observed = (rows[name].to_list() for name in ("probabilities", "shares"))
    return sampling_floor(predicted, observed, effective_n=rows["effective_n"].to_numpy(dtype=float), questions=questions, subgroups=subgroups)


def _given_choices(scores: pd.DataFrame, choices: pd.Series) -> np.ndarray:
    """accuracy_adjusted and nmae_adjusted of one contender in one split, from those of the survey alone: [pairs, 2].

    Not the mode with less probability, a choice is as far from the modes as before in proportion.
    """
    questions = pd.factorize(scores["item"])[0]
    chosen = pd.factorize(pd.MultiIndex.from_arrays([scores["item"], choices]))[0]
    alone = scores["accuracy_adjusted"].to_numpy(dtype=float)
    right = given_choice(alone, chosen, questions)
    wrong = np.divide(1 - right, 1 - alone, out=np.ones_like(alone), where=alone < 1)
    return np.column_stack([right, scores["nmae_adjusted"].to_numpy(dtype=float) * wrong])


def _scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Of predictions with equally many options."""
    codes, predicted, observed, posterior = (np.stack(rows[name].to_list()) for name in ("codes", "probabilities", "shares", "posterior"))
    options = codes.shape[1]
    chosen = np.where((rows["model"] == GUESSES).to_numpy()[:, None], 1 / options, codes == rows["choice"].to_numpy()[:, None])
    target = (codes == rows["code"].to_numpy()[:, None]).argmax(axis=1)
    right = np.array([np.isin(known, tied) for known, tied in zip(codes, rows["tied_codes"], strict=True)])
    is_mode = mode_probabilities(posterior)
    steps = np.abs(np.subtract.outer(np.arange(options), np.arange(options))) / (options - 1)
    no_option = 1 - chosen.sum(axis=1)  # an answer that was not understood is as far off as can be
    moved = distances.earth_movers_distance(predicted, observed)
    by_metric: dict[str, Any] = {
        "accuracy": (chosen * right).sum(axis=1),
        "nmae": (chosen * distances.steps_from(target, options=options)).sum(axis=1) + no_option,
        "emd": moved,
        "total_variation": distances.total_variation(predicted, observed),
        "jensen_shannon": distances.jensen_shannon(predicted, observed),
        "accuracy_adjusted": (chosen * is_mode).sum(axis=1),
        "nmae_adjusted": (chosen @ steps * is_mode).sum(axis=1) + no_option,
        "emd_adjusted": moved,  # what sampling adds is taken off over questions of every length together
        CONFIDENCE: (chosen * distances.renormalised(predicted)).sum(axis=1),
    }
    return _with_gaps(pd.DataFrame(by_metric, index=rows.index), rows)


def _with_gaps(scores: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """No distances for nominal questions; the accuracies of some pairs only."""
    distant = [name for name in scores if str(name).startswith(("nmae", "emd"))]
    scores.loc[(rows["scale"] == "nominal").to_numpy(), distant] = np.nan
    certain = (rows["mode_certainty"] >= CERTAIN).to_numpy()
    differs = rows["differs"].to_numpy(dtype=bool)
    return scores.assign(
        accuracy_certain=scores["accuracy"].where(certain),
        accuracy_differs=scores["accuracy"].where(certain & differs),
    )[[*SCORES, CONFIDENCE]]
