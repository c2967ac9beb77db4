"""What a served model answers: asked once for each prompt, then read by its first token and as generated.

    answers = ask_server(asked, served, cache=cache, ledger=ledger)          # one row per prompt
    predictions = read_answers(asked, answers, model="base")

Asking is slow, costs money and may stop midway; reading is neither, and can be done again.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tasks.evaluation.asking import Marts, Variant, asked_pairs, compared_pairs, labels_of, reworded_pairs
from tasks.evaluation.backends.answers import Answer, Token, Usage
from tasks.evaluation.backends.cache import AnswerCache
from tasks.evaluation.backends.ledger import Ledger
from tasks.evaluation.backends.openai_server import Access, ServedModel, ask_all
from tasks.evaluation.open_ended import MOST_TOKENS, responses_frame
from tasks.evaluation.predictions import predictions_frame
from tasks.evaluation.reading import first_token_probabilities, one_hot, read_text
from tasks.files import FileSet, file_set, write_json, write_table
from tasks.study import Study
from tasks.study_evaluation import BudgetSection

USAGE = "server.json"


CONTROLS: tuple[Variant, ...] = ("plain", "blank_persona", "permuted_persona")


class Asked(NamedTuple):
    """`answers`: prompt, text, finish, tokens (JSON; null without log-probabilities); `usage`: what asking took, for the run's folder."""

    answers: pd.DataFrame
    usage: dict[str, Any]


def served_of(study: Study, access: Access) -> ServedModel:
    """Raises ValueError for a study whose model is not served."""
    if study.model.served_name is None:
        raise ValueError(f"model {study.model.name} is on no server")
    return ServedModel(study.model.served_name, access, study.evaluation.server)


def everything_asked(pairs: pd.DataFrame, marts: Marts, study: Study) -> pd.DataFrame:
    """Both test splits with the controls, and the compared pairs in the study's variants."""
    chosen = compared_pairs(pairs, size=study.evaluation.compared_pairs, seed=study.seed)
    return pd.concat([asked_pairs(pairs, CONTROLS, seed=study.seed), reworded_pairs(chosen, marts, study)], ignore_index=True)


def headline(pairs: pd.DataFrame, answers: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Predictions on both test splits, controls included, by log-probabilities where the server gives them, else by the parsed text."""
    read = read_answers(asked_pairs(pairs, CONTROLS, seed=study.seed), answers, model="base")
    return read[headline_reader(read)]


def compare(pairs: pd.DataFrame, marts: Marts, answers: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Predictions on the compared pairs: plain by the reader that is not the headline's, if there is one, and the variants by the headline's."""
    chosen = compared_pairs(pairs, size=study.evaluation.compared_pairs, seed=study.seed)
    plain = read_answers(chosen.assign(variant="plain"), answers, model="base")
    reworded = read_answers(reworded_pairs(chosen, marts, study), answers, model="base")
    usual = headline_reader(plain)
    return pd.concat([*(rows for reader, rows in plain.items() if reader != usual), reworded.get(usual, reworded["generated"].head(0))])


def ask_within(asked: pd.DataFrame, served: ServedModel, *, registry: Path, budget: BudgetSection) -> Asked:
    """`ask_server` with the answers kept in a registry, under a budget."""
    with AnswerCache(registry) as cache:
        return ask_server(asked, served, cache=cache, ledger=Ledger(budget, prices=served.settings.prices))


def ask_server(asked: pd.DataFrame, served: ServedModel, *, cache: AnswerCache, ledger: Ledger) -> Asked:
    """Every prompt once. Raises what `ask_all` raises: then nothing is read, and what was answered is kept."""
    answered = ask_all(list(asked["prompt"]), served=served, cache=cache, ledger=ledger)
    return Asked(_answers_frame(answered), _usage(answered, served, ledger))


def write_answers(asked: Asked, *, folder: Path) -> FileSet:
    """tables/server_answers.parquet and server.json."""
    write_table(asked.answers, folder / "tables" / "server_answers.parquet")
    write_json(folder / USAGE, asked.usage)
    return file_set(folder, ["tables/server_answers.parquet", USAGE], rows={"server_answers": len(asked.answers)})


def read_answers(asked: pd.DataFrame, answers: pd.DataFrame, *, model: str) -> dict[str, pd.DataFrame]:
    """reader -> predictions. generated: every answer, parsed strictly. first_token: only where the server gives log-probabilities; an answer
    without them, or in which no option is listed, is no answer."""
    read = _probabilities(asked, answers)
    return {reader: predictions_frame(asked, shares, model=model, reader=reader) for reader, shares in read.items()}


def judging(served: ServedModel, *, registry: Path, budget: BudgetSection) -> Callable[[pd.DataFrame], list[np.ndarray]]:
    """A served model as a judge (tasks/evaluation/judge.py), by its log-probabilities where there are any."""

    def asks(rows: pd.DataFrame) -> list[np.ndarray]:
        read = _probabilities(rows, ask_within(rows, served, registry=registry, budget=budget).answers)
        return read[headline_reader(read)]

    return asks


def respond(asked: pd.DataFrame, served: ServedModel, *, registry: Path, budget: BudgetSection) -> pd.DataFrame:
    """Free answers (tasks/evaluation/open_ended.py)."""
    freely = replace(served, settings=served.settings.model_copy(update={"answer_tokens": MOST_TOKENS}))
    answers = ask_within(asked, freely, registry=registry, budget=budget).answers.set_index("prompt")
    return responses_frame(asked, list(answers["text"].loc[list(asked["prompt"])]), model="base")


def _probabilities(asked: pd.DataFrame, answers: pd.DataFrame) -> dict[str, list[np.ndarray]]:
    said, labels = answers.set_index("prompt").loc[list(asked["prompt"])], labels_of(asked)
    read = {"generated": [one_hot(read_text(text, labels=called), size=len(called)) for text, called in zip(said["text"], labels, strict=True)]}
    if said["tokens"].notna().any():
        read["first_token"] = [_first_token(tokens, labels=called) for tokens, called in zip(said["tokens"], labels, strict=True)]
    return read


def headline_reader(read: Mapping[str, object]) -> str:
    """Log-probabilities where the server gives them, else the parsed text."""
    return "first_token" if "first_token" in read else "generated"


def _first_token(tokens: str | None, *, labels: tuple[str, ...]) -> np.ndarray:
    given = [Token.model_validate(token) for token in json.loads(tokens)] if isinstance(tokens, str) else []
    shares = first_token_probabilities(given, labels)
    return np.zeros(len(labels)) if shares is None else shares


def _answers_frame(answered: dict[str, Answer]) -> pd.DataFrame:
    rows = [
        {
            "prompt": prompt,
            "text": answer.text,
            "finish": answer.finish,
            "tokens": json.dumps([token.model_dump() for token in answer.tokens]) if answer.tokens else None,
        }
        for prompt, answer in answered.items()
    ]
    return pd.DataFrame(rows, columns=["prompt", "text", "finish", "tokens"])


def _usage(answered: dict[str, Answer], served: ServedModel, ledger: Ledger) -> dict[str, Any]:
    """`answers`: what the answers that are used took, whenever they were given; `spent`: with every attempt of this run that failed."""
    total = sum((answer.usage or Usage(requests=1) for answer in answered.values()), Usage())
    return {
        "model": served.name,
        "parameters": served.parameters(),
        "answers": total.model_dump() | {"cost": ledger.cost_of(total)},
        "spent": ledger.spent.model_dump() | {"cost": ledger.cost_of(ledger.spent)},
        "failed_attempts": dict(ledger.failures),
        "empty": sum(not answer.text for answer in answered.values()),
        "without_log_probabilities": sum(answer.tokens is None for answer in answered.values()),
    }
