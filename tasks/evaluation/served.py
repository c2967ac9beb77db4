"""What a served model answers: asked once for each prompt, then read by its first token and as generated.

    till = Till(registry, study, taken=spent_by([]))
    answers = till.ask(asked, served)                                # one row per prompt
    predictions = read_answers(asked, answers, model="base")
    till.leave("test_pairs", folder)                                 # server/test_pairs.json: what it took

Asking is slow, costs money and may stop midway; reading is neither, and can be done again.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.evaluation.asking import Marts, Variant, asked_pairs, compared_pairs, labels_of, reworded_pairs
from tasks.evaluation.backends.answers import Answer, Token, Usage
from tasks.evaluation.backends.cache import AnswerCache
from tasks.evaluation.backends.ledger import NOTHING, Ledger
from tasks.evaluation.backends.openai_server import Access, ServedModel, ask_all
from tasks.evaluation.open_ended import MOST_TOKENS, responses_frame
from tasks.evaluation.predictions import predictions_frame
from tasks.evaluation.reading import first_token_probabilities, one_hot, read_text
from tasks.files import FileSet, file_set, write_json, write_table
from tasks.study import Study

USAGE = "server"  # the folder of what steps took
COUNTED = ("empty", "without_log_probabilities")
CONTROLS: tuple[Variant, ...] = ("plain", "blank_persona", "permuted_persona")


class Till:
    """Where a step asks servers: answers are kept in the workspace's registry, and the study's budget holds, of which steps before have `taken`.

    An answer that two steps use (a judge's, of the same text) is asked for once and counts for both: the budget may end too early, never too late.
    """

    def __init__(self, registry: Path, study: Study, *, taken: Usage) -> None:
        self._registry, self._section, self._taken = registry, study.evaluation, taken
        self._usages: list[dict[str, Any]] = []

    def ask(self, asked: pd.DataFrame, served: ServedModel) -> pd.DataFrame:
        """Every prompt once: prompt, text, finish, tokens (JSON; null without log-probabilities). Raises what `ask_all` raises: then nothing is
        read, and what was answered is kept."""
        ledger = Ledger(self._section.budget, prices=self._section.server.prices, before=self._taken)
        with AnswerCache(self._registry) as cache:
            answered = ask_all(list(asked["prompt"]), served=served, cache=cache, ledger=ledger)
        self._taken += ledger.spent
        self._usages.append(_usage(answered, served, ledger))
        return _answers_frame(answered)

    def leave(self, step: str, folder: Path) -> list[str]:
        """server/<step>.json, when the step asked; the file's name, if any."""
        usage = summed_usage(self._usages)
        if usage is None:
            return []
        name = f"{USAGE}/{step}.json"
        write_json(folder / name, {key: self._usages[0][key] for key in ("model", "parameters")} | usage)
        return [name]


def spent_by(steps: Iterable[FileSet]) -> Usage:
    """What these steps took of the study's budget, by what they left."""
    names = [step.path(name) for step in steps for name in step.files if name.startswith(f"{USAGE}/")]
    return sum((Usage.model_validate(json.loads(path.read_text(encoding="utf-8"))["spent"]) for path in names), NOTHING)


def summed_usage(usages: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What several askings took; None for none."""
    if not usages:
        return None
    failed: Counter[str] = Counter()
    for usage in usages:
        failed.update(usage["failed_attempts"])
    found: dict[str, Any] = {name: _added([usage[name] for usage in usages]) for name in ("answers", "spent")}
    return found | {"failed_attempts": dict(failed)} | {name: sum(usage[name] for usage in usages) for name in COUNTED}


def _added(taken: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """No total cost where a part has none."""
    columns = {name: [part[name] for part in taken] for name in (*Usage.model_fields, "cost")}
    return {name: None if None in held else sum(value for value in held if value is not None) for name, held in columns.items()}


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


def write_answers(answers: pd.DataFrame, till: Till, *, folder: Path) -> FileSet:
    """tables/server_answers.parquet and server/test_pairs.json."""
    write_table(answers, folder / "tables" / "server_answers.parquet")
    return file_set(folder, ["tables/server_answers.parquet", *till.leave("test_pairs", folder)], rows={"server_answers": len(answers)})


def read_answers(asked: pd.DataFrame, answers: pd.DataFrame, *, model: str) -> dict[str, pd.DataFrame]:
    """reader -> predictions. generated: every answer, parsed strictly. first_token: only where the server gives log-probabilities; an answer
    without them, or in which no option is listed, is no answer."""
    read = _probabilities(asked, answers)
    return {reader: predictions_frame(asked, shares, model=model, reader=reader) for reader, shares in read.items()}


def judging(served: ServedModel, till: Till) -> Callable[[pd.DataFrame], list[np.ndarray]]:
    """A served model as a judge (tasks/evaluation/judge.py), by its log-probabilities where there are any."""

    def asks(rows: pd.DataFrame) -> list[np.ndarray]:
        read = _probabilities(rows, till.ask(rows, served))
        return read[headline_reader(read)]

    return asks


def respond(asked: pd.DataFrame, served: ServedModel, till: Till) -> pd.DataFrame:
    """Free answers (tasks/evaluation/open_ended.py)."""
    freely = replace(served, settings=served.settings.model_copy(update={"answer_tokens": MOST_TOKENS}))
    answers = till.ask(asked, freely).set_index("prompt")
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
    """`answers`: what the answers that are used took, whenever they were given; `spent`: with every attempt that failed."""
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
