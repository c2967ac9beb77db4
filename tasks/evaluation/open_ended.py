"""The question without its options, answered freely: does a persona still answer as its subgroup when nothing is offered to choose from?

    asked = open_pairs(compared_pairs(pairs, size=300, seed=1), marts, study)
    responses = scoring.respond(asked, model, adapter=None, job=job)     # model, item, subgroup_id, split, codes, text, names_option

What a text means is for a judge to say (tasks/evaluation/judge.py). A text that names an option by number or label is marked: it was hardly free.
"""

import re
from pathlib import Path

import pandas as pd

from tasks.evaluation.asking import Marts
from tasks.files import FileSet, file_set, write_table
from tasks.prompting.pairs import read_questions
from tasks.prompting.prompt import Question
from tasks.study import Study

INSTRUCTION = "Answer in one or two sentences of your own, as this person would say it. Give no number."
MOST_TOKENS = 48
TEMPERATURE = 0.7
COLUMNS = ["model", "item", "subgroup_id", "split", "codes", "text", "names_option"]


def open_pairs(chosen: pd.DataFrame, marts: Marts, study: Study) -> pd.DataFrame:
    """The chosen pairs with the question alone for a prompt."""
    questions = read_questions(marts.items, marts.options)
    prompts = [
        open_prompt(questions[item], persona=persona, question_first=study.prompt.order == "question_first")
        for item, persona in zip(chosen["item"], chosen["persona"], strict=True)
    ]
    asked = pd.Series([questions[item] for item in chosen["item"]], index=chosen.index, dtype=object)
    return chosen.assign(prompt=prompts, question=asked)


def with_questions(responses: pd.DataFrame, marts: Marts) -> pd.DataFrame:
    """Responses with the question that each answers, as a judge needs it."""
    questions = read_questions(marts.items, marts.options)
    return responses.assign(question=pd.Series([questions[item] for item in responses["item"]], index=responses.index, dtype=object))


def open_prompt(question: Question, *, persona: str, question_first: bool) -> str:
    parts = [INSTRUCTION, question.wording, persona] if question_first else [persona, question.wording, INSTRUCTION]
    return "\n\n".join(parts)


def responses_frame(asked: pd.DataFrame, texts: list[str], *, model: str) -> pd.DataFrame:
    named = [names_option(text, question) for text, question in zip(texts, asked["question"], strict=True)]
    return asked.assign(model=model, text=texts, names_option=named)[COLUMNS].reset_index(drop=True)


def names_option(text: str, question: Question) -> bool:
    """Whether an option's number or label is in the text, as a word."""
    names = [*map(str, question.codes), *question.options]
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE) for name in names)


def write_responses(responses: pd.DataFrame, *, name: str, folder: Path) -> FileSet:
    """responses/<name>.parquet."""
    path = f"responses/{name}.parquet"
    write_table(responses, folder / path)
    return file_set(folder, [path], rows={"responses": len(responses)})
