"""Which questions a study asks: of the fielded items, those of its kinds and topics (or exactly its list), spread over topics."""

import pandas as pd

from tasks.errors import InputError
from tasks.study import ItemsSection

MOST_OPTIONS = 10


def select_items(items: pd.DataFrame, *, section: ItemsSection) -> list[str]:
    """The items to ask, in the survey's order. `items`: one row per fielded item with item, topic, kind, k.

    Raises InputError when a listed item was not fielded, or when nothing is left.
    """
    fielded = items[items["k"].between(2, MOST_OPTIONS)]
    if section.include is not None:
        return _listed(fielded, section.include)
    chosen = fielded[fielded["kind"].isin(section.kinds)]
    if section.topics is not None:
        _refuse_unknown(section.topics, known=set(items["topic"]))
        chosen = chosen[chosen["topic"].isin(section.topics)]
    if chosen.empty:
        raise InputError(
            f"no item is left of {len(items)} fielded ones: items.kinds is {', '.join(section.kinds)}, items.topics is "
            f"{section.topics or 'all'} (topics of this survey: {', '.join(sorted(items['topic'].unique()))}). Widen one of them."
        )
    spread = _spread_over_topics(chosen)[: section.limit]
    return sorted(spread, key=list(items["item"]).index)


def _listed(fielded: pd.DataFrame, include: tuple[str, ...]) -> list[str]:
    absent = sorted(set(include).difference(fielded["item"]))
    if absent:
        raise InputError(
            f"items.include lists {', '.join(absent)}, which this survey did not field with 2 to {MOST_OPTIONS} options. "
            "Take them out; `valuescape inspect FILE --json` lists what was fielded."
        )
    return [item for item in fielded["item"] if item in include]


def _refuse_unknown(topics: tuple[str, ...], *, known: set[str]) -> None:
    absent = sorted(set(topics).difference(known))
    if absent:
        raise InputError(f"items.topics lists {', '.join(absent)}, which this survey has not. Take them out; it has {', '.join(sorted(known))}.")


def _spread_over_topics(items: pd.DataFrame) -> list[str]:
    """Items so ordered that any beginning of the list takes equally from every topic, and from all parts of a topic's batteries."""
    queues = [_from_all_parts(list(group["item"])) for _, group in items.groupby("topic", sort=False)]
    rounds = range(max(len(queue) for queue in queues))
    return [queue[place] for place in rounds for queue in queues if place < len(queue)]


def _from_all_parts(names: list[str]) -> list[str]:
    """The order of a van der Corput sequence: neighbours, which are often one battery, come far apart."""
    return [names[place] for place in sorted(range(len(names)), key=lambda place: int(f"{place:010b}"[::-1], 2))]
