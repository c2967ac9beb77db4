"""Do other readers, and other words, give the same answers? Two tables from predictions of the same pairs.

    agreement_of(predictions, pairs)       # one row per model and two readers
    robustness_of(predictions, pairs, seed=1)     # one row per model, reader and variant, beside the plain prompt

An answer that could not be read is wrong, agrees with nothing, and is counted.
"""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import kendalltau, spearmanr

from tasks.evaluation.predictions import NO_ANSWER
from tasks.files import FileSet, file_set, write_table
from tasks.prompting.rewording import REWORDINGS

KEYS = ["item", "subgroup_id", "split"]
REPLICATES = 1000
INTERVAL = (2.5, 97.5)  # percent
FEWEST_RANKED = 3  # levels: two are always in order or in reverse
FEWEST_PAIRS = 3  # of a level that is ranked: of one pair an accuracy is 0 or 1


def write_comparison(predictions: pd.DataFrame, pairs: pd.DataFrame, *, seed: int, folder: Path) -> FileSet:
    """tables/{agreement, robustness}.parquet, of whatever the predictions have."""
    tables = {"agreement": agreement_of(predictions, pairs), "robustness": robustness_of(predictions, pairs, seed=seed)}
    for name, table in tables.items():
        write_table(table, folder / "tables" / f"{name}.parquet")
    return file_set(folder, [f"tables/{name}.parquet" for name in tables], rows={name: len(table) for name, table in tables.items()})


def agreement_of(predictions: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """model, reader, other: on how many pairs both were asked plainly, the share with the same choice, Cohen's kappa (Cohen 1960) over places on the
    scale, and for each its accuracy, mean mass outside the options and number of answers that could not be read."""
    columns = ["model", "reader", "other", "pairs", "agreement", "kappa"]
    columns += [f"{name}{suffix}" for name in ("accuracy", "outside", "unread") for suffix in ("", "_other")]
    plain = _scored(predictions[(predictions["variant"] == "plain") & (predictions["reader"] != "table")], pairs)
    rows = []
    for model, of_model in plain.groupby("model"):
        readers = {str(reader): rows for reader, rows in of_model.groupby("reader")}
        rows += [{"model": model, "reader": one, "other": two} | _agreement(readers[one], readers[two]) for one, two in combinations(readers, 2)]
    return pd.DataFrame(rows, columns=columns)


def robustness_of(predictions: pd.DataFrame, pairs: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """model, reader, variant: accuracy plain and reworded on the same pairs, the change with a 95% interval (bootstrap of questions: a rewording
    moves all answers to a question together), the share of answers that stay, and how levels' accuracies, each over all pairs whose subgroup has
    it, rank alike (Spearman's rho, Kendall's tau-b; null where fewer than three levels have enough pairs, or none differ)."""
    columns = ["model", "reader", "variant", "pairs", "questions", "accuracy_plain", "accuracy", "change", "low", "high", "same_choice", "unread"]
    scored = _scored(predictions[predictions["variant"].isin(["plain", *REWORDINGS])], pairs)
    rows = []
    for (model, reader), group in scored.groupby(["model", "reader"]):
        plain = group[group["variant"] == "plain"]
        rows += [
            {"model": model, "reader": reader, "variant": variant} | _change(plain, group[group["variant"] == variant], seed=seed)
            for variant in REWORDINGS
            if (group["variant"] == variant).any()
        ]
    return pd.DataFrame(rows, columns=[*columns, "levels", "spearman", "kendall"])


def _scored(predictions: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """With `right`: whether the choice is the target, or tied with it; and `place`, the choice's place on the scale."""
    joined = predictions.merge(pairs[[*KEYS, "tied_codes"]], on=KEYS, how="left", validate="many_to_one")
    if orphans := int(joined["tied_codes"].isna().sum()):
        raise ValueError(f"{orphans} of {len(joined)} predictions belong to no pair; expected every (item, subgroup_id, split) among the pairs")
    joined["right"] = [float(choice in set(tied)) for choice, tied in zip(joined["choice"], joined["tied_codes"], strict=True)]
    joined["place"] = [_place(choice, codes=codes) for choice, codes in zip(joined["choice"], joined["codes"], strict=True)]
    return joined


def _place(choice: int, *, codes: Any) -> int:
    return NO_ANSWER if choice == NO_ANSWER else list(codes).index(choice)


def _agreement(one: pd.DataFrame, other: pd.DataFrame) -> dict[str, Any]:
    both = one.merge(other, on=KEYS, suffixes=("", "_other"), validate="one_to_one")
    same = (both["place"] == both["place_other"]) & (both["place"] != NO_ANSWER)
    figures: dict[str, Any] = {"pairs": len(both), "agreement": same.mean(), "kappa": _kappa(both["place"], both["place_other"], same=same.mean())}
    for suffix in ("", "_other"):
        figures[f"accuracy{suffix}"] = both[f"right{suffix}"].mean()
        figures[f"outside{suffix}"] = both[f"outside{suffix}"].mean()
        figures[f"unread{suffix}"] = int((both[f"place{suffix}"] == NO_ANSWER).sum())
    return figures


def _kappa(one: pd.Series, other: pd.Series, *, same: float) -> float:
    """(agreement - expected) / (1 - expected), where answers that could not be read agree with none; NaN where agreement is certain."""
    shares, others = one.value_counts(normalize=True), other.value_counts(normalize=True)
    expected = float(sum(shares[place] * others.get(place, 0.0) for place in shares.index if place != NO_ANSWER))
    return (same - expected) / (1 - expected) if expected < 1 else float("nan")


def _change(plain: pd.DataFrame, reworded: pd.DataFrame, *, seed: int) -> dict[str, Any]:
    both = reworded.merge(plain, on=KEYS, suffixes=("", "_plain"), validate="one_to_one")
    low, high = _interval(both.assign(change=both["right"] - both["right_plain"]), seed=seed)
    return {
        "pairs": len(both),
        "questions": both["item"].nunique(),
        "accuracy_plain": both["right_plain"].mean(),
        "accuracy": both["right"].mean(),
        "change": (both["right"] - both["right_plain"]).mean(),
        "low": low,
        "high": high,
        "same_choice": ((both["place"] == both["place_plain"]) & (both["place"] != NO_ANSWER)).mean(),
        "unread": int((both["place"] == NO_ANSWER).sum()),
        **_ranking(both),
    }


def _interval(both: pd.DataFrame, *, seed: int) -> tuple[float, float]:
    """Of the mean change over questions drawn with replacement, each with all its pairs; null with a single question."""
    questions = both.groupby("item")["change"].agg(["sum", "size"])
    if len(questions) < 2:
        return float("nan"), float("nan")
    draws = np.random.default_rng(seed).integers(len(questions), size=(REPLICATES, len(questions)))  # [replicates, questions]
    means = questions["sum"].to_numpy()[draws].sum(axis=1) / questions["size"].to_numpy()[draws].sum(axis=1)
    low, high = np.percentile(means, INTERVAL)
    return float(low), float(high)


def _ranking(both: pd.DataFrame) -> dict[str, Any]:
    """Of levels: a sample has a pair or two of a subgroup, and many of a level."""
    by_level = both.assign(level=both["subgroup_id"].str.split("|")).explode("level").groupby("level")[["right", "right_plain"]]
    means = by_level.mean()[by_level.size() >= FEWEST_PAIRS].drop(index="all", errors="ignore")
    if len(means) < FEWEST_RANKED or (means.nunique() < 2).any():
        return {"levels": len(means), "spearman": float("nan"), "kendall": float("nan")}
    return {
        "levels": len(means),
        "spearman": float(spearmanr(means["right"], means["right_plain"]).statistic),
        "kendall": float(kendalltau(means["right"], means["right_plain"]).statistic),
    }
