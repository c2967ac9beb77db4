"""What was trained that bears on a pair: the material of the baselines (tasks/evaluation/baselines.py).

known = Knowledge(pairs, subgroups, items, study=study)
known.of("Q1", "sex=Male|age=old", options=4)
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from tasks.evaluation.nearness import nearest_questions, nearest_subgroups
from tasks.intake.labels import band_names
from tasks.study import Study

EVERYBODY = "all"


class Evidence(NamedTuple):
    """What was trained of a pair's question, as shares of its options; None (or nothing) where nothing was. Questions that were never trained have
    what is known of others.

    `national`: everybody's; `parents`: of those parents that were trained; `ancestors`: every subgroup of fewer of its traits with its power in the
    additive formula, and `singles`, its single traits, are None unless all of them were trained. `neighbour`: the nearest trained subgroup that
    contains none of its respondents; `elsewhere`: its other traits, where its country or wave is held out, and `place` is which of both; `similar`:
    the same subgroup on the nearest trained question; `topic`: everybody on the trained questions of the topic; `micro`: what the logit of the
    microdata says.
    """

    options: int
    national: np.ndarray | None = None
    parents: list[np.ndarray] = []
    ancestors: list[tuple[int, np.ndarray]] | None = None
    singles: list[np.ndarray] | None = None
    neighbour: np.ndarray | None = None
    elsewhere: np.ndarray | None = None
    place: str | None = None
    similar: np.ndarray | None = None
    topic: np.ndarray | None = None
    micro: np.ndarray | None = None


def margin(shares: np.ndarray) -> float:
    first, second = np.sort(shares)[::-1][:2]
    return float(first - second)


def ordered_levels(study: Study, subgroups: pd.DataFrame) -> dict[str, list[str]]:
    """The dimensions whose levels have an order, with their levels in it: those in bands, and waves."""
    bands = {name: band_names(section.bands) for name, section in study.dimensions.items() if section.bands}
    waves = subgroups.loc[(subgroups["subgroup_order"] == 1) & (subgroups["dimension"] == "wave"), "levels"]
    return bands | {"wave": sorted((levels[0] for levels in waves), key=int)}


class Knowledge:
    """The trained cells, and how subgroups and questions hang together."""

    def __init__(self, pairs: pd.DataFrame, subgroups: pd.DataFrame, items: pd.DataFrame, *, study: Study) -> None:
        cells = pairs[pairs["split"] == "train"]
        keys = zip(cells["item"], cells["subgroup_id"], strict=True)
        self.trained = {(str(item), str(name)): np.asarray(shares) for (item, name), shares in zip(keys, cells["shares"], strict=True)}
        self.questions = {item for item, name in self.trained if name == EVERYBODY}
        self._parents = {name: list(parents) for name, parents in zip(subgroups["subgroup_id"], subgroups["parents"], strict=True)}
        held = zip(subgroups["dimensions"], subgroups["levels"], strict=True)
        self._traits = {name: frozenset(zip(*both, strict=True)) for name, both in zip(subgroups["subgroup_id"], held, strict=True)}
        self._unseen = set(subgroups.loc[subgroups["unseen"], "subgroup_id"])
        self._place = study.split.dimension
        self._within: dict[str, list[str]] = {}
        self._neighbours = nearest_subgroups(subgroups, self.trained, ordered=ordered_levels(study, subgroups))
        self._similar = nearest_questions(items, trained=self.questions)
        self._topics = dict(zip(items["item"], items["topic"], strict=True))

    def of(self, item: str, subgroup: str, *, options: int, micro: np.ndarray | None = None) -> Evidence:
        if item not in self.questions:
            return Evidence(options, similar=self._on_similar(item, subgroup), topic=self._of_topic(item))
        national = self.trained[item, EVERYBODY]
        if subgroup in self._unseen:  # no trained subgroup has any of its respondents: it has neither parents nor ancestors
            return Evidence(options, national, elsewhere=self._elsewhere(item, subgroup), place=self._place, micro=micro)
        return self._of_relatives(item, subgroup)._replace(options=options, national=national, micro=micro)

    def _of_relatives(self, item: str, subgroup: str) -> Evidence:
        """A parent's cell may be kept back for this question."""
        left_out = self._ancestors(subgroup)
        cells = {name: self.trained[item, name] for name in left_out if (item, name) in self.trained}
        singles = [name for name in left_out if self._parents[name] == [EVERYBODY]]
        neighbours = [name for name in self._neighbours.get(subgroup, ()) if (item, name) in self.trained]
        return Evidence(
            0,
            parents=[cells[parent] for parent in self._parents[subgroup] if parent != EVERYBODY and parent in cells],
            ancestors=[((-1) ** (left_out[name] - 1), shares) for name, shares in cells.items()] if cells.keys() == left_out.keys() else None,
            singles=[cells[name] for name in singles] if singles and all(name in cells for name in singles) else None,
            neighbour=self.trained[item, neighbours[0]] if neighbours else None,
        )

    def _ancestors(self, subgroup: str) -> dict[str, int]:
        """Every subgroup of fewer of its traits, everybody included, and how many traits it leaves out."""
        found: dict[str, int] = {}
        generation, left_out = list(self._parents[subgroup]), 1
        while generation:
            found.update(dict.fromkeys(generation, left_out))
            generation, left_out = [grandparent for parent in generation for grandparent in self._parents[parent]], left_out + 1
        return found

    def _elsewhere(self, item: str, subgroup: str) -> np.ndarray | None:
        """Of the trained subgroups with its traits and no other, the one with most of them; of equals, the one with the larger margin."""
        if subgroup not in self._within:
            self._within[subgroup] = [name for name, traits in self._traits.items() if traits < self._traits[subgroup]]
        known = [(len(self._traits[name]), self.trained[item, name]) for name in self._within[subgroup] if (item, name) in self.trained]
        return max(known, key=lambda one: (one[0], margin(one[1])))[1] if known else None

    def _on_similar(self, item: str, subgroup: str) -> np.ndarray | None:
        nearest = self._similar.get(item, [])[:1]
        return next((self.trained.get((other, subgroup), self.trained[other, EVERYBODY]) for other in nearest), None)

    def _of_topic(self, item: str) -> np.ndarray | None:
        alike = self._similar.get(item, [])
        chosen = [other for other in alike if self._topics[other] == self._topics[item]] or alike
        return np.mean([self.trained[other, EVERYBODY] for other in chosen], axis=0) if chosen else None
