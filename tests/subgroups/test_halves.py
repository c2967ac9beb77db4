"""The halves of a survey: who goes into which, and what is made of each."""

from collections import Counter

import pandas as pd

from tasks.files import FileSet
from tasks.subgroups.marts import HALF_TABLES
from tests.conftest import Warehouse

PEOPLE = {f"r{number}": (1.0, {"sex": "FM"[number % 2], "age": str(number % 7)}) for number in range(101)}


def halves(warehouse: Warehouse, seed: int = 1) -> dict[str, str]:
    return dict(warehouse.run("marts/halves", "respondent_id half", seed=str(seed)))


def test_halves_of_a_stratum_differ_by_one_at_most_and_so_do_those_of_the_survey(warehouse: Warehouse) -> None:
    warehouse.given_respondents(PEOPLE)
    for seed in range(20):
        found = halves(warehouse, seed)
        assert abs(Counter(found.values())["A"] - 50.5) == 0.5
        for sex, age in {(number % 2, number % 7) for number in range(101)}:
            counted = Counter(half for name, half in found.items() if (int(name[1:]) % 2, int(name[1:]) % 7) == (sex, age))
            assert abs(counted["A"] - counted["B"]) <= 1


def test_every_respondent_is_in_either_half_alike_one_alone_in_their_stratum_too(warehouse: Warehouse) -> None:
    alone = {"x": (1.0, {"sex": "F", "age": "90"}), "y": (1.0, {"sex": "M"}), "z": (1.0, {})}
    warehouse.given_respondents({name: PEOPLE[name] for name in ("r1", "r2", "r15")} | alone)
    draws = [halves(warehouse, seed) for seed in range(400)]
    for name in draws[0]:
        assert 0.4 < sum(found[name] == "A" for found in draws) / len(draws) < 0.6, name  # four standard deviations


def test_the_same_seed_draws_the_same_halves_whatever_the_order_of_rows(warehouse: Warehouse) -> None:
    warehouse.given_respondents(PEOPLE)
    first, other = halves(warehouse), halves(warehouse, 2)
    warehouse.connection.execute("create or replace table stg_respondents as from stg_respondents order by respondent_id desc")
    assert halves(warehouse) == first != other


def test_subgroups_share_what_their_respondents_share_and_few_are_not_named(warehouse: Warehouse) -> None:
    members = [(f"r{number}", name) for name, numbers in {"a": range(8), "b": range(4, 20), "c": range(19, 22)}.items() for number in numbers]
    warehouse.given("memberships", "respondent_id subgroup_id", members)
    warehouse.given("subgroups", "subgroup_id respondents", [("a", 8), ("b", 16), ("c", 3)])
    assert warehouse.run("marts/kinship", "subgroup_id other_id part jaccard", minimum_respondents=2) == [("a", "b", 0.5, 0.2), ("b", "a", 0.25, 0.2)]


def test_the_two_halves_of_a_cell_are_its_respondents_and_stay_out_of_the_tables_that_are_read(sample_marts: FileSet) -> None:
    targets, halved = sample_marts.read("targets"), sample_marts.read("half_targets", under="halves")
    both = halved.groupby(["item", "subgroup_id"])["respondents"].agg(["sum", "min", "size"]).reset_index().merge(targets, on=["item", "subgroup_id"])
    assert len(both) > 0.95 * len(targets)
    assert (both["sum"] == both["respondents"]).all() and set(both["size"]) == {2} and both["min"].min() >= 15
    assert not [name for name in sample_marts.files if name.startswith("tables/half_")]
    assert {f"halves/{name}.parquet" for name in HALF_TABLES} <= sample_marts.files.keys()


def test_targets_of_both_halves_rest_on_as_many_respondents(sample_marts: FileSet) -> None:
    """Equal n by construction: over all cells to a respondent in a thousand, and in each cell as a fair draw has it."""
    sizes = sample_marts.read("half_targets", under="halves").pivot(index=["item", "subgroup_id"], columns="half", values="respondents")
    assert abs(sizes["A"].sum() / sizes["B"].sum() - 1) < 0.02
    spread: pd.Series = (sizes["A"] - sizes["B"]) ** 2 / (sizes["A"] + sizes["B"])
    assert spread.mean() < 1  # 1 for a coin; less, as strata are divided evenly
