"""What a model answers: the likelihood reader over pairs, and the controls.

    predictions = score(pairs, model_folder, adapter=None, job=ScoringJob(model="base", ...))

A prompt that several rows ask (the blank persona; a persona handed to another subgroup) goes through the model once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch

from tasks.evaluation.predictions import predictions_frame
from tasks.progress import Meter
from tasks.prompting.tree import EncodedPrompt, PromptEncoder
from tasks.study import ModelSection, Study
from tasks.training.forward import scorer_for
from tasks.training.model import load_model

TEST_SPLITS = ("id_test", "ood_test")
Variant = Literal["plain", "blank_persona", "permuted_persona"]


@dataclass(frozen=True)
class ScoringJob:
    """`variants`: plain, and the controls to ask too; `group_by`: the column whose pairs share a prompt's beginning."""

    model: str
    variants: tuple[Variant, ...]
    group_by: str
    loaded_as: ModelSection
    pairs_per_forward: int
    seed: int


def job_of(study: Study, *, model: Literal["base", "tuned"], controls: bool) -> ScoringJob:
    """`controls`: whether to ask with a blank and with a permuted persona, too."""
    return ScoringJob(
        model=model,
        variants=("plain", "blank_persona", "permuted_persona") if controls else ("plain",),
        group_by=study.prompt.shared_by,
        loaded_as=study.model,
        pairs_per_forward=study.evaluation.pairs_per_forward,
        seed=study.seed,
    )


def score(pairs: pd.DataFrame, model: Path, *, adapter: Path | None, job: ScoringJob) -> pd.DataFrame:
    """Predictions of a model on both test splits: one row per variant and pair (columns: tasks/evaluation/predictions.py)."""
    asked = pd.concat([_variant(pairs, variant, seed=job.seed) for variant in job.variants], ignore_index=True)
    distinct = asked.drop_duplicates("prompt")
    answered = _answer(distinct, model, adapter=adapter, job=job)
    log_probabilities = [answered[prompt] for prompt in asked["prompt"]]
    return predictions_frame(asked, [np.exp(row) for row in log_probabilities], model=job.model, reader="likelihood")


def _variant(pairs: pd.DataFrame, variant: Variant, *, seed: int) -> pd.DataFrame:
    """The test pairs with the prompts of a variant."""
    test = pairs[pairs["split"].isin(TEST_SPLITS)].assign(variant=variant)
    if variant == "plain":
        return test
    if variant == "blank_persona":
        blank = pairs[pairs["subgroup_order"] == 0].set_index("item")["prompt"]
        return test.assign(prompt=test["item"].map(blank))
    return test.assign(prompt=_permuted_prompts(test, pairs=pairs, seed=seed))


def _permuted_prompts(test: pd.DataFrame, *, pairs: pd.DataFrame, seed: int) -> pd.Series:
    """Within a question and split every subgroup gets the persona of another one: a seeded order, moved on by one. One that is alone there gets
    that of any other subgroup of the question."""
    generator = np.random.default_rng(seed)
    permuted = pd.Series(index=test.index, dtype=object)
    for _, rows in test.groupby(["item", "split"]):
        order = generator.permutation(rows.index.to_numpy())
        permuted.loc[order] = test.loc[np.roll(order, 1), "prompt"].to_numpy()
        if len(order) == 1:
            permuted.loc[order] = _prompt_of_another(rows.iloc[0], test=test, pairs=pairs, generator=generator)
    return permuted


def _prompt_of_another(alone: pd.Series, *, test: pd.DataFrame, pairs: pd.DataFrame, generator: np.random.Generator) -> str:
    """Best one that is asked anyway; its own where the question has no other subgroup at all."""
    for candidates in (test, pairs[pairs["subgroup_order"] > 0]):
        others = candidates[(candidates["item"] == alone["item"]) & (candidates["subgroup_id"] != alone["subgroup_id"])]
        if len(others):
            return str(others["prompt"].sample(1, random_state=generator).iloc[0])
    return str(alone["prompt"])


def _answer(asked: pd.DataFrame, model: Path, *, adapter: Path | None, job: ScoringJob) -> dict[str, np.ndarray]:
    """prompt -> log p of its options."""
    loaded = load_model(model, job.loaded_as, adapter=adapter)
    batches = list(_batches(asked, PromptEncoder(loaded.tokenizer), job=job))
    scorer = scorer_for(loaded.model, [prompt for _, encoded in batches for prompt in encoded])
    answered: dict[str, np.ndarray] = {}
    with torch.inference_mode(), Meter(f"asking the {job.model} model", len(asked)) as meter:
        for texts, encoded in batches:
            options = scorer(encoded, leads=False).options
            answered.update((text, row.double().cpu().numpy()) for text, row in zip(texts, options, strict=True))
            meter.advance(len(texts))
    return answered


def _batches(asked: pd.DataFrame, encoder: PromptEncoder, *, job: ScoringJob) -> Iterator[tuple[list[str], list[EncodedPrompt]]]:
    for _, rows in asked.groupby(job.group_by, sort=False):
        for start in range(0, len(rows), job.pairs_per_forward):
            batch = rows.iloc[start : start + job.pairs_per_forward]
            yield list(batch["prompt"]), [encoder.encode(text, codes=codes) for text, codes in zip(batch["prompt"], batch["codes"], strict=True)]
