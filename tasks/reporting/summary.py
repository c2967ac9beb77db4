"""The run's headline numbers: summary.json, and the same as a table for a terminal or an artifact.

    summary = write_summary(run_folder, facts)
    console.print(headline_table(summary))

Every statistic is {value, low, high}, low and high by a bootstrap of questions or null; a number that the run has not is null.
`differences` are paired: both sides over the same pairs. In `disparity`, base, tuned and change are gaps between best and worst level (descriptive);
`between` is the primary statistic as a standard deviation between levels, with the sign of its variance component.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.table import Table

from tasks.errors import StepError
from tasks.fairness.ceilings import CEILING
from tasks.fairness.contrasts import CHANGE
from tasks.files import write_json
from tasks.reporting import formats, views
from tasks.reporting.contents import SPLITS, Statistic, check_numbers, statistic_at

TEST_SPLITS = ("id_test", "ood_test")
METRICS = (
    "accuracy", "nmae", "emd", "total_variation", "jensen_shannon", "calibration_error", "accuracy_adjusted", "accuracy_certain", "accuracy_differs",
    "equivalent_n",
)  # fmt: skip
BASELINES = ("national_mode", "parent_mode", "additive", "chance")
SKILL_OVER = ("national_mode", "parent_mode", "additive")
CONTROLS = ("blank_persona", "permuted_persona")
SURVEY_FACTS = ("file_sha256", "version", "wave", "country", "respondents", "weighted")
REQUIRED_TABLES = ("metrics", "pairs", "predictions")

Number = dict[str, float | None] | None


class Facts(NamedTuple):
    """What the tables do not say. `survey` is the intake report, `gates` {passed, failed}, `seconds` by stage."""

    study_name: str
    run_id: str
    survey: Mapping[str, Any]
    seconds: Mapping[str, float]
    gates: Mapping[str, int]
    overlap: str = "keep"


def write_summary(run_folder: Path, facts: Facts) -> dict[str, Any]:
    """Build the summary from the run's tables and write summary.json. Raises StepError when a table or the headline accuracy is missing."""
    paths = {path.stem: path for path in (run_folder / "tables").glob("*.parquet")}
    absent = [name for name in REQUIRED_TABLES if name not in paths]
    if absent:
        raise StepError(f"{run_folder / 'tables'} lacks {', '.join(absent)}: a summary needs {', '.join(REQUIRED_TABLES)}. Run the study again.")
    wanted = [name for name in (*REQUIRED_TABLES, "disparities") if name in paths]
    summary = build_summary({name: pd.read_parquet(paths[name]) for name in wanted}, facts)
    check_numbers(run_folder, summary)
    write_json(run_folder / "summary.json", summary)
    return summary


def build_summary(tables: Mapping[str, pd.DataFrame], facts: Facts) -> dict[str, Any]:
    """summary.json from metrics, pairs, predictions and (when there is one) disparities. A run without training has no key `tuned`."""
    reader = reader_of(tables["predictions"])
    scores = views.read_scores(views.comparable(tables["metrics"], reader=reader))
    models = ["base", "tuned"] if (tables["predictions"]["model"] == "tuned").any() else ["base"]
    accuracies = {name: _by_split(scores, "accuracy", model=name) for name in BASELINES}
    summary: dict[str, Any] = {
        "study": facts.study_name,
        "run_id": facts.run_id,
        "synthetic": bool(facts.survey["synthetic"]),
        "reader": reader,
        "survey": {name: facts.survey[name] for name in SURVEY_FACTS},
        "pairs": _pairs(tables["pairs"]),
        **{model: {metric: _by_split(scores, metric, model=model) for metric in METRICS} | {"open_ended": None} for model in models},
        "baselines": {name: {"accuracy": accuracies[name]} for name in BASELINES},
        "controls": _controls(scores, tables["predictions"], model=models[-1]),
        "skill": {model: {name: _skill(scores, model=model, baseline=name) for name in SKILL_OVER} for model in models},
        "differences": {
            name: {metric: _by_split(scores, metric, model=name) for metric in ("accuracy", "nmae", "emd")} for name in scores.contrasts()
        },
        "target_certainty": _by_split(scores, "accuracy", model=CEILING),
        "ceiling": _by_split(scores, "accuracy", model=CEILING) if facts.overlap == "disjoint" else None,
    }
    disparities = views.comparable(tables.get("disparities"), reader=reader)
    split = views.main_split(summary)
    summary["disparity"] = _disparity(views.gap_rows(disparities, split=split), _tested(tables.get("disparities"), split=split, reader=reader))
    return summary | {"gates": dict(facts.gates), "seconds": dict(facts.seconds)}


def reader_of(predictions: pd.DataFrame) -> str:
    """How the models' answers were taken: a served one is read as its server allows, whatever the study says."""
    return str(predictions.loc[predictions["reader"] != "table", "reader"].iloc[0])


def persona_changes_answer(predictions: pd.DataFrame, *, model: str) -> dict[str, Number]:
    """Share of a split's pairs whose choice with the persona differs from the choice with a blank one."""
    ours = predictions[(predictions["model"] == model) & (predictions["reader"] == reader_of(predictions))]
    keyed = ours.set_index(["split", "item", "subgroup_id"])
    plain, blank = (keyed.loc[keyed["variant"] == variant, "choice"] for variant in ("plain", "blank_persona"))
    both = plain.to_frame("plain").join(blank.rename("blank"), how="inner")
    changed = (both["plain"] != both["blank"]).groupby("split").mean()
    return {split: _number(changed.get(split)) for split in TEST_SPLITS}


def headline_rows(summary: Mapping[str, Any]) -> list[dict[str, str]]:
    """Models, controls and baselines with accuracy and skill over the national mode, as text: one dictionary per row of a table."""
    return [_headline_row(summary, contender) for contender in views.contenders(summary)]


def headline_table(summary: Mapping[str, Any]) -> Table:
    """The headline rows for a terminal."""
    weighting = "weighted" if summary["survey"]["weighted"] else "UNWEIGHTED"
    prefix = "SYNTHETIC SURVEY, evidence of nothing: " if summary["synthetic"] else ""
    what = f"{summary['study']} ({summary['survey']['country']}, {summary['pairs']['questions']} questions)"
    table = Table(title=f"{prefix}{what}, run {summary['run_id']}, {weighting} targets", title_justify="left")
    rows = headline_rows(summary)
    for name in rows[0]:
        table.add_column(name, justify="left" if name == "answers by" else "right")
    shares = {split: statistic_at(summary, "controls", "persona_changes_answer", split) for split in SPLITS}
    changes = ", ".join(f"{formats.percent(share)} ({split})" for split, share in shares.items() if share)
    table.caption = (
        f"Skill is over the national mode. The persona changes the answer in: {changes or 'not asked'}. Intervals are in summary.json and the report."
    )
    for row in rows:
        table.add_row(*row.values(), style="bold" if row["answers by"] == "Tuned model" else None)
    return table


def _headline_row(summary: Mapping[str, Any], contender: views.Contender) -> dict[str, str]:
    row = {"answers by": contender.name}
    for split in SPLITS:
        accuracy = statistic_at(summary, *contender.path, "accuracy", split)
        national = statistic_at(summary, "baselines", "national_mode", "accuracy", split)
        row[f"{split} accuracy"] = formats.percent(accuracy)
        row[f"{split} skill"] = formats.signed(views.skill(accuracy, national), digits=2)
    return row


def _by_split(scores: views.Scores, metric: str, *, model: str, variant: str = "plain") -> dict[str, Number]:
    return {split: _number(scores.of(views.Place(split), model=model, metric=metric, variant=variant)) for split in TEST_SPLITS}


def _number(value: Statistic | float | None) -> Number:
    if value is None:
        return None
    return (value if isinstance(value, Statistic) else Statistic(float(value)))._asdict()


def _pairs(pairs: pd.DataFrame) -> dict[str, int]:
    counted = {split: int((pairs["split"] == split).sum()) for split in ("train", *TEST_SPLITS)}
    return {"total": len(pairs), **counted, "subgroups": pairs["subgroup_id"].nunique(), "questions": pairs["item"].nunique()}


def _controls(scores: views.Scores, predictions: pd.DataFrame, *, model: str) -> dict[str, Any]:
    """Of the tuned model, or of the base model where nothing was trained."""
    measured = {name: {"accuracy": _by_split(scores, "accuracy", model=model, variant=name)} for name in CONTROLS}
    return measured | {"order0": None, "persona_changes_answer": persona_changes_answer(predictions, model=model)}


def _skill(scores: views.Scores, *, model: str, baseline: str) -> dict[str, Number]:
    """As measured with its interval; None where the baseline leaves less than 0.02 to gain."""
    pairs = {split: [scores.of(views.Place(split), model=name, metric="accuracy") for name in (model, baseline)] for split in TEST_SPLITS}
    measured = _by_split(scores, f"skill_{baseline}", model=model)
    return {split: None if views.skill(*pair) is None else measured[split] or _number(views.skill(*pair)) for split, pair in pairs.items()}


def _disparity(rows: Iterable[views.GapRow], tested: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Gaps in accuracy on the main test split, by dimension, and the tests of what lies behind them."""
    accuracy = [row for row in rows if row.metric == "accuracy"]
    gaps = {row.dimension: {name: _number(getattr(row, name)) for name in ("base", "tuned", "change")} for row in accuracy}
    return {dimension: found | tested.get(dimension, {}) for dimension, found in gaps.items()}


def _tested(disparities: pd.DataFrame | None, *, split: str, reader: str) -> dict[str, dict[str, Any]]:
    """By dimension: `between` of each model and of the change, and the change's tests; of accuracy, plain prompts, the study's reader."""
    if disparities is None or "between" not in disparities:
        return {}
    rows = disparities[(disparities["split"] == split) & (disparities["reader"] == reader) & (disparities["variant"] == "plain")]
    rows = rows[(rows["metric"] == "accuracy") & (rows["weighting"] == "standardised") & rows["between"].notna()]
    return {str(dimension): _tests({str(row["model"]): row for row in group.to_dict("records")}) for dimension, group in rows.groupby("dimension")}


def _tests(by_model: Mapping[str, dict[Any, Any]]) -> dict[str, Any]:
    names = {"base": "base", "tuned": "tuned", "change": CHANGE}
    found: dict[str, Any] = {"between": {name: _deviation(by_model[model]) for name, model in names.items() if model in by_model}}
    for name, model in names.items():
        if model in by_model:
            found["between"][name]["p"] = by_model[model]["p"]
    if CHANGE in by_model:
        change = by_model[CHANGE]
        found |= {name: formats.number_or_none(change[name]) for name in ("p_holm", "p_bh", "p_wider")} | {"no_wider": bool(change["no_wider"])}
    return found


def _deviation(row: Mapping[Any, Any]) -> dict[str, float | None]:
    """A variance component as a standard deviation with its sign."""
    return {
        name: float(np.sign(row[column]) * np.sqrt(abs(row[column]))) for name, column in (("value", "between"), ("low", "low"), ("high", "high"))
    }
