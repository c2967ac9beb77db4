"""What a local model answers, by any reader, and in other words.

    predictions = score(pairs, model_folder, adapter=None, job=job_of(study, model="base", controls=True))
    more = compare(pairs, marts, model_folder, adapter=None, job=job, study=study)

A prompt that several rows ask (the blank persona; a persona handed to another subgroup) goes through the model once.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch

from tasks.evaluation.asking import Marts, Variant, asked_pairs, compared_pairs, labels_of, reworded_pairs
from tasks.evaluation.generation import Generator
from tasks.evaluation.open_ended import MOST_TOKENS, TEMPERATURE, responses_frame
from tasks.evaluation.predictions import predictions_frame
from tasks.evaluation.reading import one_hot, read_text
from tasks.progress import Meter
from tasks.prompting.tree import EncodedPrompt, PromptEncoder
from tasks.study import ModelSection, Study
from tasks.study_evaluation import Reader
from tasks.training.forward import scorer_for
from tasks.training.model import LoadedModel, load_model


@dataclass(frozen=True)
class ScoringJob:
    """`variants`: plain, and the controls to ask too; `group_by`: the column whose pairs share a prompt's beginning."""

    model: str
    variants: tuple[Variant, ...]
    group_by: str
    loaded_as: ModelSection
    pairs_per_forward: int
    seed: int
    reader: Reader = "likelihood"
    answer_tokens: int = 16


class Batch:
    """Prompts that begin alike, encoded, and what their options are called."""

    def __init__(self, rows: pd.DataFrame, encoder: PromptEncoder) -> None:
        self.prompts, self.labels = list(rows["prompt"]), labels_of(rows)
        self.encoded = [encoder.encode(text, codes=labels) for text, labels in zip(self.prompts, self.labels, strict=True)]


def job_of(study: Study, *, model: Literal["base", "tuned", "order0"], controls: bool) -> ScoringJob:
    """`controls`: whether to ask with a blank and with a permuted persona, too."""
    return ScoringJob(
        model=model,
        variants=("plain", "blank_persona", "permuted_persona") if controls else ("plain",),
        group_by=study.prompt.shared_by,
        loaded_as=study.model,
        pairs_per_forward=study.evaluation.pairs_per_forward,
        seed=study.seed,
        reader=study.evaluation.reader,
        answer_tokens=study.evaluation.server.answer_tokens,
    )


def score(pairs: pd.DataFrame, model: Path, *, adapter: Path | None, job: ScoringJob) -> pd.DataFrame:
    """Predictions of a model on both test splits: one row per variant and pair (columns: tasks/evaluation/predictions.py)."""
    loaded = load_model(model, job.loaded_as, adapter=adapter)
    return ask(asked_pairs(pairs, job.variants, seed=job.seed), loaded, job=job)


def compare(pairs: pd.DataFrame, marts: Marts, model: Path, *, adapter: Path | None, job: ScoringJob, study: Study) -> pd.DataFrame:
    """Predictions by the study's other readers, and by its own of the study's variants, on the compared pairs."""
    loaded = load_model(model, job.loaded_as, adapter=adapter)
    chosen = compared_pairs(pairs, size=study.evaluation.compared_pairs, seed=job.seed)
    frames = [ask(chosen.assign(variant="plain"), loaded, job=replace(job, reader=reader)) for reader in study.evaluation.other_readers]
    frames.append(ask(reworded_pairs(chosen, marts, study), loaded, job=replace(job, group_by="shared")))
    return pd.concat([frame for frame in frames if len(frame)] or frames, ignore_index=True)


def ask(asked: pd.DataFrame, loaded: LoadedModel, *, job: ScoringJob) -> pd.DataFrame:
    """Predictions for rows of tasks/evaluation/asking.py, by the job's reader."""
    return predictions_frame(asked, probabilities(asked, loaded, job=job), model=job.model, reader=job.reader, precision=loaded.precision)


def probabilities(asked: pd.DataFrame, loaded: LoadedModel, *, job: ScoringJob) -> list[np.ndarray]:
    """For each row p of its options: [options]."""
    distinct = asked.drop_duplicates("prompt")
    batches = batches_of(distinct, PromptEncoder(loaded.tokenizer), job=job, generates=job.reader == "generated")
    reader = reader_for(loaded, batches, job=job)
    answered: dict[str, np.ndarray] = {}
    with torch.inference_mode(), Meter(f"asking the {job.model} model", len(distinct)) as meter:
        for batch in batches:
            answered.update(zip(batch.prompts, reader.read(batch), strict=True))
            meter.advance(len(batch.prompts))
    return [answered[prompt] for prompt in asked["prompt"]]


def batches_of(asked: pd.DataFrame, encoder: PromptEncoder, *, job: ScoringJob, generates: bool = False) -> list[Batch]:
    """At most as many rows as the job has in a forward pass: whole groups where they fit, for a group shares what it begins with; where each row is
    to be continued for many tokens (`generates`) of any groups, but of about one length."""
    if generates:
        groups = [asked.sort_values("prompt", key=lambda texts: texts.str.len(), kind="stable")]
    else:
        groups = [rows for _, rows in asked.groupby(job.group_by, sort=False)]
    size = job.pairs_per_forward
    batches: list[list[pd.DataFrame]] = []
    for part in (rows.iloc[start : start + size] for rows in groups for start in range(0, len(rows), size)):
        if batches and sum(map(len, batches[-1])) + len(part) <= size:
            batches[-1].append(part)
        else:
            batches.append([part])
    return [Batch(pd.concat(parts), encoder) for parts in batches]


def reader_for(loaded: LoadedModel, batches: list[Batch], *, job: ScoringJob) -> "AnswerReader":
    """The job's reader; a likelihood is read from packed prompts if some of these, packed, give what they give padded."""
    return _ByGeneration(loaded, job) if job.reader == "generated" else _ByProbability(loaded, batches, job=job)


def respond(asked: pd.DataFrame, loaded: LoadedModel, *, job: ScoringJob) -> pd.DataFrame:
    """One text for each pair, drawn by the job's seed and the prompt."""
    generator = Generator(loaded, most_tokens=MOST_TOKENS, temperature=TEMPERATURE, seed=job.seed)
    batches, said = batches_of(asked.drop_duplicates("prompt"), PromptEncoder(loaded.tokenizer), job=job, generates=True), dict[str, str]()
    with Meter(f"the {job.model} model answers freely", sum(len(batch.prompts) for batch in batches)) as meter:
        for batch in batches:
            said.update(zip(batch.prompts, generator(batch.encoded), strict=True))
            meter.advance(len(batch.prompts))
    return responses_frame(asked, [said[prompt] for prompt in asked["prompt"]], model=job.model)


def judging(model: Path, *, job: ScoringJob) -> Callable[[pd.DataFrame], list[np.ndarray]]:
    """The base model as a judge (tasks/evaluation/judge.py): the likelihood of each option after the text."""
    loaded = load_model(model, job.loaded_as)
    return lambda rows: probabilities(rows, loaded, job=replace(job, model="judge", reader="likelihood", group_by="shared"))


class AnswerReader:
    def read(self, batch: Batch) -> list[np.ndarray]:
        """For each prompt p of its options: [options]."""
        raise NotImplementedError


class _ByProbability(AnswerReader):
    """likelihood: of the whole option, its end included. first_token: of the option's first token alone, which options that begin with the same
    token share alike (with a token for each digit, 1 and 10): nothing in that token tells them apart."""

    def __init__(self, loaded: LoadedModel, batches: list[Batch], *, job: ScoringJob) -> None:
        self._scorer = scorer_for(loaded.model, [prompt for batch in batches for prompt in batch.encoded])
        self._whole = job.reader == "likelihood"

    def read(self, batch: Batch) -> list[np.ndarray]:
        encoded = batch.encoded if self._whole else [_first_tokens(prompt) for prompt in batch.encoded]
        shares = [row.double().exp().cpu().numpy() for row in self._scorer(encoded, leads=False).options]
        return shares if self._whole else [row / _sharers(prompt) for row, prompt in zip(shares, encoded, strict=True)]


class _ByGeneration(AnswerReader):
    """What the model says by itself, parsed strictly."""

    def __init__(self, loaded: LoadedModel, job: ScoringJob) -> None:
        self._generator = Generator(loaded, most_tokens=job.answer_tokens, seed=job.seed)

    def read(self, batch: Batch) -> list[np.ndarray]:
        texts = self._generator(batch.encoded)
        return [one_hot(read_text(text, labels=labels), size=len(labels)) for text, labels in zip(texts, batch.labels, strict=True)]


def _first_tokens(prompt: EncodedPrompt) -> EncodedPrompt:
    return replace(prompt, nodes=(), options=tuple(option[:1] for option in prompt.options))


def _sharers(prompt: EncodedPrompt) -> np.ndarray:
    """How many options begin with each option's first token: [options]."""
    firsts = [option[0].token for option in prompt.options]
    return np.array([firsts.count(token) for token in firsts])
