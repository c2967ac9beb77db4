"""The question without its options, answered freely: does a persona still answer as its subgroup when nothing is offered to choose from?

    asked = open_pairs(compared_pairs(pairs, size=300, seed=1), marts, study)
    responses = respond(asked, loaded, job=job)          # model, item, subgroup_id, split, codes, text, names_option

What a text means is for a judge to say (tasks/evaluation/judge.py). A text that names an option by number or label is marked: it was hardly free.
"""

import re
from pathlib import Path

import pandas as pd

from tasks.evaluation.asking import Marts
from tasks.evaluation.generation import Generator
from tasks.evaluation.scoring import ScoringJob
from tasks.files import FileSet, file_set, write_table
from tasks.progress import Meter
from tasks.prompting.pairs import read_questions
from tasks.prompting.prompt import Question
from tasks.prompting.tree import PromptEncoder
from tasks.study import Study
from tasks.training.model import LoadedModel

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


def open_prompt(question: Question, *, persona: str, question_first: bool) -> str:
    parts = [INSTRUCTION, question.wording, persona] if question_first else [persona, question.wording, INSTRUCTION]
    return "\n\n".join(parts)


def respond(asked: pd.DataFrame, loaded: LoadedModel, *, job: ScoringJob, temperature: float = TEMPERATURE) -> pd.DataFrame:
    """One text for each pair, drawn by the job's seed and the prompt."""
    generator = Generator(loaded, most_tokens=MOST_TOKENS, temperature=temperature, seed=job.seed)
    encoder, said = PromptEncoder(loaded.tokenizer), dict[int, str]()
    with Meter(f"the {job.model} model answers freely", len(asked)) as meter:
        for _, rows in asked.groupby(job.group_by, sort=False):
            for start in range(0, len(rows), job.pairs_per_forward):
                batch = rows.iloc[start : start + job.pairs_per_forward]
                texts = generator([encoder.encode(prompt, codes=("1", "2")) for prompt in batch["prompt"]])
                said.update(zip(batch.index, texts, strict=True))
                meter.advance(len(batch))
    texts = [said[row] for row in asked.index]
    named = [names_option(text, question) for text, question in zip(texts, asked["question"], strict=True)]
    return asked.assign(model=job.model, text=texts, names_option=named)[COLUMNS].reset_index(drop=True)


def names_option(text: str, question: Question) -> bool:
    """Whether an option's number or label is in the text, as a word."""
    names = [*map(str, question.codes), *question.options]
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE) for name in names)


def write_responses(responses: pd.DataFrame, *, name: str, folder: Path) -> FileSet:
    """responses/<name>.parquet."""
    path = f"responses/{name}.parquet"
    write_table(responses, folder / path)
    return file_set(folder, [path], rows={"responses": len(responses)})
