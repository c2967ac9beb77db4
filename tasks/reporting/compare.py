"""Several runs on one page: models, objectives, waves or splits side by side, each accuracy beside its disparity, and paired tests.

    path = write_comparison_page([run_folder, other_run_folder], out=Path("compare.html"), other_surveys=False)

The page is self-contained, like the report, and has no script. Runs are called A, B, C ... in the order in which they are given.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any, NamedTuple

import pandas as pd

from tasks.errors import InputError
from tasks.fairness.paired import PairedTest, paired_tests
from tasks.fairness.plan import Plan
from tasks.fairness.scores import score_predictions
from tasks.files import write_atomically
from tasks.reporting import charts, formats, names, views
from tasks.reporting.contents import Contents, as_statistic, read_contents, setting
from tasks.reporting.disparity import disparity_rows
from tasks.reporting.report import drawn, templates
from tasks.reporting.sentences import SURE
from tasks.reporting.tables import Block, Table

MOST = len(ascii_uppercase)
SURVEY = ("file_sha256", "country", "wave")
NOT_SETTINGS = ("name", "title", "notes")  # what a study is called
METRICS = ("accuracy", "nmae", "emd", "total_variation", "accuracy_certain", "equivalent_n")
OTHER_SURVEYS = "The runs are on different surveys: a difference may be the survey's and not the model's."


class Run(NamedTuple):
    """A run under its letter."""

    letter: str
    contents: Contents

    @property
    def judged(self) -> str:
        """The model that the run is about."""
        return "tuned" if self.contents.trained else "base"


def write_comparison_page(folders: Sequence[Path], *, out: Path, other_surveys: bool) -> Path:
    """Raises InputError for fewer than two runs, for the same one twice, and for runs on different surveys unless `other_surveys`; StepError for a
    damaged one."""
    if not 2 <= len(set(folders)) == len(folders) <= MOST:
        raise InputError(
            f"{len(folders)} runs, {len(set(folders))} of them different; expected 2 to {MOST} different ones. `valuescape runs` lists them"
        )
    runs = [Run(letter, read_contents(folder)) for letter, folder in zip(ascii_uppercase, folders, strict=False)]
    _refuse_other_surveys(runs, allowed=other_surveys)
    page = templates().get_template("compare.html.j2").render(_parts(runs))
    with write_atomically(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out


def _refuse_other_surveys(runs: list[Run], *, allowed: bool) -> None:
    if allowed or not _other_surveys(runs):
        return
    told = "; ".join(
        f"{run.contents.manifest['run_id']}: {', '.join(str(run.contents.summary['survey'].get(key)) for key in SURVEY[1:])} "
        f"(SHA-256 {str(run.contents.summary['survey'].get('file_sha256'))[:12]})"
        for run in runs
    )
    raise InputError(
        f"the runs are on different surveys ({told}), so that a difference may be the survey's. Compare them all the same: --other-surveys"
    )


def _other_surveys(runs: list[Run]) -> bool:
    return len({tuple(str(run.contents.summary["survey"].get(key)) for key in SURVEY) for run in runs}) > 1


def _parts(runs: list[Run]) -> dict[str, Any]:
    tests = paired_tests({run.letter: _scores(run.contents) for run in runs}, plan=Plan(seed=int(runs[0].contents.manifest.get("seed") or 0)))
    plane = _plane(runs)
    return {
        "title": f"Comparison of {len(runs)} runs",
        "synthetic": any(run.contents.synthetic for run in runs),
        "warning": OTHER_SURVEYS if _other_surveys(runs) else "",
        "findings": [_finding(test, runs) for test in tests if test.metric == "accuracy"],
        "runs": _runs_table(runs),
        "settings": _settings_table(runs),
        "accuracy": _accuracy_table(runs),
        "metrics": _metrics_table(runs),
        "plane": drawn(charts.plane, plane, name="plane", description="Accuracy and disparity of every run; the numbers are in the table below")
        if len(plane)
        else None,
        "disparities": _disparity_table(runs) if len(plane) else None,
        "tests": _tests_table(tests) if tests else None,
        "split": views.main_split(runs[0].contents.summary),
    }


def _scores(contents: Contents) -> pd.DataFrame:
    """Of the run's model on its main split, plainly asked and read by the run's own reader."""
    read = {name: pd.read_parquet(contents.folder / "tables" / f"{name}.parquet") for name in ("predictions", "pairs")}
    predictions, model = read["predictions"], "tuned" if contents.trained else "base"
    chosen = predictions[(predictions["model"] == model) & (predictions["variant"] == "plain") & (predictions["reader"] == contents.reader)]
    return score_predictions(chosen[chosen["split"] == views.main_split(contents.summary)], read["pairs"])


def _finding(test: PairedTest, runs: list[Run]) -> str:
    one, other = (next(run for run in runs if run.letter == letter) for letter in (test.one, test.other))
    points = formats.points_between(as_statistic({"value": test.difference, "low": test.low, "high": test.high}))
    if math.isnan(test.p):
        sure = "too few questions to test"
    else:
        p = formats.p_value(test.p_holm)
        sure = f"{'beyond chance' if test.p_holm < SURE else 'no more than chance explains'} (Holm-adjusted p {p})"
    return (
        f"{test.other}'s {other.judged} model is {points} points of accuracy from {test.one}'s {one.judged} model, on {test.pairs:,} common pairs of "
        f"{test.questions} questions: {sure}."
    )


def _runs_table(runs: list[Run]) -> Table:
    return Table(
        "The runs",
        ("", "Study", "Run", "Survey", "Model", "Trained", "Commit"),
        [Block("", [[run.letter, *_described(run.contents)] for run in runs])],
        frozenset(range(7)),
    )


def _described(contents: Contents) -> list[str]:
    manifest, survey = contents.manifest, contents.summary["survey"]
    model = str(setting(manifest, "study", "model", "name", default=""))
    trained = setting(manifest, "study", "training", "objective", default="none")
    return [
        formats.label(manifest["study_name"]), formats.label(manifest["run_id"]),
        formats.label(f"{'synthetic ' if contents.synthetic else ''}{survey.get('country')}, wave {survey.get('wave')}"),
        formats.label(names.MODELS.get(model, Path(model).name)), names.of(names.OBJECTIVES, trained),
        formats.label(str(manifest.get("commit") or formats.ABSENT))[:12],
    ]  # fmt: skip


def _settings_table(runs: list[Run]) -> Table | None:
    """What the studies say differently; None where they say the same."""
    settings = [_flat(run.contents.manifest["study"]) for run in runs]
    keys = sorted({key for one in settings for key in one if key.partition(".")[0] not in NOT_SETTINGS})
    rows = [[key, *(_told(one.get(key)) for one in settings)] for key in keys if len({_told(one.get(key)) for one in settings}) > 1]
    columns = ("Setting", *(run.letter for run in runs))
    return Table("What the studies say differently", columns, [Block("", rows)], frozenset(range(len(columns)))) if rows else None


def _flat(values: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{within}{key}.") if isinstance(value, Mapping) and value else {f"{within}{key}": value}
    return found


def _told(value: Any) -> str:
    """A path is cut to the file's name: the page is passed on."""
    return formats.label(Path(value).name if isinstance(value, str) and value.startswith("/") else value)


def _accuracy_table(runs: list[Run]) -> Table:
    """Models, controls and baselines, on the split that each run is about."""
    found: dict[str, dict[str, str]] = {}
    for run in runs:
        split = views.main_split(run.contents.summary)
        for contender in views.contenders(run.contents.summary):
            accuracy = formats.percent(run.contents.statistic(*contender.path, "accuracy", split))
            found.setdefault(contender.name, {})[run.letter] = accuracy
    rows = [[name, *(by_run.get(run.letter, formats.ABSENT) for run in runs)] for name, by_run in found.items()]
    return Table("Accuracy with 95% intervals over questions", ("", *(run.letter for run in runs)), [Block("", rows)])


def _metrics_table(runs: list[Run]) -> Table:
    rows = []
    for model in ("base", "tuned"):
        for metric in METRICS:
            told = formats.percent if metric.startswith("accuracy") else formats.decimal
            values = [run.contents.statistic(model, metric, views.main_split(run.contents.summary)) for run in runs]
            if metric == "equivalent_n":
                shown = [formats.respondents(value.value if value else None) for value in values]
            else:
                shown = [told(value) for value in values]
            if any(values):
                rows.append([f"{model.capitalize()} model: {names.of(names.METRICS, metric)}", *shown])
    return Table("Every metric of the models", ("", *(run.letter for run in runs)), [Block("", rows)])


def _plane(runs: list[Run]) -> pd.DataFrame:
    """A point for each run, model and dimension that has both an accuracy and a tested disparity."""
    points = []
    for run in runs:
        for row in disparity_rows(run.contents.summary, metric="accuracy"):
            for model in ("base", "tuned"):
                accuracy, apart = run.contents.statistic(model, "accuracy", views.main_split(run.contents.summary)), row.between.get(model)
                if accuracy and apart:
                    points.append(
                        {"run": run.letter, "model": model, "dimension": row.dimension}
                        | dict(zip(("accuracy", "accuracy_low", "accuracy_high"), map(_or_nan, accuracy), strict=True))
                        | dict(zip(("apart", "apart_low", "apart_high"), map(_or_nan, apart), strict=True))
                    )
    return pd.DataFrame(points)


def _disparity_table(runs: list[Run]) -> Table:
    blocks: dict[str, list[list[str]]] = {}
    for run in runs:
        for row in disparity_rows(run.contents.summary, metric="accuracy"):
            cells = [formats.signed_between(row.between.get(model)) for model in ("base", "tuned", "change")]
            wider = formats.ABSENT if row.no_wider is None else "shown" if row.no_wider else "not shown"
            blocks.setdefault(formats.dimension(row.dimension), []).append([run.letter, *cells, formats.p_value(row.p_holm), wider])
    columns = ("", "Base", "Tuned", "Change", "Holm-adjusted p of the change", "No wider than the margin")
    caption = "Standard deviation of accuracy between levels, beyond noise, signed as its variance component"
    return Table(caption, columns, [Block(dimension, rows) for dimension, rows in blocks.items()], frozenset({0, 5}))


def _tests_table(tests: list[PairedTest]) -> Table:
    rows = [
        [
            f"{test.other} less {test.one}: {names.of(names.METRICS, test.metric)}",
            formats.signed_between(as_statistic({"value": test.difference, "low": test.low, "high": test.high})),
            formats.p_value(_number(test.p)), formats.p_value(_number(test.p_holm)), f"{test.pairs:,}", str(test.questions),
        ]
        for test in tests
    ]  # fmt: skip
    columns = ("", "Difference (95% interval)", "p", "Holm-adjusted p", "Common pairs", "Questions")
    return Table("Paired tests of the runs' models, over the pairs that both answered", columns, [Block("", rows)])


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
