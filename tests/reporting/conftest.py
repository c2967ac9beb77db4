"""A made-up run folder, small and complete. Its numbers are invented: no model and no survey stands behind them.

def test_...(made_up_run):
    folder = made_up_run(trained=False, without=("landscape",))
"""

import json
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.reporting.summary import Facts, write_summary
from tests.reporting.invention import invented

LEVELS = {
    "sex": ("Female", "Male"),
    "age_group": ("16-24", "25-44", "45-64", "65+"),
    "religion": ("None", "Muslim", "Buddhist", "Roman Catholic"),
}
TOPICS = {
    "Q1": "Social values",
    "Q2": "Social values",
    "Q57": "Trust",
    "Q58": "Trust",
    "Q164": "Religious values",
    "Q182": "Ethical values and norms",
}
OPTIONS = ("Agree strongly", "Agree", "Disagree", "Disagree strongly")
BASELINES = {"national_mode": 0.58, "parent_mode": 0.64, "additive": 0.67, "chance": 0.25}


def invented_shares(*key: object) -> list[float]:
    """Shares of the four options."""
    drawn = [0.05 + invented(*key, option) for option in OPTIONS]
    return [value / sum(drawn) for value in drawn]


def subgroups(levels: dict[str, tuple[str, ...]]) -> pd.DataFrame:
    named = [[(dimension, level)] for dimension, held in levels.items() for level in held]
    crossed = [[one[0], other[0]] for one, other in combinations(named, 2) if one[0][0] != other[0][0]]
    rows = [
        {
            "subgroup_id": "|".join(f"{dimension}={level}" for dimension, level in traits) or "all",
            "subgroup_order": len(traits),
            "dimension": " x ".join(dimension for dimension, _ in traits) or "all",
            "dimensions": [dimension for dimension, _ in traits],
            "levels": [level for _, level in traits],
            "respondents": round(600 / (1 + len(traits)) ** 2) + round(40 * invented(traits)),
        }
        for traits in ([], *named, *crossed)
    ]
    return pd.DataFrame(rows)


def pairs(groups: pd.DataFrame, topics: dict[str, str]) -> pd.DataFrame:
    rows = [
        {
            "item": item, "subgroup_id": group["subgroup_id"], "subgroup_order": group["subgroup_order"], "topic": topic,
            "split": _split(group, item), "code": 1 + int(3 * invented(item, group["subgroup_id"])), "respondents": group["respondents"],
            "codes": [1, 2, 3, 4], "shares": invented_shares("survey", item, group["subgroup_id"]),
        }
        for group in groups.to_dict("records")
        for item, topic in topics.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _split(group: dict[str, Any], item: str) -> str:
    if group["subgroup_order"] == 2 and invented(group["subgroup_id"]) < 0.4:
        return "ood_test"
    return "id_test" if invented(group["subgroup_id"], item, "split") < 0.2 else "train"


def predictions(asked: pd.DataFrame, *, trained: bool) -> pd.DataFrame:
    """Every fourth pair is answered differently with a blank persona."""
    tested = asked[asked["split"].isin(["id_test", "ood_test"])]
    frames = []
    for model in ("base", "tuned") if trained else ("base",):
        for variant in ("plain", "blank_persona", "permuted_persona") if model == "tuned" else ("plain",):
            frame = tested[["item", "subgroup_id", "split"]].assign(model=model, reader="likelihood", variant=variant, choice=2, precision="float32")
            frame["outside"] = 0.4 if model == "base" else 0.01
            keys = zip(frame["item"], frame["subgroup_id"], strict=True)
            frame["probabilities"] = [
                [share * (1 - outside) for share in invented_shares(model, *key)] for key, outside in zip(keys, frame["outside"], strict=True)
            ]
            if variant == "blank_persona":
                frame.iloc[::4, frame.columns.get_loc("choice")] = 3
            frames.append(frame)
    answered = tested[["item", "subgroup_id", "split"]].assign(reader="table", variant="plain", choice=2, outside=0.0)
    answered["probabilities"] = [invented_shares("survey", item) for item in answered["item"]]
    return pd.concat([*frames, *(answered.assign(model=name) for name in BASELINES)], ignore_index=True)


def metrics(groups: pd.DataFrame, asked: pd.DataFrame, *, trained: bool) -> pd.DataFrame:
    tuned = (
        {("tuned", "plain"): 0.62, ("tuned", "blank_persona"): 0.57, ("tuned", "permuted_persona"): 0.55, ("order0", "plain"): 0.56}
        if trained
        else {}
    )
    scored = {("base", "plain"): 0.31, **tuned, **{(name, "plain"): value for name, value in BASELINES.items()}}
    unseen = set(asked.loc[asked["split"] == "ood_test", "subgroup_id"])
    places = [("all", "all"), *((dimension, level) for dimension, held in levels_of(groups).items() for level in held)]
    places += [("subgroup", name) for name in groups["subgroup_id"] if name in unseen]
    rows = [
        {
            "model": model, "variant": variant, "split": split, "reader": "table" if model in BASELINES else "likelihood", "weighting": "pairs",
            "dimension": dimension, "group": group, "metric": metric, "value": _score(metric, accuracy, (model, split, dimension, group)),
            "low": None, "high": None, "p": None, "pairs": 120 if group == "all" else 12,
        }
        for (model, variant), accuracy in scored.items()
        for split in ("id_test", "ood_test")
        for dimension, group in places
        for metric in ("accuracy", "nmae", "emd")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _score(metric: str, accuracy: float, key: tuple[str, ...]) -> float:
    spread = 0.0 if key[2] == "all" and key[1] == "ood_test" else 0.12 * (invented(*key) - 0.5)
    return accuracy + spread if metric == "accuracy" else (1 - accuracy - spread) * (0.4 if metric == "nmae" else 0.3)


def levels_of(groups: pd.DataFrame) -> dict[str, list[str]]:
    single = groups[groups["subgroup_order"] == 1]
    return {name: [levels[0] for levels in held] for name, held in single.groupby("dimension", sort=False)["levels"]}


def disparities(groups: pd.DataFrame, *, trained: bool) -> pd.DataFrame:
    rows = [
        {
            "model": model, "split": split, "reader": "likelihood", "variant": "plain", "weighting": "pairs", "dimension": dimension,
            "metric": metric, "gap": 0.05 + 0.2 * invented(model, dimension, metric), "worst_level": held[0], "best_level": held[-1],
        }
        for model in (("base", "tuned") if trained else ("base",))
        for split in ("id_test", "ood_test")
        for metric in ("accuracy", "nmae")
        for dimension, held in levels_of(groups).items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def landscape(groups: pd.DataFrame, topics: dict[str, str]) -> pd.DataFrame:
    rows = [
        {"item": item, "topic": topic, "dimension": name, "subgroups": 8, "k": 4, "mds": 0.7 * invented(item, name)}
        for item, topic in topics.items()
        for name in ("all", *groups.loc[groups["subgroup_order"] > 0, "dimension"].unique())
    ]
    return pd.DataFrame(rows)


def training_log() -> pd.DataFrame:
    steps = range(1, 81)
    checks = [1.4 + 2 / step if step % 20 == 0 else None for step in steps]
    losses = [1.3 + 3 / step + 0.2 * invented(step) for step in steps]
    return pd.DataFrame({"step": steps, "loss": losses, "validation_loss": checks, "precision": "bfloat16"})


def tables(levels: dict[str, tuple[str, ...]], topics: dict[str, str], *, trained: bool, question: str) -> Iterator[tuple[str, pd.DataFrame]]:
    groups = subgroups(levels)
    asked = pairs(groups, topics)
    yield "subgroups", groups
    yield "pairs", asked
    yield "predictions", predictions(asked, trained=trained)
    yield "metrics", metrics(groups, asked, trained=trained)
    yield "disparities", disparities(groups, trained=trained)
    yield "landscape", landscape(groups, topics)
    yield "items", pd.DataFrame([{"item": item, "question": question} for item in topics])
    yield "options", pd.DataFrame([{"item": item, "code": code, "wording": text} for item in topics for code, text in enumerate(OPTIONS, start=1)])
    if trained:
        yield "training_log", training_log()


def manifest(levels: dict[str, tuple[str, ...]], *, trained: bool, title: str, weighted: bool) -> dict[str, Any]:
    study = {
        "name": "made-up", "title": title, "notes": ["Made up for a test."], "seed": 7,
        "dimensions": {name: {"column": name.upper(), "persona": "is {level}"} for name in levels},
        "subgroups": {"order": 2, "minimum_respondents": 30}, "split": {"kind": "unseen_subgroup", "overlap": "keep", "held_out": 0.3},
        "model": {"name": "sample", "dtype": "auto"}, "training": {"objective": "distribution" if trained else "none", "epochs": 2.0},
        "evaluation": {"reader": "likelihood"},
    }  # fmt: skip
    survey = {
        "file_sha256": "0123456789abcdef" * 4, "synthetic": True, "version": "SYNTHETIC (made up for a test)", "wave": 7, "country": "SGP",
        "country_name": "Singapore", "year": 2020, "respondents": 2012, "weighted": weighted, "weight_column": "W_WEIGHT" if weighted else None,
    }  # fmt: skip
    return {
        "study": study, "study_name": "made-up", "run_id": "20260412T101500-ab12", "survey": survey, "synthetic": True, "seed": 7,
        "versions": {"valuescape": "0.1.0", "torch": "2.13.0"}, "hardware": {"cpus": 2, "memory_gib": 8},
    }  # fmt: skip


@pytest.fixture
def made_up_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run folder: `without` leaves tables out of it after the summary is made, `levels` replaces the dimensions' levels."""

    def build(
        *, trained: bool = True, weighted: bool = True, title: str = "A made-up study", question: str = "Is this made up?",
        levels: dict[str, tuple[str, ...]] = LEVELS, without: tuple[str, ...] = (),
        topics: dict[str, str] = TOPICS,
    ) -> Path:  # fmt: skip
        facts = manifest(levels, trained=trained, title=title, weighted=weighted)
        for folder in ("tables", "quality/pairs"):
            (tmp_path / folder).mkdir(parents=True)
        for name, frame in tables(levels, topics, trained=trained, question=question):
            frame.to_parquet(tmp_path / "tables" / f"{name}.parquet")
        (tmp_path / "manifest.json").write_text(json.dumps(facts))
        (tmp_path / "quality" / "gates.json").write_text(json.dumps([{"stage": "pairs", "passed": 9, "failed": 0}]))
        (tmp_path / "quality" / "pairs" / "targets.html").write_text("made up")
        seconds, gates = {"intake": 3.2, "training": 312.0}, {"passed": 9, "failed": 0}
        write_summary(tmp_path, Facts(facts["study_name"], facts["run_id"], facts["survey"], seconds, gates))
        for name in without:
            (tmp_path / "tables" / f"{name}.parquet").unlink()
        return tmp_path

    return build
