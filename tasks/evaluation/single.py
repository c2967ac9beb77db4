"""One question put to one persona of a run: what the survey's respondents answered, and what the base and the tuned model do.

    run = AskedRun.of(folder, study, populations=manifest["survey"]["populations"])
    answer = ask_one(run, persona="sex=Female,religion=Muslim", question="Q6", models=workspace / "models")
    answer.survey, answer.base, answer.tuned            # shares of answer.options, or None

The persona may be of any levels that the study knows, also where the survey has too few respondents for it to say what they answered.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.errors import InputError
from tasks.evaluation.scoring import job_of, probabilities
from tasks.prompting.pairs import places_in, read_questions
from tasks.prompting.persona import persona_of
from tasks.prompting.prompt import Question, render_prompt
from tasks.study import Study
from tasks.training.model import load_model, prepare_model

SUGGESTED = 4
NEAR = 0.5  # of difflib's similarity


@dataclass(frozen=True)
class AskedRun:
    """What of a run is asked: its study, the tables that questions and personas are worded from, and its adapter where it has one."""

    study: Study
    populations: list[dict[str, Any]]
    items: pd.DataFrame
    options: pd.DataFrame
    subgroups: pd.DataFrame
    distributions: pd.DataFrame
    adapter: Path | None

    @classmethod
    def of(cls, folder: Path, study: Study, *, populations: list[dict[str, Any]]) -> "AskedRun":
        """Raises InputError for a run that lacks a table, and for one of a served model."""
        if study.model.served_name:
            raise InputError(f"run {folder.name} asked a model on a server. `valuescape ask` asks models that run here")
        tables = {name: folder / "tables" / f"{name}.parquet" for name in ("items", "options", "subgroups", "distributions")}
        if absent := [name for name, path in tables.items() if not path.is_file()]:
            raise InputError(f"run {folder.name} has no table {', '.join(absent)}: it did not finish. Repeat its command, or name another run")
        adapter = folder / "adapter"
        return cls(
            study, populations, **{name: pd.read_parquet(path) for name, path in tables.items()}, adapter=adapter if adapter.is_dir() else None
        )


@dataclass(frozen=True)
class Answer:
    """`survey`, `base`, `tuned`: shares in the order of the options; None where there are too few respondents, or nothing was trained. What a model
    gives to something else than an option is left to 1."""

    item: str
    question: Question
    persona: str
    subgroup: str | None
    respondents: int | None
    survey: list[float] | None
    base: list[float]
    tuned: list[float] | None

    def to_json(self) -> dict[str, Any]:
        options = zip(self.question.codes, self.question.options, strict=True)
        shares = {name: getattr(self, name) for name in ("survey", "base", "tuned")}
        return {
            **{name: getattr(self, name) for name in ("item", "persona", "subgroup", "respondents")},
            "question": self.question.wording,
            "options": [
                {"code": code, "wording": wording, **{name: None if held is None else held[place] for name, held in shares.items()}}
                for place, (code, wording) in enumerate(options)
            ],
        }


def ask_one(run: AskedRun, *, persona: str, question: str, models: Path) -> Answer:
    """`persona`: dimension=level, separated by commas; empty for everybody. `question`: an item's code, or words of its wording.

    Raises InputError, with what comes near, for a dimension, level or question that the run does not have.
    """
    traits = read_persona(persona, known=_levels(run.subgroups))
    item = find_question(question, run.items)
    worded = read_questions(run.items, run.options)[item]
    told = persona_of(traits, places=places_in(run.populations, run.study), dimensions=run.study.dimensions)
    prompt = render_prompt(worded, persona=told, order=run.study.prompt.order)
    subgroup = _subgroup(run.subgroups, traits)
    cell = run.distributions[(run.distributions["item"] == item) & (run.distributions["subgroup_id"] == subgroup)].sort_values("position")
    return Answer(
        item=item,
        question=worded,
        persona=told,
        subgroup=subgroup,
        respondents=int(cell["respondents"].iloc[0]) if len(cell) else None,
        survey=[float(share) for share in cell["share"]] if len(cell) else None,
        base=_asked(prompt, worded, run, adapter=None, models=models),
        tuned=_asked(prompt, worded, run, adapter=run.adapter, models=models) if run.adapter else None,
    )


def _asked(prompt: str, worded: Question, run: AskedRun, *, adapter: Path | None, models: Path) -> list[float]:
    loaded = load_model(Path(prepare_model(run.study.model.name, cache=models).folder), run.study.model, adapter=adapter)
    row = pd.DataFrame({"item": [""], "subgroup_id": [""], "prompt": [prompt], "codes": [np.array(worded.codes)]})
    (shares,) = probabilities(row, loaded, job=job_of(run.study, model="tuned" if adapter else "base", controls=False))
    return [float(share) for share in shares]


def read_persona(text: str, *, known: Mapping[str, list[str]]) -> dict[str, str]:
    """dimension=level, ... -> the level of each dimension, as the study writes them. `known`: levels by dimension."""
    traits: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, level = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise InputError(f"{part!r} is no trait. Expected dimension=level, separated by commas, such as {_example(known)}")
        dimension = _one_of(name, known, what="dimension")
        if dimension in traits:
            raise InputError(f"{dimension} is given twice. A persona has one level of a dimension")
        traits[dimension] = _one_of(level, known[dimension], what=f"level of {dimension}")
    return traits


def find_question(text: str, items: pd.DataFrame) -> str:
    """The item of this code, or the only one whose wording has these words."""
    codes = {str(item).casefold(): str(item) for item in items["item"]}
    if text.strip().casefold() in codes:
        return codes[text.strip().casefold()]
    wordings = dict(zip(items["question"], items["item"], strict=True))
    holding = [wording for wording in wordings if text.strip() and text.strip().casefold() in wording.casefold()]
    if len(holding) == 1:
        return str(wordings[holding[0]])
    words = set(text.casefold().split())
    shared = {wording: len(words & set(wording.casefold().split())) for wording in wordings}
    near = holding or sorted(filter(shared.get, shared), key=lambda wording: -shared[wording])
    listed = [f"{wordings[wording]} ({wording})" for wording in near[:SUGGESTED]] or get_close_matches(text.upper(), codes.values(), n=SUGGESTED)
    several = f"{len(holding)} questions have the words {text!r}" if holding else f"the run asked no question {text!r}"
    raise InputError(f"{several}. Near: {'; '.join(listed) or 'none'}. Give the code of one of its {len(items)} questions (tables/items.parquet)")


def _levels(subgroups: pd.DataFrame) -> dict[str, list[str]]:
    """Levels by dimension, of all subgroups: a held-out country's trait may be in no subgroup of its own."""
    named = subgroups[["dimensions", "levels"]].explode(["dimensions", "levels"]).dropna().drop_duplicates()
    return {str(name): sorted(group["levels"]) for name, group in named.groupby("dimensions")}


def _one_of(given: str, known: Iterable[str], *, what: str) -> str:
    names = {name.casefold(): name for name in known}
    if given.casefold() in names:
        return names[given.casefold()]
    near = [names[name] for name in get_close_matches(given.casefold(), names, n=SUGGESTED, cutoff=NEAR)]
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    raise InputError(f"{given!r} is no {what}.{meant} Expected one of {', '.join(names.values())}")


def _example(known: Mapping[str, list[str]]) -> str:
    return ",".join(f"{name}={levels[0]}" for name, levels in list(known.items())[:2])


def _subgroup(subgroups: pd.DataFrame, traits: Mapping[str, str]) -> str | None:
    """The subgroup of these traits; None where there are too few respondents for one."""
    for row in subgroups.to_dict("records"):
        if dict(zip(row["dimensions"], row["levels"], strict=True)) == traits:
            return str(row["subgroup_id"])
    return None
