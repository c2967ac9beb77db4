"""The marts, relation by relation: given rows, expected rows."""

import math

import numpy as np
import pytest
from scipy import stats

from tests.conftest import Warehouse

SUBGROUPS = "subgroup_id subgroup_order dimension"
ALL_SEEN = {"held_out": [], "held_out_dimension": ""}
GROUPED = {**ALL_SEEN, "national": []}
ANSWERS = "respondent_id item code missing"
DIVERSITY = "item topic dimension low high mds_expected mds_sampling"
POSTERIORS = "item subgroup_id code posterior mode_probability"
SHARES = "item subgroup_id code position share respondents effective_n"


# memberships


def test_a_respondent_is_a_member_of_everybody_of_each_trait_and_of_each_pair_of_traits(warehouse: Warehouse) -> None:
    warehouse.given_respondents({"ann": (2.0, {"religion": "Muslim", "sex": "Female"})})
    found = warehouse.run(
        "marts/memberships",
        "respondent_id weight subgroup_id subgroup_order dimension dimensions levels parents",
        dimensions=["sex", "religion"],
        subgroup_order=2,
        **GROUPED,
    )
    assert sorted(found) == [
        ("ann", 1.0, "all", 0, "all", [], [], []),
        ("ann", 1.0, "religion=Muslim", 1, "religion", ["religion"], ["Muslim"], ["all"]),
        ("ann", 1.0, "sex=Female", 1, "sex", ["sex"], ["Female"], ["all"]),
        (
            *("ann", 1.0, "sex=Female|religion=Muslim", 2, "sex x religion"),
            *(["sex", "religion"], ["Female", "Muslim"], ["sex=Female", "religion=Muslim"]),
        ),
    ]


def test_a_respondent_who_lacks_a_trait_is_in_no_subgroup_of_that_dimension(warehouse: Warehouse) -> None:
    warehouse.given_respondents({"bob": (1.0, {"sex": "Male"}), "eve": (1.0, {})})
    found = warehouse.run("marts/memberships", "respondent_id subgroup_id", dimensions=["sex", "religion"], subgroup_order=2, **GROUPED)
    assert sorted(found) == [("bob", "all"), ("bob", "sex=Male"), ("eve", "all")]


@pytest.mark.parametrize(
    ("order", "subgroups"), [(0, {"all"}), (1, {"all", "sex=Male", "age=old"}), (2, {"all", "sex=Male", "age=old", "age=old|sex=Male"})]
)
def test_dimensions_come_in_the_order_of_the_study_up_to_the_order_asked(warehouse: Warehouse, order: int, subgroups: set[str]) -> None:
    warehouse.given_respondents({"bob": (1.0, {"sex": "Male", "age": "old"})})
    found = warehouse.run("marts/memberships", "subgroup_id", dimensions=["age", "sex"], subgroup_order=order, **GROUPED)
    assert {name for (name,) in found} == subgroups
    assert len(found) == len(subgroups)


def test_three_traits_make_every_triple_once_with_its_three_pairs_as_parents(warehouse: Warehouse) -> None:
    warehouse.given_respondents({"ann": (1.0, {"sex": "Female", "age": "old", "religion": "Muslim"})})
    columns = "subgroup_id subgroup_order dimension parents"
    found = warehouse.run("marts/memberships", columns, dimensions=["sex", "age", "religion"], subgroup_order=3, **GROUPED)
    assert [row for row in found if row[1] == 3] == [
        (
            *("sex=Female|age=old|religion=Muslim", 3, "sex x age x religion"),
            ["sex=Female|age=old", "sex=Female|religion=Muslim", "age=old|religion=Muslim"],
        )
    ]
    assert sorted(row[1] for row in found) == [0, 1, 1, 1, 2, 2, 2, 3]


# subgroups


def test_subgroups_have_effective_n_and_their_share_of_the_country_and_small_ones_are_left_out(warehouse: Warehouse) -> None:
    traits = {"sex": "Female"}
    warehouse.given_respondents({"a": (1.0, traits), "b": (1.0, traits), "c": (2.0, traits), "d": (4.0, {"sex": "Male"}), "e": (2.0, {})})
    warehouse.run("marts/memberships", "subgroup_id", dimensions=["sex"], subgroup_order=2, **GROUPED)
    assert warehouse.run("marts/subgroups", f"{SUBGROUPS} respondents effective_n weight_share", minimum_respondents=3, **ALL_SEEN) == [
        ("all", 0, "all", 5, pytest.approx(100 / 26), 1.0),
        ("sex=Female", 1, "sex", 3, pytest.approx(16 / 6), 0.4),
    ]


# distributions


@pytest.fixture
def answered(warehouse: Warehouse) -> Warehouse:
    """Ann (weight 1), Bob (1) and Eve (3); Bob did not answer Q2. Q1 has an option that nobody chose; Q9 is not asked."""
    people = [("ann", 1.0), ("bob", 1.0), ("eve", 3.0)]
    warehouse.given(
        "memberships", "respondent_id subgroup_id weight", [(name, subgroup, weight) for name, weight in people for subgroup in ("all", "tiny")]
    )
    warehouse.given("subgroups", "subgroup_id", [("all",)])
    warehouse.given("items", "item", [("Q1",), ("Q2",)])
    warehouse.given("options", "item code position", [("Q1", 3, 0), ("Q1", 1, 1), ("Q1", 2, 2), ("Q2", 1, 0), ("Q2", 2, 1)])
    answers = [("ann", "Q1", 1), ("bob", "Q1", 1), ("eve", "Q1", 3), ("ann", "Q2", 1), ("bob", "Q2", None), ("eve", "Q2", 2), ("ann", "Q9", 1)]
    warehouse.given("stg_answers", "respondent_id item code", answers)
    return warehouse


def test_a_share_is_weighted_and_an_option_that_nobody_in_the_cell_chose_has_share_zero(answered: Warehouse) -> None:
    found = answered.run("marts/distributions", SHARES, minimum_respondents=3, minimum_effective_n=0)
    assert found == [("Q1", "all", 3, 0, 0.6, 3, 25 / 11), ("Q1", "all", 1, 1, 0.4, 3, 25 / 11), ("Q1", "all", 2, 2, 0.0, 3, 25 / 11)]


def test_the_minimum_counts_the_valid_answers_of_each_cell_not_the_respondents_of_the_subgroup(answered: Warehouse) -> None:
    found = answered.run("marts/distributions", SHARES, minimum_respondents=2, minimum_effective_n=0)
    assert [row for row in found if row[0] == "Q2"] == [("Q2", "all", 1, 0, 0.25, 2, 1.6), ("Q2", "all", 2, 1, 0.75, 2, 1.6)]


def test_a_cell_needs_its_effective_n_too(answered: Warehouse) -> None:
    """Everybody's effective n is 25 / 11 in Q1 and 1.6 in Q2."""
    found = answered.run("marts/distributions", "item", minimum_respondents=2, minimum_effective_n=2)
    assert {item for (item,) in found} == {"Q1"}


def test_a_question_without_the_cell_of_everybody_is_not_asked(warehouse: Warehouse) -> None:
    """One respondent of great weight makes everybody's effective n smaller than a part's."""
    people = [(f"r{number}", "part", 1.0) for number in range(10)] + [("heavy", "rest", 50.0)]
    warehouse.given(
        "memberships", "respondent_id subgroup_id weight", [(name, group, weight) for name, part, weight in people for group in ("all", part)]
    )
    warehouse.given("subgroups", "subgroup_id", [("all",), ("part",)])
    warehouse.given("items", "item", [("Q1",)])
    warehouse.given("options", "item code position", [("Q1", 1, 0), ("Q1", 2, 1)])
    warehouse.given("stg_answers", "respondent_id item code", [(name, "Q1", 1) for name, *_ in people])
    assert warehouse.run("marts/distributions", SHARES, minimum_respondents=2, minimum_effective_n=5) == []
    assert warehouse.run("marts/distributions", SHARES, minimum_respondents=2, minimum_effective_n=1) != []


def test_peers_trap_2_a_missing_answer_is_in_no_share_no_count_and_no_effective_n(warehouse: Warehouse) -> None:
    """Elsewhere -1 (don't know) was averaged into targets as if it were a step of the scale."""
    people = [("ann", 1.0), ("bob", 9.0), ("eve", 1.0)]
    warehouse.given("memberships", "respondent_id subgroup_id weight", [(name, "all", weight) for name, weight in people])
    warehouse.given("subgroups", "subgroup_id", [("all",)])
    warehouse.given("items", "item", [("Q1",)])
    warehouse.given("options", "item code position", [("Q1", 1, 0), ("Q1", 2, 1)])
    answers = [("ann", "Q1", 1, None), ("bob", "Q1", None, "dont_know"), ("eve", "Q1", 2, None)]
    warehouse.given("stg_answers", ANSWERS, answers)
    found = warehouse.run("marts/distributions", SHARES, minimum_respondents=1, minimum_effective_n=0)
    assert found == [("Q1", "all", 1, 0, 0.5, 2, 2.0), ("Q1", "all", 2, 1, 0.5, 2, 2.0)]


def test_peers_trap_12_a_heavy_respondent_moves_the_share_and_the_target(answered: Warehouse) -> None:
    """Two of three chose option 1; the third stands for three people."""
    answered.run("marts/distributions", SHARES, minimum_respondents=3, minimum_effective_n=0)
    answered.given("posteriors", POSTERIORS, [("Q1", "all", code, 1.0, 0.5) for code in (1, 2, 3)])
    assert answered.run("marts/targets", "item subgroup_id code share runner_up") == [("Q1", "all", 3, 0.6, 1)]


# targets


def targets_of(warehouse: Warehouse, *shares: float, codes: tuple[int, ...], columns: str) -> list[tuple]:
    """The targets of one cell whose options, in scale order, have these codes and shares."""
    places = list(enumerate(zip(codes, shares, strict=True)))
    warehouse.given("options", "item code position", [("Q1", code, place) for place, (code, _) in places])
    warehouse.given("distributions", SHARES, [("Q1", "all", code, place, share, 40, 38.5) for place, (code, share) in reversed(places)])
    warehouse.given("posteriors", POSTERIORS, [("Q1", "all", code, code / 8, share) for code, share in zip(codes, shares, strict=True)])
    return warehouse.run("marts/targets", columns)


def test_a_target_is_the_option_with_the_largest_share_with_its_margin_and_the_runner_up(warehouse: Warehouse) -> None:
    columns = "item subgroup_id code position share runner_up margin tied tied_codes respondents effective_n"
    found = targets_of(warehouse, 0.25, 0.5, 0.125, codes=(1, 2, 3), columns=columns)
    assert found == [("Q1", "all", 2, 1, 0.5, 1, 0.25, False, [2], 40, 38.5)]


@pytest.mark.parametrize(
    ("codes", "shares", "expected"),
    [
        ((1, 3, 2), (0.2, 0.4, 0.4), (3, 1, 2, True, [3, 2])),
        ((1, 3, 2), (0.4, 0.4, 0.2), (1, 0, 3, True, [1, 3])),
        ((5, 4, 1, 3), (0.25, 0.25, 0.25, 0.25), (5, 0, 4, True, [5, 4, 1, 3])),
    ],
)
def test_a_tied_mode_goes_to_the_first_on_the_scale_not_to_the_lowest_code_and_is_flagged(
    warehouse: Warehouse, codes: tuple[int, ...], shares: tuple[float, ...], expected: tuple
) -> None:
    assert targets_of(warehouse, *shares, codes=codes, columns="code position runner_up tied tied_codes margin") == [(*expected, 0.0)]


@pytest.mark.parametrize(("apart", "tied", "code"), [(5e-10, True, 7), (5e-9, False, 2)])
def test_shares_within_1e_9_are_a_tie(warehouse: Warehouse, apart: float, tied: bool, code: int) -> None:
    ((found_code, margin, found_tied),) = targets_of(warehouse, 0.4, 0.4 + apart, 0.2 - apart, codes=(7, 2, 3), columns="code margin tied")
    assert (found_code, found_tied) == (code, tied)
    assert margin == pytest.approx(0 if tied else apart, abs=1e-9)


def test_of_equal_runners_up_the_first_on_the_scale_is_named(warehouse: Warehouse) -> None:
    assert targets_of(warehouse, 0.2, 0.6, 0.2, codes=(9, 1, 2), columns="code runner_up tied") == [(1, 9, False)]


def test_a_target_has_the_certainty_of_its_own_option_and_the_posterior_in_scale_order(warehouse: Warehouse) -> None:
    columns = "code mode_certainty posterior"
    assert targets_of(warehouse, 0.25, 0.5, 0.125, codes=(1, 3, 2), columns=columns) == [(3, 0.5, [0.125, 0.375, 0.25])]


# landscape


def landscape_of(warehouse: Warehouse, modes: dict[str, list[int]], *, k: int) -> dict[str, tuple[float, float | None]]:
    """MDS and reachable MDS by dimension, of the modal options of each dimension's subgroups."""
    names = [(f"{dimension}={place}", 1, dimension, code) for dimension, codes in modes.items() for place, code in enumerate(codes)]
    warehouse.given("subgroups", SUBGROUPS, [("all", 0, "all"), *(row[:3] for row in names)])
    warehouse.given("targets", "item subgroup_id code", [("Q1", "all", 99), *(("Q1", name, code) for name, _, _, code in names)])
    warehouse.given("items", "item topic k", [("Q1", "Trust", k)])
    warehouse.given(
        "diversity_intervals", DIVERSITY, [(item, "Trust", name, 0.1, 0.3, 0.2, 0.15) for item in ("Q1", None) for name in (*modes, "all")]
    )
    found = warehouse.run("marts/landscape", "item topic dimension subgroups k mds mds_reachable")
    assert {row[:2] for row in found} == {("Q1", "Trust")}
    assert {row[2]: row[3] for row in found} == {"all": len(names)} | {dimension: len(codes) for dimension, codes in modes.items()}
    return {dimension: (mds, reachable) for _, _, dimension, _, _, mds, reachable in found}


def test_subgroups_that_share_one_mode_have_no_diversity(warehouse: Warehouse) -> None:
    assert landscape_of(warehouse, {"sex": [1, 1], "age": [1, 1, 1]}, k=4) == {"sex": (0.0, 0.0), "age": (0.0, 0.0), "all": (0.0, 0.0)}


def test_two_subgroups_of_a_question_with_ten_options_can_reach_one_only_by_the_reachable_score(warehouse: Warehouse) -> None:
    found = landscape_of(warehouse, {"sex": [1, 10]}, k=10)
    assert found["sex"] == (pytest.approx(math.log(2) / math.log(10)), pytest.approx(1.0))


def test_the_score_is_over_the_options_fielded_though_few_of_them_are_modes(warehouse: Warehouse) -> None:
    found = landscape_of(warehouse, {"age": [1, 2, 1, 2, 1, 2]}, k=4)
    assert found["age"] == (pytest.approx(0.5), pytest.approx(0.5))


def test_a_dimension_with_one_subgroup_has_no_reachable_score(warehouse: Warehouse) -> None:
    assert landscape_of(warehouse, {"sex": [3]}, k=4)["sex"] == (0.0, None)


@pytest.mark.parametrize("seed", range(5))
def test_the_score_is_scipys_entropy_over_log_k_to_1e_9(warehouse: Warehouse, seed: int) -> None:
    generator = np.random.default_rng(seed)
    k = int(generator.integers(2, 11))
    modes = {name: generator.integers(1, k + 1, size=generator.integers(2, 40)).tolist() for name in ("sex", "age", "sex x age")}
    found = landscape_of(warehouse, modes, k=k)
    for dimension, codes in (modes | {"all": sum(modes.values(), [])}).items():
        entropy = stats.entropy(np.unique(codes, return_counts=True)[1])
        expected = (entropy / math.log(k), entropy / math.log(min(k, len(codes))))
        assert found[dimension] == pytest.approx(expected, abs=1e-9), dimension


def test_a_topic_s_score_is_the_mean_of_its_questions_with_the_interval_of_the_topic(warehouse: Warehouse) -> None:
    rows = [("Q1", "Trust", "sex", 0.2), ("Q2", "Trust", "sex", 0.6), ("Q3", "Family", "sex", 0.0)]
    warehouse.given("landscape", "item topic dimension mds", rows)
    intervals = [
        ("Q1", "Trust", "sex", 0.0, 0.9, 0.2, 0.1),
        (None, "Trust", "sex", 0.3, 0.5, 0.35, 0.2),
        (None, "Family", "sex", 0.0, 0.1, 0.02, 0.01),
        (None, "All topics", "sex", 0.2, 0.4, 0.3, 0.1),
    ]
    warehouse.given("diversity_intervals", DIVERSITY, intervals)
    found = warehouse.run("marts/landscape_topics", "topic dimension questions mds low high mds_expected mds_sampling")
    assert found == [
        ("All topics", "sex", 3, pytest.approx(0.8 / 3), 0.2, 0.4, 0.3, 0.1),
        ("Family", "sex", 1, 0.0, 0.0, 0.1, 0.02, 0.01),
        ("Trust", "sex", 2, pytest.approx(0.4), 0.3, 0.5, 0.35, 0.2),
    ]


# pairs


def test_a_pair_joins_the_split_the_prompt_and_the_answer_of_a_cell_with_its_options_in_scale_order(warehouse: Warehouse) -> None:
    warehouse.given("subgroups", f"{SUBGROUPS} weight_share", [("sex=Female", 1, "sex", 0.5)])
    warehouse.given("items", "item topic scale k", [("Q1", "Trust", "ordinal", 3)])
    warehouse.given(
        "distributions", "item subgroup_id code position share", [("Q1", "sex=Female", *row) for row in [(2, 2, 0.3), (1, 0, 0.1), (3, 1, 0.6)]]
    )
    target = ("Q1", "sex=Female", 3, [3], False, 0.3, 40, 38.5, 0.9, [4.5, 25.0, 12.5])
    national = ("Q1", "all", 2, [2], False, 0.3, 90, 80.5, 0.9, [4.5, 25.0, 12.5])
    columns = "item subgroup_id code tied_codes tied margin respondents effective_n mode_certainty posterior"
    warehouse.given("targets", columns, [target, national])
    warehouse.given("splits", "item subgroup_id split", [("Q1", "sex=Female", "id_test")])
    warehouse.given("personas", "subgroup_id persona", [("sex=Female", "You are a woman.")])
    warehouse.given("prompts", "item subgroup_id prompt", [("Q1", "sex=Female", "Trust?")])
    columns = (
        "item subgroup_id subgroup_order dimension topic split persona prompt codes shares code tied_codes tied margin respondents effective_n "
        "mode_certainty posterior differs scale k weight_share"
    )
    found = warehouse.run("marts/pairs", columns)
    assert found == [
        (
            *("Q1", "sex=Female", 1, "sex", "Trust", "id_test", "You are a woman.", "Trust?"),
            *([1, 3, 2], [0.1, 0.6, 0.3], 3, [3], False, 0.3, 40, 38.5, 0.9, [4.5, 25.0, 12.5], True, "ordinal", 3, 0.5),
        )
    ]
    assert [name for (name,) in warehouse.connection.execute("select column_name from (describe pairs)").fetchall()] == columns.split()
