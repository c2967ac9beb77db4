"""Tiny tables that meet every rule: one binary question, everybody, the two sexes and an intersection."""

from typing import Any

import pandas as pd

SUBGROUPS = ("all", "sex=Female", "sex=Male", "sex=Female|religion=None")
SPLITS = ("train", "validation", "id_test", "ood_test")
CELL = {"respondents": 40, "effective_n": 35.5}
MODE = {"code": 1, "position": 0, "margin": 0.2, "tied": False, "mode_certainty": 0.9}


def good_tables() -> dict[str, pd.DataFrame]:
    """Every table that has a suite, freshly made."""
    predictions = [(subgroup, split) for subgroup, split in zip(SUBGROUPS, SPLITS, strict=True) if split.endswith("_test")]
    return {
        "items": _table({"item": "Q1", "topic": "trust", "kind": "attitude", "scale": "binary", "question": "Can people be trusted?", "k": 2}),
        "options": _table(*[{"item": "Q1", "code": code, "position": code - 1, "wording": "Yes" if code == 1 else "No"} for code in (1, 2)]),
        "stg_respondents": _table(*[{"respondent_id": f"ab-{row}", "country": "SGP", "wave": 7, "year": 2020, "weight": 0.8} for row in (1, 2)]),
        "stg_answers": _table(
            *[{"respondent_id": f"ab-{row}", "item": "Q1", "code": code, "missing": why} for row, code, why in ((1, 2, None), (2, None, "dont_know"))]
        ),
        "subgroups": _table(
            *[
                {"subgroup_id": name, "subgroup_order": order, "dimension": "sex", "weight_share": 0.5, "unseen": False} | CELL
                for name, order in zip(SUBGROUPS, (0, 1, 1, 2), strict=True)
            ]
        ),
        "distributions": _table(
            *[
                {"item": "Q1", "subgroup_id": name, "code": code, "position": code - 1, "share": share} | CELL
                for name in SUBGROUPS
                for code, share in ((1, 0.6), (2, 0.4))
            ]
        ),
        "targets": _table(*[{"item": "Q1", "subgroup_id": name, "share": 0.6, "runner_up": 2} | MODE | CELL for name in SUBGROUPS]),
        "overlap": _table(
            *[
                {"model": "additive", "reader": "table", "targets": targets, "group": "all", "value": value, "pairs": 9, "directions": 2}
                for targets, value in (("same", 0.8), ("other", 0.7), ("effect", 0.1))
            ]
        ),
        "overlap_subgroups": _table(
            {
                "subgroup_id": SUBGROUPS[3],
                "pairs": 1,
                "in_trained_parents": 1.0,
                "part_of_parent": 0.4,
                "in_another": 0.2,
                "distance": 0.6,
                "third": None,
            }
        ),
        "landscape": _table(
            {"item": "Q1", "topic": "trust", "dimension": "sex", "subgroups": 2, "k": 2, "entropy": 0.0, "mds": 0.0, "mds_reachable": 0.0}
        ),
        "pairs": _table(*[_pair(name, split) for name, split in zip(SUBGROUPS, SPLITS, strict=True)]),
        "predictions": _table(*[_prediction(name, split) for name, split in predictions]),
        "training_log": _table(
            *[
                {"step": step, "epoch": 0.1, "loss": 1.5, "validation_loss": None, "learning_rate": 5e-4, "samples_per_second": 3.0, "seconds": 2.0}
                for step in (1, 2)
            ]
        ),
    }


def spoiled(table: str, column: str, value: Any) -> pd.DataFrame:
    """A good table with `value` in the last row of `column`."""
    frame = good_tables()[table]
    frame[column] = frame[column].astype(object)
    frame.loc[len(frame) - 1, column] = value
    return frame.infer_objects()


def _pair(subgroup: str, split: str) -> dict[str, Any]:
    asked = {"item": "Q1", "subgroup_id": subgroup, "subgroup_order": 1, "dimension": "sex", "topic": "trust", "split": split, "scale": "binary"}
    prompted = {"persona": "a woman", "prompt": "Can people be trusted?", "k": 2, "weight_share": 0.5}
    lists = {"codes": [1, 2], "shares": [0.6, 0.4], "tied_codes": [1]}
    return asked | prompted | lists | MODE | CELL


def _prediction(subgroup: str, split: str) -> dict[str, Any]:
    model = {"model": "base", "reader": "likelihood", "variant": "plain", "item": "Q1", "subgroup_id": subgroup, "split": split}
    return model | {"codes": [1, 2], "probabilities": [0.7, 0.2], "choice": 1, "outside": 0.1}


def _table(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))
