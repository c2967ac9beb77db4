"""What a made-up run has of other words, other readers, free answers, a served model and tests of its disparities: all invented.

add_evidence(folder, kappa=0.7)          # writes the tables and the summary of them
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.reporting.summary import Facts, write_summary
from tests.reporting.invention import invented

KEYS = ["item", "subgroup_id", "split"]


def resummarised(folder: Path) -> dict[str, Any]:
    facts = json.loads((folder / "manifest.json").read_text())
    return write_summary(folder, Facts(facts["study_name"], facts["run_id"], facts["survey"], {"intake": 3.2}, {"passed": 9, "failed": 0}, seed=7))


def add_evidence(folder: Path, *, kappa: float = 0.7, text: str = "I would say so.") -> dict[str, Any]:
    for name, rows in {"agreement": agreement(), "robustness": robustness(), "judge": judge(kappa)}.items():
        pd.DataFrame(rows).to_parquet(folder / "tables" / f"{name}.parquet")
    for model in ("base", "tuned"):
        answer_freely(folder, model=model, text=text)
    taken = {"requests": 120, "prompt_tokens": 24000, "completion_tokens": 720, "cost": 0.25}
    usage = {"answers": taken, "spent": taken, "failed_attempts": {"HTTP 429": 3}, "empty": 1, "without_log_probabilities": 0}
    (folder / "server").mkdir()
    for step, failed in (("test_pairs", {"HTTP 429": 3}), ("calibration", {})):
        (folder / "server" / f"{step}.json").write_text(json.dumps(usage | {"failed_attempts": failed}))
    add_intervals(folder)
    add_tests(folder)
    return resummarised(folder)


def agreement() -> list[dict[str, Any]]:
    figures = {"pairs": 30, "agreement": 0.8, "kappa": 0.71, "accuracy": 0.31, "accuracy_other": 0.29, "outside": 0.4, "outside_other": 1.0}
    return [{"model": "base", "reader": "likelihood", "other": "generated", **figures, "unread": 0, "unread_other": 4}]


def robustness() -> list[dict[str, Any]]:
    figures = {"pairs": 30, "questions": 6, "accuracy_plain": 0.62, "accuracy": 0.41, "low": -0.3, "high": -0.1, "same_choice": 0.5, "unread": 2}
    shared = {"model": "tuned", "reader": "likelihood", **figures, "levels": 10, "kendall": 0.2}
    changes = {"letters": (-0.21, 0.3), "reversed_options": (-0.05, None)}
    return [shared | {"variant": variant, "change": change, "spearman": rho} for variant, (change, rho) in changes.items()]


def judge(kappa: float) -> list[dict[str, Any]]:
    groups = [("all", "all", kappa, 0.02), ("style", "plain", kappa, 0.01), ("level", "high", kappa - 0.1, -0.12), ("level", "low", kappa, 0.08)]
    return [
        {"dimension": dimension, "group": group, "texts": 260, "accuracy": 0.75, "kappa": of, "bias": bias, "none": 9, "usable": kappa >= 0.6}
        for dimension, group, of, bias in groups
    ]


def answer_freely(folder: Path, *, model: str, text: str) -> None:
    """Every pair of unseen subgroups: the judge reads option 2, or none; the first text names an option."""
    pairs = pd.read_parquet(folder / "tables" / "pairs.parquet")
    pairs = pairs.assign(tied_codes=[[code] for code in pairs["code"]])
    pairs.to_parquet(folder / "tables" / "pairs.parquet")
    asked = pairs.loc[pairs["split"] == "ood_test", KEYS].reset_index(drop=True)
    for part in ("responses", "predictions"):
        (folder / part).mkdir(exist_ok=True)
    asked.assign(text=text, names_option=asked.index == 0).to_parquet(folder / "responses" / f"{model}.parquet")
    read = [2 if invented(model, *key) < 0.7 else -1 for key in asked.itertuples(index=False)]
    asked.assign(choice=read).to_parquet(folder / "predictions" / f"{model}_open_ended.parquet")
    predictions = pd.read_parquet(folder / "tables" / "predictions.parquet")
    predictions[predictions["model"] == model].to_parquet(folder / "predictions" / f"{model}.parquet")


def add_intervals(folder: Path) -> None:
    """The paired change of every group, and an interval for each of base, tuned and the change."""
    path = folder / "tables" / "metrics.parquet"
    metrics = pd.read_parquet(path)
    models = metrics[metrics["model"].isin(["base", "tuned"]) & (metrics["variant"] == "plain")]
    base, tuned = (models[models["model"] == name].reset_index(drop=True) for name in ("base", "tuned"))
    change = tuned.assign(model="tuned-base", value=tuned["value"] - base["value"])
    together = pd.concat([metrics[~metrics.index.isin(models.index)], base, tuned, change], ignore_index=True)
    bounded = together["model"].isin(["base", "tuned", "tuned-base"])
    together.loc[bounded, "low"], together.loc[bounded, "high"] = together["value"] - 0.1, together["value"] + 0.1
    together.to_parquet(path)


def add_tests(folder: Path) -> None:
    """Of each dimension: differences between levels that only the change by sex has beyond noise."""
    path = folder / "tables" / "disparities.parquet"
    shared = {"split": "ood_test", "reader": "likelihood", "variant": "plain", "weighting": "standardised", "questions": 6, "levels": 3, "p_gap": 0.3}
    rows = [
        shared | {"dimension": dimension, "metric": metric, "model": model, "gap": 0.1, "adjusted_gap": 0.02, "worst_level": "Male",
                  "best_level": "Female", "between": sign * 0.0004, "low": -0.0004, "high": 0.0009, "p": 0.2, "p_holm": p, "p_bh": p,
                  "p_wider": 0.5, "no_wider": metric == "emd"}
        for metric in ("accuracy", "nmae", "emd")
        for dimension in ("sex", "age_group", "religion")
        for model, sign in (("base", -1), ("tuned", 1), ("tuned-base", 1))
        for p in (0.01 if (dimension, metric) == ("sex", "nmae") else 0.9,)
    ]  # fmt: skip
    pd.concat([pd.read_parquet(path), pd.DataFrame(rows)], ignore_index=True).to_parquet(path)
