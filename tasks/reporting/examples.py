"""A few free answers beside what the judge made of them: text that a model wrote, shown as it is."""

from typing import Any, NamedTuple

import pandas as pd

from tasks.errors import StepError
from tasks.evaluation.predictions import NO_ANSWER
from tasks.reporting import formats
from tasks.reporting.contents import REMEDY, Contents
from tasks.reporting.groups import subgroup_names
from tasks.reporting.landscape import option_wording, question_wording

EXAMPLES = 8
KEYS = ["item", "subgroup_id", "split"]
LONGEST_TEXT = 300
NO_TEXT = "(no text)"
LONGEST_OPTION = 120


class Example(NamedTuple):
    question: str
    subgroup: str
    survey: str
    answers: list[tuple[str, str, str]]  # model, text, what the judge read


def free_answers(contents: Contents) -> list[Example]:
    """Spread over the questions: the first pair of each, base and tuned model side by side."""
    judged = {model: frame for model in ("base", "tuned") if (frame := _judged(contents, model)) is not None}
    pairs, shown = contents.tables.get("pairs"), subgroup_names(contents)
    if not judged or pairs is None:
        return []
    first = next(iter(judged.values()))
    chosen = first[first["subgroup_id"].isin(shown)].drop_duplicates("item").head(EXAMPLES)
    targets, wording, options = pairs.set_index(KEYS)["code"], question_wording(contents), option_wording(contents)
    found = []
    for key in chosen[KEYS].itertuples(index=False, name=None):
        rows = {model: frame.loc[key] for model, frame in ((name, held.set_index(KEYS)) for name, held in judged.items()) if key in frame.index}
        told = [(f"{model} model", formats.label(row["text"], limit=LONGEST_TEXT) or NO_TEXT, _read(row, options)) for model, row in rows.items()]
        survey = _option(options, str(key[0]), targets.get(key))
        found.append(Example(formats.label(wording.get(str(key[0]), key[0]), limit=200), shown[str(key[1])], survey, told))
    return found


def _judged(contents: Contents, model: str) -> pd.DataFrame | None:
    texts, judged = contents.folder / "responses" / f"{model}.parquet", contents.folder / "predictions" / f"{model}_open_ended.parquet"
    if not texts.is_file() or not judged.is_file():
        return None
    try:
        return pd.read_parquet(texts)[[*KEYS, "text", "names_option"]].merge(pd.read_parquet(judged)[[*KEYS, "choice"]], on=KEYS)
    except (OSError, KeyError, ValueError) as error:
        raise StepError(f"{texts} and {judged} cannot be read together: {error}. {REMEDY}") from error


def _read(row: Any, options: dict[tuple[str, Any], str]) -> str:
    read = "means none of the options" if row["choice"] == NO_ANSWER else _option(options, str(row.name[0]), row["choice"])
    return f"{read} (the text names an option)" if row["names_option"] else read


def _option(options: dict[tuple[str, Any], str], item: str, code: Any) -> str:
    return formats.label(options.get((item, code), f"option {code}"), limit=LONGEST_OPTION)
