"""How good each single prediction is: one row per prediction with accuracy, NMAE and EMD. Metrics are means of these.

Positions are ranks on the question's scale, among the options fielded (K of them). Nominal questions have no distance: NMAE and EMD are NaN.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

METRICS = ("accuracy", "nmae", "emd")
KEYS = ["item", "subgroup_id", "split"]
OF_PAIRS = ["topic", "scale", "shares", "tied_codes", "code", "weight_share"]
GUESSES = "chance"  # its choice is drawn, so it scores what it can expect


class Score(NamedTuple):
    accuracy: float
    nmae: float
    emd: float


def score_predictions(predictions: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """The predictions' keys, topic and weight_share, with a score for each.

    Raises ValueError when a prediction has no pair, or an ordered question no distance: only a nominal question's may be missing.
    """
    joined = predictions.merge(pairs[[*KEYS, *OF_PAIRS]], on=KEYS, how="left", validate="many_to_one")
    orphans = int(joined["scale"].isna().sum())
    if orphans:
        raise ValueError(f"{orphans} of {len(joined)} predictions belong to no pair; expected every (item, subgroup_id, split) among the pairs")
    scores = pd.DataFrame([_score(row) for row in joined.to_dict("records")], columns=list(METRICS), index=joined.index)
    unscored = int(scores[joined["scale"] != "nominal"].isna().any(axis=1).sum())
    if unscored:
        raise ValueError(f"{unscored} of {len(joined)} predictions have no finite probabilities above zero; they would vanish from the means")
    return pd.concat([joined[["model", "reader", "variant", *KEYS, "topic", "weight_share"]], scores], axis=1)


def _score(row: dict) -> Score:  # type: ignore[type-arg]
    codes, probabilities, shares = (np.asarray(row[name]) for name in ("codes", "probabilities", "shares"))
    ordered = row["scale"] != "nominal"
    drawn = np.full(len(codes), 1 / len(codes)) if row["model"] == GUESSES else (codes == row["choice"]).astype(float)
    return Score(
        accuracy=float(drawn[np.isin(codes, row["tied_codes"])].sum()),
        nmae=float(drawn @ distances(codes, target=row["code"])) if ordered else np.nan,
        emd=earth_movers_distance(probabilities, shares) if ordered else np.nan,
    )


def distances(codes: np.ndarray, *, target: int) -> np.ndarray:
    """Normalised absolute error of choosing each option: |difference of positions| / (K - 1), in [0, 1]; `codes` in scale order: [options]."""
    positions = np.arange(len(codes))
    errors: np.ndarray = np.abs(positions - positions[codes == target][0]) / (len(codes) - 1)
    return errors


def earth_movers_distance(predicted: np.ndarray, observed: np.ndarray) -> float:
    """sum over the scale of |cumulative difference| / (K - 1), in [0, 1]; both in scale order, each renormalised to 1.

    The one-dimensional Wasserstein-1 distance on positions scaled to [0, 1] (Rubner et al. 2000).
    """
    difference = predicted / predicted.sum() - observed / observed.sum()
    return float(np.abs(np.cumsum(difference))[:-1].sum() / (len(predicted) - 1))
