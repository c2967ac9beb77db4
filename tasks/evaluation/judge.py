"""Which option a free text means, by a judge that sees the question and the text and never the persona; and how good the judge is.

    judged = judge_texts(texts, asks)                # texts: question (Question), text; one row of shares for each
    table = calibrate(asks)                          # against tasks/evaluation/calibration

Options are shown shuffled, and again in the opposite order: what a judge gives to a place and not to a meaning cancels. The judge may say that
the text means none of them.
"""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.evaluation.predictions import predictions_frame
from tasks.evaluation.reading import one_hot
from tasks.files import FileSet, file_set, write_table
from tasks.prompting.prompt import Question, numbered
from tasks.prompting.rewording import INSTRUCTIONS, letters

Asks = Callable[[pd.DataFrame], list[np.ndarray]]  # rows with prompt, labels and item -> p of each label
CALIBRATION = Path(__file__).parent / "calibration"
NONE = "The text does not say"
NO_TEXT = "..."  # what a judge makes of it is its leaning before it has read anything
USABLE_KAPPA = 0.6
READER = "open_ended"
RANKED = ("ordinal", "binary")


def judge_texts(texts: pd.DataFrame, asks: Asks, *, seed: int = 0) -> list[np.ndarray]:
    """For each row the judge's shares of its question's options, and last of none: [options + 1]. The mean over both orders, each relative to
    what the judge says of no text at all (Zhao et al. 2021, contextual calibration)."""
    empty = texts.drop_duplicates("item").assign(text=NO_TEXT)
    rows = pd.concat([_rows(part, forward=forward, seed=seed) for part in (texts, empty) for forward in (True, False)], ignore_index=True)
    shares = pd.Series(asks(rows), dtype=object)
    places = [np.argsort(order) for order in rows["order"]]
    rows["shares"] = [share[place] for share, place in zip(shares, places, strict=True)]
    leaning = {key: group["shares"].iloc[0] for key, group in rows[rows["text"] == NO_TEXT].groupby(["item", "forward"])}
    judged = [_relative(share, leaning[(item, forward)]) for share, item, forward in zip(rows["shares"], rows["item"], rows["forward"], strict=True)]
    size = len(texts)
    return [_settled(judged[place] + judged[size + place]) for place in range(size)]


def read_responses(responses: pd.DataFrame, judged: list[np.ndarray], *, model: str) -> pd.DataFrame:
    """Predictions of the reader open_ended: the judge's shares; no answer where the judge says that the text means none of the options."""
    kept = [shares[:-1] if shares.argmax() < len(shares) - 1 else np.zeros(len(shares) - 1) for shares in judged]
    return predictions_frame(responses, kept, model=model, reader=READER)


def labelled_texts() -> pd.DataFrame:
    """item, scale, style, text, question, place: the shipped answers, of which a person said what they mean (place: -1 for none)."""
    options = pd.read_csv(CALIBRATION / "options.csv").sort_values(["question_id", "position"])
    questions = {
        str(name): Question(rows["question"].iloc[0], tuple(rows["code"].tolist()), tuple(rows["option"].astype(str)))
        for name, rows in options.groupby("question_id")
    }
    scales = options.drop_duplicates("question_id").set_index("question_id")["scale"]
    answers = pd.read_csv(CALIBRATION / "answers.csv").rename(columns={"question_id": "item"})
    asked = [questions[item] for item in answers["item"]]
    answers["question"] = pd.Series(asked, dtype=object)
    answers["place"] = [-1 if pd.isna(code) else question.codes.index(int(code)) for code, question in zip(answers["code"], asked, strict=True)]
    return answers.assign(scale=answers["item"].map(scales))[["item", "scale", "style", "text", "question", "place"]]


def calibrate(asks: Asks, *, seed: int = 0) -> pd.DataFrame:
    """One row for all texts, each style, each kind of scale and each third of ordered scales: texts, accuracy, Cohen's kappa, and bias: by how much
    of the scale the judge is too high on average (texts that the judge gives a place). `usable`: kappa over all is at least 0.6."""
    texts = labelled_texts()
    judged = [int(shares.argmax()) for shares in judge_texts(texts, asks, seed=seed)]
    sizes = [len(question.codes) for question in texts["question"]]
    texts["judged"] = [place if place < size else -1 for place, size in zip(judged, sizes, strict=True)]
    texts["level"] = [_level(place, size=size) for place, size in zip(texts["place"], sizes, strict=True)]
    texts["error"] = [
        (judged - place) / (size - 1) if scale in RANKED and min(judged, place) >= 0 else np.nan
        for judged, place, size, scale in zip(texts["judged"], texts["place"], sizes, texts["scale"], strict=True)
    ]
    ranked = texts[texts["scale"].isin(RANKED) & (texts["place"] >= 0)]
    groups = {("all", "all"): texts}
    groups |= {("style", str(style)): rows for style, rows in texts.groupby("style")}
    groups |= {("scale", str(scale)): rows for scale, rows in texts.groupby("scale")}
    groups |= {("level", str(level)): rows for level, rows in ranked.groupby("level")}
    table = pd.DataFrame([{"dimension": dimension, "group": group} | _figures(rows) for (dimension, group), rows in groups.items()])
    return table.assign(usable=bool(table["kappa"].iloc[0] >= USABLE_KAPPA))


def write_calibration(table: pd.DataFrame, *, folder: Path) -> FileSet:
    """tables/judge.parquet."""
    write_table(table, folder / "tables" / "judge.parquet")
    return file_set(folder, ["tables/judge.parquet"], rows={"judge": len(table)})


def _rows(texts: pd.DataFrame, *, forward: bool, seed: int) -> pd.DataFrame:
    """What is asked in one order. `order`: which option (or none, the last) stands at each place."""
    orders = [_order(item, len(question.codes) + 1, seed=seed)[:: 1 if forward else -1] for item, question in _questions(texts)]
    prompts = [_prompt(question, text, order) for (_, question), text, order in zip(_questions(texts), texts["text"], orders, strict=True)]
    labels = [letters(len(order)) for order in orders]
    made = pd.DataFrame({"item": texts["item"].to_numpy(), "text": texts["text"].to_numpy(), "prompt": prompts, "forward": forward})
    return made.assign(order=pd.Series(orders, dtype=object), labels=pd.Series(labels, dtype=object), shared=made["item"] + f" {forward}")


def _questions(texts: pd.DataFrame) -> list[tuple[str, Question]]:
    return list(zip(texts["item"], texts["question"], strict=True))


def _order(item: str, size: int, *, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, zlib.crc32(item.encode())]).permutation(size)


def _prompt(question: Question, text: str, order: np.ndarray) -> str:
    named = [*question.options, NONE]
    listed = numbered(letters(len(order)), [named[place] for place in order])
    asked = "\n".join([f"Somebody was asked: {question.wording}", "Which of these does the answer mean?", *listed])
    return "\n\n".join([INSTRUCTIONS["letters"], asked, f'The answer: "{" ".join(text.split())}"'])


def _relative(shares: np.ndarray, leaning: np.ndarray) -> np.ndarray:
    """Shares divided by the leaning, to 1 again. A judge that gave no answer to the text gives none; one without a leaning is taken as it is."""
    if not shares.any():
        return shares
    relative = shares / np.maximum(leaning, 1e-6) if leaning.any() and leaning.max() < 1 else shares
    scaled: np.ndarray = relative / relative.sum()
    return scaled


def _settled(shares: np.ndarray) -> np.ndarray:
    """To 1; all on none where the judge gave no answer in either order."""
    if not shares.any():
        return one_hot(len(shares) - 1, size=len(shares))
    settled: np.ndarray = shares / shares.sum()
    return settled


def _level(place: int, *, size: int) -> str:
    """The third of the scale in which a place is."""
    return ("low", "middle", "high")[min(2, int(3 * place / (size - 1)))] if place >= 0 else "none"


def _figures(texts: pd.DataFrame) -> dict[str, Any]:
    return {
        "texts": len(texts),
        "accuracy": (texts["place"] == texts["judged"]).mean(),
        "kappa": kappa_within_questions(texts),
        "bias": texts["error"].mean(),
        "none": int((texts["judged"] == -1).sum()),
    }


def kappa_within_questions(texts: pd.DataFrame) -> float:
    """Cohen's kappa (1960) of `place` and `judged`, chance agreement within each `item`: what places mean differs between questions."""
    same = (texts["place"] == texts["judged"]).mean()
    chance = 0.0
    for _, rows in texts.groupby("item"):
        shares, others = rows["place"].value_counts(normalize=True), rows["judged"].value_counts(normalize=True)
        chance += len(rows) * sum(shares[place] * others.get(place, 0.0) for place in shares.index)
    expected = chance / len(texts)
    return float((same - expected) / (1 - expected)) if expected < 1 else float("nan")
