"""What the page's two explorers show, as JSON: levels, subgroups and topics before and after; and every answer, question by question.

    data = explorer_data(contents, scores)
    as_text(data)                            # safe inside a script element

Shares are whole percents, respondents are rounded to tens; a cell of few respondents is not in it, nor one by which it could be computed
(tasks/reporting/privacy.py).
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from tasks.fairness.contrasts import CHANGE
from tasks.reporting import formats, names, views
from tasks.reporting.contents import SPLITS, Contents, Statistic
from tasks.reporting.groups import dimensions, shown_levels, subgroup_names
from tasks.reporting.landscape import option_wording, question_wording
from tasks.reporting.privacy import families_of, shown_cells
from tasks.reporting.views import Place, Scores

HIGHER_IS_BETTER = ("accuracy",)
MOST_GROUPS = 1000
MOST_CELLS = 60_000  # of the question explorer: with them the page stays under its 6 MB
LONGEST_NAME = 160
LONGEST_QUESTION = 400


def explorer_data(contents: Contents, scores: Scores) -> dict[str, Any]:
    """`groups`, `questions`: empty where the run has no scores by group, or no pairs; `left_out`: what did not fit, in words."""
    ids, left_out = _explored(contents)
    found = list(_groups(contents, scores, ids))
    questions, subgroups, too_many = _questions(contents, ids)
    return {
        "trained": contents.trained,
        "metrics": [[key, name, key in HIGHER_IS_BETTER] for key, name in names.METRICS.items()],
        "splits": [[split, names.split(split, kind=contents.held_out)] for split in SPLITS if any(split in group["of"] for group in found)],
        "reference": names.baseline(views.reference(contents.summary, views.main_split(contents.summary))).lower(),
        "groups": found,
        "subgroups": subgroups,
        "questions": questions,
        "left_out": " ".join([*left_out, *too_many]),
    }


def as_text(data: dict[str, Any]) -> str:
    """Compact JSON without what could end a script element or open a comment in it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _explored(contents: Contents) -> tuple[dict[str, str], list[str]]:
    """The subgroups that are shown, in words; the largest where there are very many."""
    shown = subgroup_names(contents)
    if len(shown) <= MOST_GROUPS:
        return shown, []
    sizes = contents.tables["subgroups"].set_index("subgroup_id")["respondents"]
    largest = sizes[sizes.index.isin(list(shown))].sort_values(ascending=False, kind="stable").index[:MOST_GROUPS]
    kept = set(largest)
    return {name: text for name, text in shown.items() if name in kept}, [f"Of {len(shown):,} subgroups the {MOST_GROUPS:,} largest are shown."]


def _groups(contents: Contents, scores: Scores, ids: dict[str, str]) -> Iterator[dict[str, Any]]:
    """One entry per level, subgroup and topic: k kind, d dimension, n name, r respondents, of: split -> [pairs, {metric: numbers}]."""
    subgroups = contents.tables.get("subgroups")
    sizes = {} if subgroups is None else dict(zip(subgroups["subgroup_id"], subgroups["respondents"], strict=True))
    levels, declared = shown_levels(contents), dimensions(contents, scores)
    places = sorted({(place.dimension, place.group) for place in scores.counts})
    for dimension, group in places:
        if dimension == "subgroup" and group in ids:
            of = {"k": "Subgroups", "d": _dimension_of(group), "n": formats.label(ids[group], limit=LONGEST_NAME), "r": formats.about(sizes[group])}
        elif dimension in declared and (dimension, group) in levels:
            size = sizes.get(f"{dimension}={group}")
            text = f"{formats.dimension(dimension)}: {formats.label(group)}"
            of = {"k": "Levels", "d": formats.dimension(dimension), "n": text, "r": formats.about(size) if size else ""}
        elif dimension == "topic":
            of = {"k": "Topics", "d": "topic", "n": formats.label(group), "r": ""}
        else:
            continue
        scored = {split: found for split in SPLITS if (found := _scored(scores, Place(split, dimension, group)))}
        if scored:
            yield of | {"of": scored}


def _dimension_of(subgroup_id: str) -> str:
    return " × ".join(formats.dimension(trait.partition("=")[0]) for trait in subgroup_id.split("|")) if "=" in subgroup_id else "everybody"


def _scored(scores: Scores, place: Place) -> list[Any] | None:
    """[pairs, {metric: [base, low, high, tuned, low, high, change, low, high, reference]}]."""
    by_metric = {}
    for metric in names.METRICS:
        found = [scores.of(place, model=model, metric=metric) for model in ("base", "tuned", CHANGE)]
        if found[0] is None:
            continue
        if found[2] is None and found[1] is not None:
            found[2] = Statistic(found[1].value - found[0].value)
        national = scores.of(place, model="national_mode", metric=metric)
        numbers = [number for one in found for number in (one or (None, None, None))]
        by_metric[metric] = [None if number is None else round(number, 4) for number in [*numbers, national.value if national else None]]
    return [scores.counts.get(place), by_metric] if by_metric else None


def _questions(contents: Contents, ids: dict[str, str]) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """One entry per question: i item, q wording, t topic, o options, c: subgroup place -> [survey, base, tuned]; and the subgroups in words."""
    pairs, subgroups = contents.tables.get("pairs"), contents.tables.get("subgroups")
    if pairs is None or subgroups is None or pairs.empty:
        return [], [], []
    shown, left_out = _within_room(_shown_pairs(pairs[pairs["subgroup_id"].isin(list(ids))], subgroups, least=contents.shown_from), subgroups)
    order = [name for name in subgroups["subgroup_id"] if name in set(shown["subgroup_id"])]
    places = {name: place for place, name in enumerate(order)}
    wording, options, answered = question_wording(contents), option_wording(contents), _answers(contents)
    topics = dict(zip(pairs["item"], pairs["topic"], strict=True)) if "topic" in pairs else {}
    found = []
    for item, rows in shown.groupby("item", sort=False):
        codes = list(rows["codes"].iloc[0])
        surveyed = zip(rows["subgroup_id"], rows["shares"], strict=True)
        cells = {places[name]: [_percents(shares), *answered.get((str(item), name), ())] for name, shares in surveyed}
        labels = [formats.label(options.get((str(item), code), f"option {code}")) for code in codes]
        question = formats.label(wording.get(str(item), ""), limit=LONGEST_QUESTION)
        found.append({"i": formats.label(item), "q": question, "t": formats.label(topics.get(item, "")), "o": labels, "c": cells})
    return found, [formats.label(ids[name], limit=LONGEST_NAME) for name in order], left_out


def _shown_pairs(pairs: pd.DataFrame, subgroups: pd.DataFrame, *, least: int) -> pd.DataFrame:
    families = families_of(subgroups)
    kept = [
        rows["subgroup_id"].isin(shown_cells(dict(zip(rows["subgroup_id"], rows["respondents"], strict=True)), families, least=least))
        for _, rows in pairs.groupby("item", sort=False)
    ]
    return pairs[pd.concat(kept).reindex(pairs.index)] if kept else pairs


def _within_room(pairs: pd.DataFrame, subgroups: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Subgroups of few traits first, larger ones before smaller ones, as many as there is room for."""
    if len(pairs) <= MOST_CELLS:
        return pairs, []
    ordered = subgroups.sort_values(["subgroup_order", "respondents"], ascending=[True, False], kind="stable")["subgroup_id"]
    counts = pairs["subgroup_id"].value_counts().reindex(ordered).dropna()
    kept = counts.index[counts.cumsum() <= MOST_CELLS]
    return pairs[pairs["subgroup_id"].isin(kept)], [f"Single questions are shown for {len(kept):,} of {len(counts):,} subgroups."]


def _answers(contents: Contents) -> dict[tuple[str, str], list[list[int]]]:
    """(item, subgroup) -> the base model's shares of the options, and the tuned model's."""
    predictions = contents.tables.get("predictions")
    if predictions is None:
        return {}
    plain = predictions[(predictions["variant"] == "plain") & (predictions["reader"] == contents.reader)]
    found: dict[tuple[str, str], list[list[int]]] = {}
    for model in ("base", "tuned"):
        rows = plain[plain["model"] == model]
        for item, name, shares in zip(rows["item"], rows["subgroup_id"], rows["probabilities"], strict=True):
            found.setdefault((item, name), []).append(_percents(shares))
    return found


def _percents(shares: Any) -> list[int]:
    return [int(share) for share in np.rint(100 * np.asarray(shares, dtype=float))]
