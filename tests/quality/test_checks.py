"""Each query of sql/checks: no row on tables that agree, the offending keys on tables that do not."""

from collections.abc import Iterator
from typing import Any

import duckdb
import pandas as pd
import pytest

from tasks.warehouse.database import connect, frame, violations
from tests.quality.tables import good_tables, spoiled

PARENTS: list[list[str]] = [[], ["all"], ["all"], ["sex=Female", "religion=None"]]
CHECKS = (
    "assert_shares_sum_to_one",
    "assert_targets_are_the_largest_share",
    "assert_parents_exist",
    "assert_no_pair_in_two_splits",
    "assert_halves_are_of_equal_size",
    "assert_pairs_agree_with_their_lists",
    "assert_every_pair_has_one_prediction",
    "assert_probabilities_sum_to_one",
    "assert_choice_is_the_likeliest",
    "assert_readers_and_variants_share_their_pairs",
)


@pytest.fixture
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = connect()
    for table, rows in good_tables().items():
        connection.register(table, rows)
    religion = good_tables()["subgroups"].iloc[[1]].assign(subgroup_id="religion=None")
    subgroups = pd.concat([good_tables()["subgroups"], religion]).assign(parents=[*PARENTS, ["all"]])
    connection.register("subgroups", subgroups)
    connection.register("half_targets", halves())
    yield connection
    connection.close()


def halves() -> pd.DataFrame:
    return pd.DataFrame([{"half": half, "item": "Q1", "subgroup_id": "all", "respondents": 40, "effective_n": 35.5} for half in "AB"])


def found(connection: duckdb.DuckDBPyConnection, check: str, *columns: str, **parameters: Any) -> list[tuple[Any, ...]]:
    return list(violations(connection, check, **parameters)[list(columns)].itertuples(index=False, name=None))


@pytest.mark.parametrize("check", CHECKS)
def test_tables_that_agree_have_no_violations(warehouse: duckdb.DuckDBPyConnection, check: str) -> None:
    assert violations(warehouse, check).empty


def test_shares_that_do_not_sum_to_one_are_found_by_cell(warehouse: duckdb.DuckDBPyConnection) -> None:
    warehouse.register("distributions", spoiled("distributions", "share", 0.3))
    assert found(warehouse, "assert_shares_sum_to_one", "subgroup_id") == [("sex=Female|religion=None",)]


def test_a_share_that_is_not_a_number_does_not_sum_to_one(warehouse: duckdb.DuckDBPyConnection) -> None:
    warehouse.register("distributions", spoiled("distributions", "share", float("nan")))
    assert found(warehouse, "assert_shares_sum_to_one", "subgroup_id") == [("sex=Female|religion=None",)]


def test_a_target_with_a_smaller_share_is_found(warehouse: duckdb.DuckDBPyConnection) -> None:
    warehouse.register("targets", spoiled("targets", "code", 2))
    rows = found(warehouse, "assert_targets_are_the_largest_share", "subgroup_id", "code", "expected_code")
    assert rows == [("sex=Female|religion=None", 2, 1)]


def test_a_tie_that_is_not_flagged_is_found(warehouse: duckdb.DuckDBPyConnection) -> None:
    warehouse.register("distributions", good_tables()["distributions"].assign(share=0.5))
    assert len(found(warehouse, "assert_targets_are_the_largest_share", "item")) == 4


def test_a_subgroup_whose_parent_was_dropped_is_found(warehouse: duckdb.DuckDBPyConnection) -> None:
    subgroups = frame(warehouse, "subgroups")
    warehouse.register("subgroups", subgroups[subgroups["subgroup_id"] != "religion=None"])
    assert found(warehouse, "assert_parents_exist", "subgroup_id", "parents_found") == [("sex=Female|religion=None", 1)]


def test_a_cell_below_the_minimum_is_found_in_either_table(warehouse: duckdb.DuckDBPyConnection) -> None:
    assert violations(warehouse, "assert_cells_have_minimum_respondents", minimum_respondents=40, minimum_effective_n=0).empty
    warehouse.register("targets", spoiled("targets", "respondents", 39))
    rows = found(warehouse, "assert_cells_have_minimum_respondents", "subgroup_id", "respondents", minimum_respondents=40, minimum_effective_n=0)
    assert rows == [("sex=Female|religion=None", 39)]


def test_a_pair_in_two_splits_is_found(warehouse: duckdb.DuckDBPyConnection) -> None:
    warehouse.register("pairs", spoiled("pairs", "subgroup_id", "all"))
    rows = violations(warehouse, "assert_no_pair_in_two_splits")
    assert [(row.subgroup_id, list(row.splits), row.pairs) for row in rows.itertuples()] == [("all", ["ood_test", "train"], 2)]


def test_a_held_out_subgroup_that_is_trained_is_found(warehouse: duckdb.DuckDBPyConnection) -> None:
    warehouse.register("pairs", spoiled("pairs", "subgroup_id", "all"))
    check = "assert_held_out_subgroups_are_never_trained"
    assert found(warehouse, check, "subgroup_id", "split", split_kind="unseen_subgroup") == [("all", "train")]
    assert violations(warehouse, check, split_kind="unseen_question").empty


def test_a_held_out_question_that_is_trained_is_found(warehouse: duckdb.DuckDBPyConnection) -> None:
    check = "assert_held_out_questions_are_never_trained"
    assert len(found(warehouse, check, "item", split_kind="unseen_question")) == 3  # the one question is tested on an unseen subgroup
    assert violations(warehouse, check, split_kind="unseen_subgroup").empty


@pytest.mark.parametrize(("respondents", "wrong"), [((30, 70), False), ((20, 80), False), ((19, 81), True)])
def test_halves_of_very_different_size_are_found(warehouse: duckdb.DuckDBPyConnection, respondents: tuple[int, int], wrong: bool) -> None:
    warehouse.register("half_targets", halves().assign(respondents=respondents))
    assert len(violations(warehouse, "assert_halves_are_of_equal_size")) == wrong


def test_a_cell_of_one_half_and_a_half_under_the_minimum_are_found(warehouse: duckdb.DuckDBPyConnection) -> None:
    parameters = {"minimum_of_half": 40, "minimum_effective_n_of_half": 0}
    assert violations(warehouse, "assert_halves_have_minimum_respondents", **parameters).empty
    warehouse.register("half_targets", halves().iloc[1:].assign(respondents=39))
    assert found(warehouse, "assert_halves_have_minimum_respondents", "half", **parameters) == [("B",)]
    assert found(warehouse, "assert_halves_are_of_equal_size", "halves") == [(1,)]


@pytest.mark.parametrize(("column", "value"), [("codes", [1]), ("shares", [0.6, 0.6]), ("shares", [0.6]), ("code", 2), ("tied_codes", [1, 3])])
def test_a_pair_that_disagrees_with_its_lists_is_found(warehouse: duckdb.DuckDBPyConnection, column: str, value: Any) -> None:
    pairs = good_tables()["pairs"]
    pairs[column] = [*pairs[column][:-1], value]
    warehouse.register("pairs", pairs)
    assert found(warehouse, "assert_pairs_agree_with_their_lists", "subgroup_id") == [("sex=Female|religion=None",)]


def test_pairs_without_or_with_two_predictions_and_predictions_without_pairs_are_found(warehouse: duckdb.DuckDBPyConnection) -> None:
    once = good_tables()["predictions"]
    tuned = pd.concat([once.iloc[[0]], once.iloc[[0]], once.iloc[[1]].assign(split="id_test")]).assign(model="tuned")
    warehouse.register("predictions", pd.concat([once, tuned]))
    rows = found(warehouse, "assert_every_pair_has_one_prediction", "model", "subgroup_id", "split", "is_expected", "predictions")
    assert sorted(rows) == [
        ("tuned", "sex=Female|religion=None", "id_test", False, 1),
        ("tuned", "sex=Female|religion=None", "ood_test", True, 0),
        ("tuned", "sex=Male", "id_test", True, 2),
    ]


@pytest.mark.parametrize("probabilities", [[0.7, 0.1], [0.9], [1.0, -0.1], [None, 0.9], [float("nan"), 0.2]])
def test_probabilities_that_are_not_a_distribution_are_found(warehouse: duckdb.DuckDBPyConnection, probabilities: list[float]) -> None:
    warehouse.register("predictions", good_tables()["predictions"].assign(probabilities=[[0.7, 0.2], probabilities]))
    assert found(warehouse, "assert_probabilities_sum_to_one", "subgroup_id") == [("sex=Female|religion=None",)]


@pytest.mark.parametrize("choice", [2, 9])
def test_a_choice_that_is_not_the_likeliest_or_no_option_is_found(warehouse: duckdb.DuckDBPyConnection, choice: int) -> None:
    warehouse.register("predictions", spoiled("predictions", "choice", choice))
    assert found(warehouse, "assert_choice_is_the_likeliest", "subgroup_id", "choice") == [("sex=Female|religion=None", choice)]


def test_a_reader_that_was_not_asked_a_compared_pair_is_found(warehouse: duckdb.DuckDBPyConnection) -> None:
    predictions = good_tables()["predictions"]
    warehouse.register("predictions", pd.concat([predictions, predictions.head(1).assign(reader="generated")]))
    rows = found(warehouse, "assert_readers_and_variants_share_their_pairs", "reader", "subgroup_id", "predictions")
    assert rows == [("generated", predictions["subgroup_id"].iloc[1], 0)]


def test_an_answer_that_could_not_be_read_has_no_probabilities(warehouse: duckdb.DuckDBPyConnection) -> None:
    predictions = good_tables()["predictions"].assign(choice=-1, probabilities=[[0.0, 0.0], [0.1, 0.0]])
    warehouse.register("predictions", predictions)
    assert found(warehouse, "assert_choice_is_the_likeliest", "subgroup_id") == [(predictions["subgroup_id"].iloc[1],)]
    warehouse.register("predictions", predictions.assign(choice=1))
    assert len(found(warehouse, "assert_choice_is_the_likeliest", "subgroup_id")) == 1
