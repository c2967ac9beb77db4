"""What stands behind the headline, for summary.json: how answers were read, whether other words change them, free answers and their judge, the
landscape, and what a server took.

    answers(predictions, models=["base", "tuned"], reader="likelihood")
    transfer(run_folder, seed=7)["tuned"]["accuracy"]
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.evaluation.judge import USABLE_KAPPA
from tasks.evaluation.predictions import NO_ANSWER
from tasks.evaluation.served import USAGE, summed_usage
from tasks.fairness.intervals import question_weights, ratio_interval
from tasks.reporting.contents import Statistic
from tasks.subgroups.diversity import EVERY_TOPIC

KEYS = ["item", "subgroup_id", "split"]
QUESTIONS_NAMED = 5
REPLICATES = 2000


def records(table: pd.DataFrame | None) -> list[dict[str, Any]]:
    """A table's rows as JSON may hold them; none where the run has no such table."""
    return [] if table is None else [plain_values(row) for row in table.to_dict("records")]


def plain_values(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of a table without numpy's types, null for what is no number."""
    found = {str(name): value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
    return {name: None if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)) else value for name, value in found.items()}


def answers(predictions: pd.DataFrame, *, models: Sequence[str], reader: str) -> dict[str, Any]:
    """By model: its answers on the test splits, the mean probability that it puts outside the options, how many answers could not be read, and in
    which types of number they were computed: none by a served model."""
    plain = predictions[(predictions["variant"] == "plain") & (predictions["reader"] == reader)]
    by_model = {model: plain[plain["model"] == model] for model in models}
    return {
        model: {
            "answers": len(rows),
            "outside": float(rows["outside"].mean()),
            "unread": int((rows["choice"] == NO_ANSWER).sum()),
            "precision": precision(rows),
        }
        for model, rows in by_model.items()
    }


def precision(rows: pd.DataFrame) -> list[str]:
    """What a table's numbers were computed in, as it says itself: other hardware would have chosen otherwise."""
    return sorted(rows["precision"].dropna().unique()) if "precision" in rows else []


def judge(folder: Path) -> dict[str, Any] | None:
    """tables/judge.parquet: accuracy, kappa and bias of the judge over all labelled texts, and by level, scale and style."""
    path = folder / "tables" / "judge.parquet"
    if not path.is_file():
        return None
    rows = records(pd.read_parquet(path))
    whole = next(row for row in rows if row["dimension"] == "all")
    usable = whole["kappa"] is not None and whole["kappa"] >= USABLE_KAPPA
    return {name: whole[name] for name in ("texts", "accuracy", "kappa", "bias", "none")} | {"usable": usable, "by": rows}


def server(folder: Path) -> dict[str, Any] | None:
    """server/*.json of a run that asked one: what answers took and what failed, in sum and by step (`steps`)."""
    steps = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((folder / USAGE).glob("*.json"))}
    total = summed_usage(list(steps.values()))
    return total and {**total, "steps": steps}


def transfer(folder: Path, *, seed: int) -> dict[str, dict[str, Any]]:
    """By model: accuracy of its free answers as the judge read them, beside that of its usual answers to the same pairs; texts that name an option
    are also counted apart. Intervals draw questions anew. Empty where nothing was asked without options."""
    found = {}
    for model in ("base", "tuned"):
        paths = [folder / part for part in (f"predictions/{model}_open_ended.parquet", f"responses/{model}.parquet", f"predictions/{model}.parquet")]
        if all(path.is_file() for path in paths):
            found[model] = _transferred(*(pd.read_parquet(path) for path in paths), pairs=pd.read_parquet(folder / "tables/pairs.parquet"), seed=seed)
    return found


def _transferred(judged: pd.DataFrame, texts: pd.DataFrame, usual: pd.DataFrame, *, pairs: pd.DataFrame, seed: int) -> dict[str, Any]:
    plain = usual.loc[usual["variant"] == "plain", [*KEYS, "choice"]].rename(columns={"choice": "usual"})
    rows = judged.merge(pairs[[*KEYS, "tied_codes"]], on=KEYS, validate="one_to_one").merge(texts[[*KEYS, "names_option"]], on=KEYS)
    rows = rows.merge(plain, on=KEYS, how="left")
    for column, right in (("choice", "right"), ("usual", "right_usual")):
        rows[right] = [float(choice in set(tied)) for choice, tied in zip(rows[column], rows["tied_codes"], strict=True)]
    free = rows[~rows["names_option"].astype(bool)]
    return {
        "pairs": len(rows),
        "accuracy": _mean(rows, "right", seed=seed),
        "accuracy_with_options": _mean(rows, "right_usual", seed=seed),
        "accuracy_without_naming": _mean(free, "right", seed=seed),
        "names_option": int(rows["names_option"].sum()),
        "none": int((rows["choice"] == NO_ANSWER).sum()),
    }


def _mean(rows: pd.DataFrame, column: str, *, seed: int) -> dict[str, float | None] | None:
    if rows.empty:
        return None
    by_item = rows.groupby("item")[column].agg(["sum", "count"]).to_numpy(dtype=float)
    weights = question_weights(len(by_item), replicates=REPLICATES, generator=np.random.default_rng(seed))
    low, high = ratio_interval(by_item[:, :1], by_item[:, 1:], weights=weights)
    return plain_values(Statistic(float(rows[column].mean()), float(low[0]), float(high[0]))._asdict())


def landscape(questions: pd.DataFrame | None, topics: pd.DataFrame | None) -> dict[str, Any] | None:
    """The Modal Diversity Score by dimension and by topic with what sampling alone would give (`sampling`), and the questions on which subgroups
    differ most and least. `value` is of the sample's modes; `expected`, `low` and `high` are
    of the population's (tasks/subgroups/diversity.py)."""
    if questions is None or topics is None or "mds_sampling" not in questions:
        return None
    scored = questions.dropna(subset=["mds"])
    ordered = scored[scored["dimension"] == "all"].sort_values(["mds", "item"], ascending=[False, True], kind="stable")
    every = topics["topic"] == EVERY_TOPIC
    return {
        "dimensions": {str(row["dimension"]): _of_landscape(row) for row in topics[every].to_dict("records")},
        "most_contested": _named(ordered.head(QUESTIONS_NAMED)),
        "least_contested": _named(ordered.tail(QUESTIONS_NAMED).iloc[::-1]),
        "topics": {
            str(row["topic"]): _of_landscape(row) | {"questions": int(row["questions"])}
            for row in topics[~every & (topics["dimension"] == "all")].to_dict("records")
        },
    }


def _named(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [{"item": str(row["item"]), "topic": str(row["topic"])} | _of_landscape(row) for row in rows.to_dict("records")]


def _of_landscape(row: Any) -> dict[str, Any]:
    return plain_values(
        {"value": row["mds"], "expected": row["mds_expected"], "low": row["low"], "high": row["high"], "sampling": row["mds_sampling"]}
    )
