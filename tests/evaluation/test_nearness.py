"""Which subgroups and which questions are nearest."""

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from tasks.evaluation.evidence import ordered_levels
from tasks.evaluation.nearness import nearest_questions, nearest_subgroups
from tasks.study import load_study

LEVELS = {"sex": ["Female", "Male"], "age": ["16-24", "25-34", "35+"]}
ORDERED = {"age": LEVELS["age"]}


def subgroups(*, unseen: tuple[str, ...] = ()) -> pd.DataFrame:
    singles = [(dimension, level) for dimension, levels in LEVELS.items() for level in levels]
    crossed = [[one, other] for one in singles for other in singles if one[0] == "sex" and other[0] == "age"]
    rows = [
        {
            "subgroup_id": "|".join(f"{dimension}={level}" for dimension, level in traits),
            "subgroup_order": len(traits),
            "dimension": " x ".join(dimension for dimension, _ in traits),
            "dimensions": [dimension for dimension, _ in traits],
            "levels": [level for _, level in traits],
        }
        for traits in [[single] for single in singles] + crossed
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(unseen=frame["subgroup_id"].isin(unseen))


def singles_answer(shares: dict[str, float]) -> dict[tuple[str, str], np.ndarray]:
    return {("Q1", name): np.array([share, 1 - share]) for name, share in shares.items()}


ALIKE = {"sex=Female": 0.5, "sex=Male": 0.6, "age=16-24": 0.2, "age=25-34": 0.5, "age=35+": 0.21}


def test_adjacent_levels_come_first_then_the_levels_whose_answers_are_most_alike() -> None:
    found = nearest_subgroups(subgroups(), singles_answer(ALIKE), ordered=ORDERED)
    assert found["sex=Female|age=16-24"] == ["sex=Male|age=16-24", "sex=Female|age=25-34", "sex=Female|age=35+"]
    assert nearest_subgroups(subgroups(), singles_answer(ALIKE), ordered={})["sex=Female|age=16-24"] == [
        *("sex=Female|age=35+", "sex=Male|age=16-24", "sex=Female|age=25-34")
    ]


def test_a_single_traits_neighbours_are_the_other_levels() -> None:
    assert nearest_subgroups(subgroups(), singles_answer(ALIKE), ordered=ORDERED)["age=25-34"] == ["age=35+", "age=16-24"]


def test_levels_of_which_nothing_common_was_trained_are_as_far_as_can_be() -> None:
    known = singles_answer({name: share for name, share in ALIKE.items() if name != "sex=Male"})
    assert nearest_subgroups(subgroups(), known, ordered=ORDERED)["sex=Female|age=16-24"][0] == "sex=Female|age=25-34"


def test_the_unseen_subgroups_own_answers_are_not_looked_at() -> None:
    known = singles_answer(ALIKE)
    own = {("Q1", "sex=Female|age=16-24"): np.array([0.9, 0.1])}
    assert nearest_subgroups(subgroups(), known | own, ordered=ORDERED) == nearest_subgroups(subgroups(), known, ordered=ORDERED)


def test_a_held_out_place_has_no_neighbours() -> None:
    found = nearest_subgroups(subgroups(unseen=("sex=Male|age=35+",)), singles_answer(ALIKE), ordered=ORDERED)
    assert found["sex=Male|age=35+"] == []


def test_bands_and_waves_are_in_order() -> None:
    waves = pd.DataFrame({"subgroup_order": 1, "dimension": "wave", "levels": [["10"], ["7"]]})
    found = ordered_levels(load_study("sample"), waves)
    assert found == {"age_group": ["16-24", "25-34", "35-44", "45-54", "55-64", "65+"], "wave": ["7", "10"]}


WORDINGS = {
    "Q1": "How important is family in your life?",
    "Q2": "How important are friends in your life?",
    "Q3": "How important is politics to you?",
    "Q4": "Do you trust the police, your family and your friends in life?",
    "Q5": "How important is religion in your life?",
}


def items(**changes: object) -> pd.DataFrame:
    return pd.DataFrame({"item": list(WORDINGS), "question": list(WORDINGS.values()), "scale": "ordinal", "k": 4}).assign(**changes)


def test_questions_are_near_by_the_cosine_of_their_wordings() -> None:
    """TF-IDF written out in numpy."""
    found = nearest_questions(items(), trained=set(WORDINGS))
    names = TfidfVectorizer().build_analyzer()
    words = sorted({word for text in WORDINGS.values() for word in names(text)})
    counts = np.array([[names(text).count(word) for word in words] for text in WORDINGS.values()], dtype=float)
    idf = np.log((1 + len(counts)) / (1 + (counts > 0).sum(axis=0))) + 1
    vectors = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0) * idf
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = pd.DataFrame(vectors @ vectors.T, index=list(WORDINGS), columns=list(WORDINGS))
    for item, others in found.items():
        assert others == list(cosine.loc[item].drop(item).sort_values(ascending=False).index)


def test_only_trained_questions_of_the_same_scale_with_as_many_options_are_near() -> None:
    assert nearest_questions(items(), trained={"Q3"}) == {"Q1": ["Q3"], "Q2": ["Q3"], "Q3": [], "Q4": ["Q3"], "Q5": ["Q3"]}
    assert nearest_questions(items(k=[4, 10, 4, 4, 4]), trained=set(WORDINGS))["Q2"] == []
    assert "Q3" not in nearest_questions(items(scale=["ordinal", "ordinal", "binary", "ordinal", "ordinal"]), trained=set(WORDINGS))["Q1"]


@pytest.mark.parametrize("trained", [set(), set(WORDINGS)])
def test_a_nominal_question_is_near_none(trained: set[str]) -> None:
    assert not any(nearest_questions(items(scale="nominal"), trained=trained).values())
