"""Levels by topics, as a picture: only a change that is sure is marked, and a level of few respondents is not there."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from tasks.reporting.contents import read_contents
from tasks.reporting.groups import levels_by_topic
from tasks.reporting.heat import HeatMap
from tasks.reporting.views import on_one_footing, read_scores

CHANGES = {("Female", "Trust"): (0.2, 0.1, 0.3, 40), ("Male", "Trust"): (-0.2, -0.3, -0.1, 40), ("Male", "Family"): (0.2, -0.1, 0.3, 9)}


def with_topics(folder: Path, *, models: tuple[str, ...] = ("tuned", "tuned-base")) -> Path:
    rows = [
        {"topic": topic, "model": model, "split": "ood_test", "reader": reader, "dimension": "sex", "group": level, "metric": "accuracy"}
        | {"value": 0.614 if model != "tuned-base" else change[0], "low": change[1], "high": change[2], "pairs": change[3]}
        for (level, topic), change in CHANGES.items()
        for model in models
        for reader in ("likelihood", "generated")
    ]
    pd.DataFrame(rows).to_parquet(folder / "tables" / "metrics_by_topic.parquet")
    return folder


def picture(folder: Path) -> HeatMap | None:
    contents = read_contents(folder)
    return levels_by_topic(contents, read_scores(on_one_footing(contents.tables["metrics"], reader=contents.reader)))


def shown(folder: Path) -> dict[str, list[str]]:
    found = picture(folder)
    assert found is not None
    assert found.columns == ["Trust"]  # the other topic has too few pairs
    return {row.name: [cell.text for cell in row.cells if cell] for row in found.rows}


def test_a_change_beyond_zero_is_marked_with_its_direction(made_up_run: Callable[..., Path]) -> None:
    assert shown(with_topics(made_up_run())) == {"Female": ["61% ▲"], "Male": ["61% ▼"]}


def test_a_level_of_under_thirty_respondents_is_not_shown(made_up_run: Callable[..., Path]) -> None:
    folder = with_topics(made_up_run())
    path = folder / "tables" / "subgroups.parquet"
    subgroups = pd.read_parquet(path)
    subgroups.loc[subgroups["subgroup_id"].str.contains("sex=Male"), "respondents"] = 29
    subgroups.to_parquet(path)
    assert shown(folder) == {"Female": ["61% ▲"]}


def test_of_a_base_model_alone_there_are_no_marks_and_without_the_table_there_is_no_picture(made_up_run: Callable[..., Path]) -> None:
    folder = made_up_run(trained=False)
    assert picture(folder) is None
    assert shown(with_topics(folder, models=("base",))) == {"Female": ["61%"], "Male": ["61%"]}
