"""The run's headline numbers: summary.json, and the same as a table for a terminal or an artifact.

    summary = write_summary(run_folder, facts)
    console.print(headline_table(summary))

Every statistic is {value, low, high}, low and high by a bootstrap of questions or null; a number that the run has not is null.
`skill` is of what a baseline leaves to 1, `skill_to_ceiling` of what it leaves to the ceiling (the targets' certainty); null where that is little.
`differences` are paired: both sides over the same pairs, with the p of a paired test (tasks/fairness/paired.py).
`disparity` is of accuracy, and inside it of NMAE and EMD (tasks/reporting/disparity.py); `answers`, `agreement`, `robustness`, `landscape`, `judge`,
`server` and the models' `open_ended` are from tasks/reporting/evidence.py.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from rich.table import Table

from tasks.errors import StepError
from tasks.fairness import scores as scoring
from tasks.fairness.ceilings import CEILING
from tasks.fairness.contrasts import ORDER0
from tasks.files import write_json
from tasks.reporting import disparity, evidence, formats, names, overlap, views
from tasks.reporting.contents import SPLITS, Statistic, check_numbers, statistic_at

TEST_SPLITS = ("id_test", "ood_test")
METRICS = (
    "accuracy", "nmae", "emd", "total_variation", "jensen_shannon", "calibration_error", "accuracy_adjusted", "accuracy_certain", "accuracy_differs",
    "equivalent_n",
)  # fmt: skip
SOME_PAIRS = {"accuracy_certain": "certain", "accuracy_differs": "unlike_country"}
OF_OTHERS = ("accuracy", "nmae", "emd", "accuracy_certain", "accuracy_differs", "equivalent_n")  # of baselines and controls
SKILL = "skill_"
SURVEY_FACTS = ("file_sha256", "version", "wave", "country", "respondents", "weighted")
REQUIRED_TABLES = ("metrics", "pairs", "predictions")
OPTIONAL_TABLES = (
    "disparities", "agreement", "robustness", "landscape", "landscape_topics", "overlap", "overlap_subgroups", "replications",
)  # fmt: skip

Number = dict[str, float | None] | None
OfOne = Callable[..., dict[str, Any]]


class Facts(NamedTuple):
    """What the tables do not say. `survey` is the intake report, `gates` {passed, failed}, `seconds` by stage."""

    study_name: str
    run_id: str
    survey: Mapping[str, Any]
    seconds: Mapping[str, float]
    gates: Mapping[str, int]
    overlap: str = "keep"
    seed: int = 0


def write_summary(run_folder: Path, facts: Facts) -> dict[str, Any]:
    """Build the summary from the run's tables and write summary.json. Raises StepError when a table or the headline accuracy is missing."""
    paths = {path.stem: path for path in (run_folder / "tables").glob("*.parquet")}
    absent = [name for name in REQUIRED_TABLES if name not in paths]
    if absent:
        raise StepError(f"{run_folder / 'tables'} lacks {', '.join(absent)}: a summary needs {', '.join(REQUIRED_TABLES)}. Run the study again.")
    wanted = [name for name in (*REQUIRED_TABLES, *OPTIONAL_TABLES) if name in paths]
    summary = build_summary({name: pd.read_parquet(paths[name]) for name in wanted}, facts)
    summary |= {"judge": evidence.judge(run_folder), "server": evidence.server(run_folder)}
    for model, found in evidence.transfer(run_folder, seed=facts.seed).items():
        summary[model]["open_ended"] = found
    check_numbers(run_folder, summary)
    write_json(run_folder / "summary.json", summary)
    return summary


def build_summary(tables: Mapping[str, pd.DataFrame], facts: Facts) -> dict[str, Any]:
    """summary.json from the run's tables. A run without training has no key `tuned`; baselines and controls are those that were scored."""
    predictions = tables["predictions"]
    reader = reader_of(predictions)
    scores = views.read_scores(views.comparable(tables["metrics"], reader=reader))
    models = ["base", "tuned"] if (predictions["model"] == "tuned").any() else ["base"]
    measured = tables["metrics"]
    read_from_tables = measured[(measured["reader"] == "table") & (measured["model"] != CEILING)]["model"]
    baselines = names.in_order(names.BASELINES, set(read_from_tables))
    of_all = _of_others(scores, views.read_scores(views.comparable(measured, reader=reader, weighting="population")))
    summary: dict[str, Any] = {
        "study": facts.study_name,
        "run_id": facts.run_id,
        "synthetic": bool(facts.survey["synthetic"]),
        "reader": reader,
        "survey": {name: facts.survey[name] for name in SURVEY_FACTS} | {"weighting": names.weighting(facts.survey)},
        "pairs": _pairs(tables["pairs"]) | _counted(views.comparable(measured, reader=reader), model=models[-1]),
        **{model: {metric: _by_split(scores, metric, model=model) for metric in METRICS} | of_all(model) | {"open_ended": None} for model in models},
        "baselines": {name: of_all(name) for name in baselines},
        "controls": _controls(measured, predictions, of_all, model=models[-1]),
        "skill": {model: {name: _skill(scores, model=model, baseline=name) for name in baselines} for model in models},
        "skill_to_ceiling": {model: {name: _by_split(scores, f"{SKILL}{name}_to_ceiling", model=model) for name in baselines} for model in models},
        "differences": _differences(scores, views.comparable(measured, reader=reader)),
        "target_certainty": _by_split(scores, "accuracy", model=CEILING),
        "ceiling": _by_split(scores, "accuracy", model=CEILING) if facts.overlap == "disjoint" else None,
        "answers": evidence.answers(predictions, models=models, reader=reader),
        "agreement": evidence.records(tables.get("agreement")),
        "robustness": evidence.records(tables.get("robustness")),
        "landscape": evidence.landscape(tables.get("landscape"), tables.get("landscape_topics")),
    }
    summary["disparity"] = disparity.summarised(tables.get("disparities"), measured, split=views.main_split(summary), reader=reader)
    return summary | {"overlap": overlap.summarised(tables), "gates": dict(facts.gates), "seconds": dict(facts.seconds)}


def _counted(measured: pd.DataFrame, *, model: str) -> dict[str, dict[str, int]]:
    """The pairs with a sure target, and those of them that are unlike the country, by split."""
    if "pairs" not in measured:
        return {}
    whole = measured[(measured["model"] == model) & (measured["dimension"] == "all") & (measured["variant"] == "plain")]
    by_metric = {metric: whole[whole["metric"] == metric].set_index("split")["pairs"] for metric in SOME_PAIRS}
    return {name: {str(split): int(count) for split, count in by_metric[metric].items()} for metric, name in SOME_PAIRS.items()}


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
    weighting = summary["survey"]["weighting"]
    prefix = "SYNTHETIC SURVEY, evidence of nothing: " if summary["synthetic"] else ""
    what = f"{summary['study']} ({summary['survey']['country']}, {summary['pairs']['questions']} questions)"
    table = Table(title=f"{prefix}{what}, run {summary['run_id']}, targets {weighting}", title_justify="left")
    rows = headline_rows(summary)
    for name in rows[0]:
        table.add_column(name, justify="left" if name == "answers by" else "right")
    shares = {split: statistic_at(summary, "controls", "persona_changes_answer", split) for split in SPLITS}
    changes = ", ".join(f"{formats.percent(share)} ({split})" for split, share in shares.items() if share)
    table.caption = (
        f"Skill is over {views.references(summary)}. The persona changes the answer in: {changes or 'not asked'}. "
        "Intervals are in summary.json and the report."
    )
    for row in rows:
        table.add_row(*row.values(), style="bold" if row["answers by"] == "Tuned model" else None)
    return table


def _headline_row(summary: Mapping[str, Any], contender: views.Contender) -> dict[str, str]:
    row = {"answers by": contender.name}
    for split in SPLITS:
        accuracy = statistic_at(summary, *contender.path, "accuracy", split)
        over = statistic_at(summary, "baselines", views.reference(summary, split), "accuracy", split)
        row[f"{split} accuracy"] = formats.percent(accuracy)
        row[f"{split} skill"] = formats.signed(views.skill(accuracy, over), digits=2)
    return row


def _by_split(scores: views.Scores, metric: str, *, model: str, variant: str = "plain") -> dict[str, Number]:
    return {split: _number(scores.of(views.Place(split), model=model, metric=metric, variant=variant)) for split in TEST_SPLITS}


def _differences(scores: views.Scores, metrics: pd.DataFrame) -> dict[str, dict[str, dict[str, Number]]]:
    """By contrast, metric and split, with p, which is null where there are too few questions for a test."""
    p = {(row["model"], row["metric"], row["split"]): float(row["p"]) for row in metrics.dropna(subset="p").to_dict("records")}

    def tested(name: str, metric: str) -> dict[str, Number]:
        found = _by_split(scores, metric, model=name)
        return {split: None if number is None else number | {"p": p.get((name, metric, split))} for split, number in found.items()}

    return {name: {metric: tested(name, metric) for metric in scoring.METRICS} for name in scores.contrasts()}


def _number(value: Statistic | float | None) -> Number:
    if value is None:
        return None
    return (value if isinstance(value, Statistic) else Statistic(float(value)))._asdict()


def _pairs(pairs: pd.DataFrame) -> dict[str, int]:
    counted = {split: int((pairs["split"] == split).sum()) for split in ("train", *TEST_SPLITS)}
    return {"total": len(pairs), **counted, "subgroups": pairs["subgroup_id"].nunique(), "questions": pairs["item"].nunique()}


def _of_others(scores: views.Scores, by_population: views.Scores) -> OfOne:
    """What is told of every model, control and baseline."""

    def of_one(model: str, variant: str = "plain") -> dict[str, Any]:
        told = {metric: _by_split(scores, metric, model=model, variant=variant) for metric in OF_OTHERS}
        return told | {"accuracy_population": _by_split(by_population, "accuracy", model=model, variant=variant)}

    return of_one


def _controls(metrics: pd.DataFrame, predictions: pd.DataFrame, of_one: OfOne, *, model: str) -> dict[str, Any]:
    """Other personas put to the tuned model (to the base model where nothing was trained), and models that were trained to be compared with it."""
    read = metrics[metrics["reader"] == reader_of(predictions)]
    variants = set(read.loc[read["model"] == model, "variant"]).difference(["plain", *names.REWORDINGS])
    others = {name for name in read["model"] if "-" not in name}.difference(["base", "tuned"])
    measured: dict[str, Any] = {ORDER0: None}
    for name in names.in_order(names.CONTROLS, variants | others):
        measured[name] = of_one(model, name) if name in variants else of_one(name)
    return measured | {"persona_changes_answer": persona_changes_answer(predictions, model=model)}


def _skill(scores: views.Scores, *, model: str, baseline: str) -> dict[str, Number]:
    """As measured with its interval; None where the baseline leaves less than 0.02 to gain."""
    pairs = {split: [scores.of(views.Place(split), model=name, metric="accuracy") for name in (model, baseline)] for split in TEST_SPLITS}
    measured = _by_split(scores, f"{SKILL}{baseline}", model=model)
    return {split: None if views.skill(*pair) is None else measured[split] or _number(views.skill(*pair)) for split, pair in pairs.items()}
