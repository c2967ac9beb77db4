"""Which questions a study asks, of a made-up survey."""

from collections import Counter
from typing import Any

import pandas as pd
import pytest

from tasks.errors import InputError
from tasks.study import ItemsSection
from tasks.subgroups.selection import select_items

# item, topic, kind, k; in the survey's order
SURVEY = pd.DataFrame(
    [
        *[(f"Q{number}", "Trust", "attitude", 4) for number in range(1, 9)],
        *[(f"Q{number}", "Religion", "attitude", 10) for number in range(9, 13)],
        *[
            ("Q13", "Politics", "behaviour", 3),
            ("Q14", "Politics", "attitude", 2),
            ("Q15", "Politics", "attitude", 1),
            ("Q16", "Politics", "attitude", 11),
        ],
    ],
    columns=["item", "topic", "kind", "k"],
)


def chosen(**section: Any) -> list[str]:
    return select_items(SURVEY, section=ItemsSection(**section))


def test_by_default_every_attitude_with_two_to_ten_options_is_asked_in_the_survey_s_order() -> None:
    assert chosen() == [*[f"Q{number}" for number in range(1, 13)], "Q14"]


def test_kinds_and_topics_narrow_the_choice() -> None:
    assert chosen(kinds=["behaviour"]) == ["Q13"]
    assert chosen(kinds=["attitude", "behaviour"], topics=["Politics"]) == ["Q13", "Q14"]


def test_a_list_is_taken_whatever_the_kind_once_each_and_in_the_survey_s_order() -> None:
    assert chosen(include=["Q13", "Q2", "Q13"], kinds=["knowledge"], limit=1) == ["Q2", "Q13"]


@pytest.mark.parametrize("limit", [3, 6, 7, 9])
def test_a_limit_takes_equally_from_every_topic_while_it_has_questions(limit: int) -> None:
    topics = Counter(dict(zip(SURVEY["item"], SURVEY["topic"], strict=True))[item] for item in chosen(limit=limit))
    assert sum(topics.values()) == limit
    assert topics["Politics"] == 1  # has no more
    assert abs(topics["Trust"] - topics["Religion"]) <= 1


def test_a_limit_takes_from_all_parts_of_a_topic_not_from_one_battery() -> None:
    assert chosen(topics=["Trust"], limit=2) == ["Q1", "Q5"]
    assert chosen(topics=["Trust"], limit=4) == ["Q1", "Q3", "Q5", "Q7"]


def test_a_larger_limit_keeps_what_a_smaller_one_chose() -> None:
    for limit in range(1, 13):
        assert set(chosen(limit=limit)) < set(chosen(limit=limit + 1))


def test_a_limit_beyond_the_survey_takes_everything() -> None:
    assert chosen(limit=500) == chosen()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"include": ["Q1", "Q99", "Q15"]}, "items.include lists Q15, Q99, which this survey did not field with 2 to 10 options. Take them out"),
        ({"topics": ["Trust", "Religon"]}, "items.topics lists Religon, which this survey has not. Take them out; it has Politics, Religion, Trust"),
        ({"kinds": ["knowledge"]}, "no item is left of 16 fielded ones: items.kinds is knowledge.*Widen one of them"),
    ],
)
def test_questions_that_cannot_be_asked_are_refused_with_what_there_is(section: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        chosen(**section)
