"""The overlap audit: how much of an accuracy on unseen subgroups is owed to respondents who count in the trained tables too, and to near neighbours.

    audit = write_overlap(pairs, marts, predictions, study=study, plan=plan_of(study), folder=run_folder)

An unseen intersection's respondents are also its trained parents'. So what knows the parents is tested on half A of the survey and on half B, having
learned from A alone (sql/marts/halves.sql): targets `same` and `other`, of equally many respondents, and `effect`, the difference, which overlap
alone explains. Baselines learn from B as well, and the two are averaged; a model learns from one half, and only where the study is disjoint.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from tasks.evaluation.baselines import score_baselines
from tasks.fairness.ceilings import CEILING
from tasks.fairness.intervals import question_weights, ratio_interval
from tasks.fairness.kin import THIRDS, kin_of
from tasks.fairness.plan import Plan
from tasks.fairness.scores import GUESSES
from tasks.files import FileSet, file_set, write_table
from tasks.study import Study
from tasks.study_split import SplitSection

SPLIT = "ood_test"
AUDITED = ("national_mode", "parent_mode", "additive", "nearest_subgroup")
FRESH = "fresh_cell"
STUDY, EVERYBODY, SAME, OTHER, EFFECT = "study", "everybody", "same", "other", "effect"
TARGETS = (STUDY, EVERYBODY, SAME, OTHER, EFFECT)
GROUPS = ("all", *THIRDS)
CELL = ["item", "subgroup_id"]
CONTENDER = ["model", "reader", "targets"]
COLUMNS = [*CONTENDER, "group", "value", "low", "high", "pairs", "directions"]
DIRECTIONS = (("A", "B"), ("B", "A"))
METRICS = {SAME: "accuracy_same_half", OTHER: "accuracy_other_half", EFFECT: "overlap_effect"}


class Tables(NamedTuple):
    """`asked`: the pairs. The marts: everybody's `distributions` and `targets`, and those of the halves, `subgroups` and `items`."""

    asked: pd.DataFrame
    distributions: pd.DataFrame
    targets: pd.DataFrame
    half_distributions: pd.DataFrame
    half_targets: pd.DataFrame
    subgroups: pd.DataFrame
    items: pd.DataFrame


def write_overlap(pairs: FileSet, marts: FileSet, predictions: list[FileSet], *, study: Study, plan: Plan, folder: Path) -> FileSet:
    """tables/overlap.parquet and tables/overlap_subgroups.parquet."""
    whole = {name: marts.read(name) for name in ("distributions", "targets", "subgroups", "items")}
    halves = {name: marts.read(name, under="halves") for name in ("half_distributions", "half_targets")}
    tables = Tables(asked=pairs.read("pairs"), **whole, **halves)
    together = pd.concat([one.table() for one in predictions], ignore_index=True)
    kin = kin_of(tables.asked, tables.subgroups, marts.read("kinship"), section=study.split)
    rows = audit(tables, together, kin, study=study, plan=plan)
    for name, table in {"overlap": rows, "overlap_subgroups": kin}.items():
        write_table(table, folder / "tables" / f"{name}.parquet")
    names = ["tables/overlap.parquet", "tables/overlap_subgroups.parquet"]
    return file_set(folder, names, rows={"overlap": len(rows), "overlap_subgroups": len(kin)})


def audit(tables: Tables, predictions: pd.DataFrame, kin: pd.DataFrame, *, study: Study, plan: Plan) -> pd.DataFrame:
    """One row per model x reader x targets x group: accuracy on ood_test with an interval that draws the questions anew.

    `targets`: `study`, what the study tests; `everybody`, learned from and tested on all respondents, on the cells of the halves; `same`, `other` and
    `effect`, as above; the model `fresh_cell` says the cell's own mode in the half that is learned from. `group`: all, or a third of the unseen
    subgroups by their distance to the nearest trained one (tasks/fairness/kin.py). `directions`: 2 where the halves were swapped and averaged.
    """
    plain = predictions[(predictions["split"] == SPLIT) & (predictions["variant"] == "plain")]
    hits = [_of_study(tables.asked, plain)]
    if study.split.kind != "unseen_question":  # nothing is trained that answers these questions
        hits += _of_baselines(tables, study)
    if study.split.overlap == "disjoint":
        hits += _of_models(tables, plain, section=study.split)
    together = pd.concat(hits, ignore_index=True).merge(kin[["subgroup_id", "third"]], on="subgroup_id")
    return _accuracies(together, plan)


def as_metrics(overlap: pd.DataFrame) -> pd.DataFrame:
    """The rows over all pairs, as rows of the metrics table: for replications, which average over swapped halves."""
    rows = overlap[(overlap["group"] == "all") & overlap["targets"].isin(list(METRICS))]
    return rows.drop(columns=["targets", "directions"]).assign(
        metric=rows["targets"].map(METRICS), split=SPLIT, variant="plain", weighting="pairs", dimension="all"
    )


def _of_study(asked: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """Every contender on the study's own targets; the ceiling of each group tells how sure they are."""
    test = asked[asked["split"] == SPLIT]
    ceiling = test[CELL].assign(model=CEILING, reader="table", hit=test["mode_certainty"])
    return pd.concat([_hits(predictions, test), ceiling], ignore_index=True).assign(targets=STUDY, directions=1)


def _of_baselines(tables: Tables, study: Study) -> Iterator[pd.DataFrame]:
    """Baselines and the fresh cell on targets of either half, and the baselines on everybody's."""
    by_half = dict(iter(tables.half_targets.groupby("half")))
    if len(by_half) < 2:
        return
    shares = dict(iter(tables.half_distributions.groupby("half")))
    for learned, other in DIRECTIONS:
        predicted = _predicted(tables, shares[learned], study)
        fresh = by_half[learned].assign(model=FRESH, reader="table", choice=by_half[learned]["code"])
        fresh = fresh.merge(predicted[CELL].drop_duplicates(), on=CELL)
        same, tested = _hits(predicted, by_half[learned]), _hits(predicted, by_half[other])
        yield from _compared(same, tested, directions=2)
        yield _hits(fresh, by_half[other]).assign(targets=OTHER, directions=2)
    audited = by_half["A"][CELL]
    yield _hits(_predicted(tables, tables.distributions, study), tables.targets.merge(audited, on=CELL)).assign(targets=EVERYBODY, directions=1)


def _predicted(tables: Tables, distributions: pd.DataFrame, study: Study) -> pd.DataFrame:
    """The baselines' predictions for the unseen cells, learned from these shares of what is trained."""
    ordered = distributions.sort_values([*CELL, "position"])
    shares = ordered.groupby(CELL)["share"].agg(np.array).rename("shares").reset_index()
    known = tables.asked[tables.asked["split"].isin(["train", SPLIT])].drop(columns="shares").merge(shares, on=CELL)
    predicted = score_baselines(known, tables.subgroups, tables.items, study=study)
    return predicted[predicted["model"].isin(AUDITED)]


def _of_models(tables: Tables, predictions: pd.DataFrame, *, section: SplitSection) -> Iterator[pd.DataFrame]:
    """The models, which learned from one half, on targets of either."""
    models = predictions[predictions["reader"] != "table"]
    halves = [tables.half_targets[tables.half_targets["half"] == half] for half in (section.trained_half, section.tested_half)]
    yield from _compared(*(_hits(models, half) for half in halves), directions=1)


def _compared(same: pd.DataFrame, other: pd.DataFrame, *, directions: int) -> Iterator[pd.DataFrame]:
    both = same.merge(other, on=["model", "reader", *CELL], suffixes=("", "_other"))
    for targets, hit in ((SAME, both["hit"]), (OTHER, both["hit_other"]), (EFFECT, both["hit"] - both["hit_other"])):
        yield both[["model", "reader", *CELL]].assign(hit=hit, targets=targets, directions=directions)


def _hits(predictions: pd.DataFrame, targets: pd.DataFrame) -> pd.DataFrame:
    """model, reader, item, subgroup_id, hit: 1 where the choice is a modal option; a guess (chance) is as likely right as there are such options."""
    given = [name for name in ("model", "reader", *CELL, "choice", "probabilities") if name in predictions]
    both = predictions[given].merge(targets[[*CELL, "tied_codes"]], on=CELL)
    hit = np.array([float(choice in codes) for choice, codes in zip(both["choice"], both["tied_codes"], strict=True)])
    guessed = (both["model"] == GUESSES).to_numpy()
    if guessed.any():
        hit[guessed] = both.loc[guessed, "tied_codes"].map(len) / both.loc[guessed, "probabilities"].map(len)
    return both[["model", "reader", *CELL]].assign(hit=hit)


def _accuracies(hits: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    groups = [("all", hits), *((third, rows) for third, rows in hits.groupby("third"))]
    placed = pd.concat([rows.assign(group=group) for group, rows in groups], ignore_index=True)
    # Swapped halves first make one number of each cell, so that a cell counts once.
    cells = placed.groupby([*CONTENDER, "group", *CELL])[["hit", "directions"]].agg({"hit": "mean", "directions": "first"}).reset_index()
    by_question = cells.groupby([*CONTENDER, "group", "item"])["hit"].agg(["sum", "size"])
    key = [*CONTENDER, "group"]
    sums, sizes = (by_question[name].unstack(key, fill_value=0).astype(float) for name in ("sum", "size"))
    weights = question_weights(len(sums), replicates=plan.replicates, generator=plan.generator("overlap"))
    low, high = ratio_interval(sums.to_numpy(), sizes.to_numpy(), weights=weights, level=plan.level)
    pairs = sizes.to_numpy().sum(axis=0)
    rows = sums.columns.to_frame(index=False)
    rows = rows.assign(value=sums.to_numpy().sum(axis=0) / pairs, low=low, high=high, pairs=pairs.astype(int))
    rows = rows.merge(cells.groupby(key)["directions"].first().reset_index(), on=key)
    return rows[COLUMNS].sort_values(key, key=_rank, ignore_index=True)


def _rank(column: pd.Series) -> pd.Series:
    order = {"targets": TARGETS, "group": GROUPS}.get(str(column.name))
    return column.map(list(order).index) if order else column
