"""The unseen_subgroup split on made-up subgroups: what is held out, what never is, and what the draw depends on."""

import itertools

import pandas as pd
import pytest

from tasks.errors import InputError
from tasks.files import FileSet
from tasks.study import Study
from tasks.study_split import SplitSection
from tasks.subgroups.splits import assign_splits, held_out_levels, held_out_questions

LEVELS = {"sex": 2, "age": 6, "faith": 5}
ITEMS = [f"Q{number}" for number in range(1, 21)]
SECTION = SplitSection()


def made_up_subgroups(sizes: dict[str, int] | None = None) -> pd.DataFrame:
    """Everybody, 13 single traits and their 52 intersections; intersections have 40 respondents, single traits 400, or what `sizes` says."""
    traits = {dimension: [f"{dimension}={level}" for level in range(levels)] for dimension, levels in LEVELS.items()}
    rows = [("all", 0, "all", [])]
    rows += [(trait, 1, dimension, ["all"]) for dimension, named in traits.items() for trait in named]
    rows += [
        (f"{a}|{b}", 2, f"{one} x {other}", [a, b])
        for one, other in itertools.combinations(LEVELS, 2)
        for a, b in itertools.product(traits[one], traits[other])
    ]
    frame = pd.DataFrame(rows, columns=["subgroup_id", "subgroup_order", "dimension", "parents"]).assign(unseen=False)
    usual = frame["subgroup_order"].map({0: 4000, 1: 400, 2: 40})
    return frame.assign(respondents=frame["subgroup_id"].map(sizes or {}).fillna(usual).astype(int))


def cells_of(subgroups: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(list(itertools.product(ITEMS, subgroups["subgroup_id"])), columns=["item", "subgroup_id"])


def split(subgroups: pd.DataFrame, *, seed: int = 1, section: SplitSection = SECTION) -> pd.DataFrame:
    return assign_splits(cells_of(subgroups), subgroups, section=section, seed=seed)


def held_out(splits: pd.DataFrame) -> set[str]:
    return set(splits.loc[splits["split"] == "ood_test", "subgroup_id"])


def test_every_cell_is_in_exactly_one_split() -> None:
    subgroups = made_up_subgroups()
    splits = split(subgroups)
    assert sorted(zip(splits["item"], splits["subgroup_id"], strict=True)) == sorted(
        zip(*map(cells_of(subgroups).get, ["item", "subgroup_id"]), strict=True)
    )
    assert set(splits["split"]) == {"train", "validation", "id_test", "ood_test"}


@pytest.mark.parametrize("seed", range(4))
def test_the_share_held_out_is_drawn_within_each_pair_of_dimensions(seed: int) -> None:
    subgroups = made_up_subgroups()
    drawn = subgroups.loc[subgroups["subgroup_id"].isin(held_out(split(subgroups, seed=seed))), "dimension"].value_counts()
    assert drawn.to_dict() == {"sex x age": 4, "sex x faith": 3, "age x faith": 9}  # 30% of 12, 10 and 30


def test_a_held_out_subgroup_is_held_out_of_every_question_and_of_id_test() -> None:
    splits = split(made_up_subgroups())
    rows = splits[splits["subgroup_id"].isin(held_out(splits))]
    assert set(rows["split"]) == {"ood_test"}
    assert len(rows) == len(ITEMS) * 16


def test_order_0_is_trained_in_every_question() -> None:
    splits = split(made_up_subgroups())
    assert set(splits.loc[splits["subgroup_id"] == "all", "split"]) == {"train"}


@pytest.mark.parametrize("seed", range(4))
def test_parents_of_held_out_subgroups_are_trained(seed: int) -> None:
    subgroups = made_up_subgroups()
    splits = split(subgroups, seed=seed)
    trained = set(splits.loc[splits["split"] == "train", "subgroup_id"])
    for name, parents in zip(subgroups["subgroup_id"], subgroups["parents"], strict=True):
        if name in held_out(splits):
            assert set(parents) <= trained


@pytest.mark.parametrize(("respondents", "may_be_held_out"), [(381, False), (380, True)])
def test_an_intersection_that_is_over_95_percent_of_a_parent_is_never_held_out(respondents: int, may_be_held_out: bool) -> None:
    """Its answers would be those of a subgroup that is trained."""
    subgroups = made_up_subgroups({"age=0|faith=4": respondents, "sex=1": 4000})
    draws = [held_out(split(subgroups, seed=seed, section=SplitSection(held_out=0.9))) for seed in range(10)]
    assert any("age=0|faith=4" in names for names in draws) == may_be_held_out


def test_id_test_and_validation_have_their_shares_of_the_trained_subgroups_cells() -> None:
    counts = split(made_up_subgroups())["split"].value_counts().to_dict()
    open_cells = len(ITEMS) * (13 + 52 - 16)
    id_test = round(0.1 * open_cells)
    validation = round(0.1 * (open_cells - id_test))
    assert counts == {"ood_test": 320, "id_test": id_test, "validation": validation, "train": 20 + open_cells - id_test - validation}


def test_the_same_seed_gives_the_same_split_and_another_seed_another_draw_of_each_part() -> None:
    subgroups = made_up_subgroups()
    first, again, other = split(subgroups), split(subgroups), split(subgroups, seed=2)
    pd.testing.assert_frame_equal(first, again)
    assert held_out(first) != held_out(other)
    for part in ("id_test", "validation"):
        assert set(first.index[first["split"] == part]) != set(other.index[other["split"] == part])


def test_the_order_of_rows_does_not_matter() -> None:
    subgroups = made_up_subgroups()
    shuffled = assign_splits(cells_of(subgroups).sample(frac=1, random_state=3), subgroups.sample(frac=1, random_state=4), section=SECTION, seed=1)
    pd.testing.assert_frame_equal(shuffled, split(subgroups))


def test_what_is_held_out_does_not_depend_on_the_questions_or_on_the_other_shares() -> None:
    subgroups = made_up_subgroups()
    fewer = assign_splits(cells_of(subgroups).query("item == 'Q1'"), subgroups, section=SplitSection(id_test=0.4, validation=0.2), seed=1)
    assert held_out(fewer) == held_out(split(subgroups))


@pytest.mark.parametrize("order", [1, 0])
def test_without_intersections_to_hold_out_the_study_is_refused(order: int) -> None:
    subgroups = made_up_subgroups()
    subgroups = subgroups[subgroups["subgroup_order"] <= order]
    with pytest.raises(InputError, match="0 are intersections. Add a dimension, lower subgroups.minimum_respondents, or raise split.held_out"):
        split(subgroups)


def test_with_three_traits_only_triples_are_held_out_so_that_nothing_trained_lies_inside() -> None:
    pairs = made_up_subgroups()
    triples = [
        (f"sex={a}|age={b}|faith={c}", 3, "sex x age x faith", [f"sex={a}|age={b}", f"sex={a}|faith={c}", f"age={b}|faith={c}"], False, 20)
        for a, b, c in itertools.product(range(2), range(6), range(5))
    ]
    subgroups = pd.concat([pairs, pd.DataFrame(triples, columns=[*pairs.columns])], ignore_index=True)
    splits = split(subgroups)
    assert len(held_out(splits)) == 18  # 30% of 60
    assert all(name.count("|") == 2 for name in held_out(splits))
    trained = set(splits.loc[splits["split"] == "train", "subgroup_id"])
    assert {parent for name, _, _, parents, *_ in triples if name in held_out(splits) for parent in parents} <= trained


def test_on_the_sample_study_no_ood_subgroup_is_nearly_a_trained_parent(sample_marts: FileSet, sample_study: Study) -> None:
    subgroups, cells = sample_marts.read("subgroups"), sample_marts.read("targets")
    splits = assign_splits(cells, subgroups, section=sample_study.split, seed=sample_study.seed)
    sizes = dict(zip(subgroups["subgroup_id"], subgroups["respondents"], strict=True))
    for row in subgroups[subgroups["subgroup_id"].isin(held_out(splits))].to_dict("records"):
        assert row["respondents"] <= 0.95 * min(sizes[parent] for parent in row["parents"]), row["subgroup_id"]
    assert 0.2 < len(held_out(splits)) / (subgroups["subgroup_order"] == 2).sum() <= 0.31  # rounded within each pair of dimensions
    assert len(splits) == len(cells)


PLACES = {"country": ["DEU", "JPN", "SGP", "USA"], "wave": ["6", "7"]}


def test_a_seeded_share_of_the_countries_or_waves_is_held_out_at_least_one_and_never_all() -> None:
    drawn = {tuple(held_out_levels(PLACES, section=SplitSection(kind="unseen_country"), seed=seed)) for seed in range(40)}
    assert drawn == {(country,) for country in PLACES["country"]}
    assert len(held_out_levels(PLACES, section=SplitSection(kind="unseen_country", held_out=0.99), seed=1)) == 3
    assert held_out_levels(PLACES, section=SplitSection(kind="unseen_wave", unseen=(7,)), seed=1) == ["7"]
    assert held_out_levels(PLACES, section=SplitSection(), seed=1) == []


@pytest.mark.parametrize(
    ("places", "unseen"), [({"country": ["SGP"], "wave": ["7"]}, None), (PLACES, ("FRA",)), (PLACES, ("DEU", "JPN", "SGP", "USA"))]
)
def test_a_country_that_is_not_there_or_the_only_ones_cannot_be_held_out(places: dict[str, list[str]], unseen: tuple[str, ...] | None) -> None:
    with pytest.raises(InputError, match="split.kind is unseen_country, and the survey has country .*Expected one to hold out and another to train"):
        held_out_levels(places, section=SplitSection(kind="unseen_country", unseen=unseen), seed=1)


def test_every_cell_of_an_unseen_country_is_tested_and_none_is_trained() -> None:
    subgroups = made_up_subgroups().assign(unseen=lambda frame: frame["subgroup_id"].str.contains("faith=1"))
    splits = split(subgroups, section=SplitSection(kind="unseen_country"))
    unseen = set(subgroups.loc[subgroups["unseen"], "subgroup_id"])
    assert set(splits.loc[splits["split"] == "ood_test", "subgroup_id"]) == unseen
    assert not unseen & set(splits.loc[splits["split"] != "ood_test", "subgroup_id"])


TOPICS = {item: ("Trust", "Work", "Faith")[min(place // 8, 2)] for place, item in enumerate(ITEMS)}  # 8, 8 and 4 questions
QUESTIONS = SplitSection(kind="unseen_question")


@pytest.mark.parametrize("seed", range(6))
def test_unseen_questions_are_a_share_of_each_topic_to_less_than_one(seed: int) -> None:
    drawn = held_out_questions(TOPICS, section=QUESTIONS, seed=seed)
    assert len(drawn) == 6 and drawn == held_out_questions(TOPICS, section=QUESTIONS, seed=seed)  # 30% of 20
    for topic, share in {"Trust": 2.4, "Work": 2.4, "Faith": 1.2}.items():
        assert abs(sum(TOPICS[item] == topic for item in drawn) - share) < 1
    assert len(held_out_questions(TOPICS, section=SplitSection(kind="unseen_question", held_out=0.001), seed=seed)) == 1
    assert len(held_out_questions(TOPICS, section=SplitSection(kind="unseen_question", held_out=0.999), seed=seed)) == 19


def test_every_question_is_as_likely_unseen_as_another() -> None:
    draws = pd.Series([item for seed in range(2000) for item in held_out_questions(TOPICS, section=QUESTIONS, seed=seed)])
    rate = draws.value_counts() / 2000
    assert len(rate) == 20 and rate.between(0.25, 0.35).all()  # 0.3, five standard deviations either way


def test_an_unseen_question_is_tested_with_every_subgroup_and_trained_with_none_not_even_with_everybody() -> None:
    subgroups = made_up_subgroups()
    splits = assign_splits(cells_of(subgroups), subgroups, section=QUESTIONS, seed=1, topics=TOPICS)
    unseen = held_out_questions(TOPICS, section=QUESTIONS, seed=1)
    tested = splits[splits["item"].isin(unseen)]
    assert set(tested["split"]) == {"ood_test"} and len(tested) == 6 * 65  # all but everybody
    others = splits[~splits["item"].isin(unseen)]
    assert others["split"].value_counts().to_dict() == {"id_test": 91, "validation": 82, "train": 14 * 66 - 91 - 82}
    assert set(others.loc[others["subgroup_id"] == "all", "split"]) == {"train"}


def test_unseen_questions_can_be_named_and_one_that_is_not_asked_is_refused() -> None:
    named = SplitSection(kind="unseen_question", unseen=("Q3", "Q1"))
    assert held_out_questions(TOPICS, section=named, seed=1) == ["Q1", "Q3"]
    with pytest.raises(InputError, match="asks 20 questions, of which split.unseen names Q3, Q99; not asked: Q99. Expected some to hold out"):
        held_out_questions(TOPICS, section=SplitSection(kind="unseen_question", unseen=("Q3", "Q99")), seed=1)
    with pytest.raises(InputError, match="correct split.unseen, or ask more questions"):
        held_out_questions({"Q1": "Trust"}, section=QUESTIONS, seed=1)
