"""Scoring against lm-evaluation-harness (Gao et al. 2024), paired in one run: ratios, not seconds, are the result.

    python -m benchmarks.scoring --json scoring.json [--quick] [--types float32] [--peer-python OTHER/bin/python]

The sample study's model and test pairs, the same tokens for both: the prompt, and each option's tokens after it. Sides take turns, each in a process
of its own, on questions of which every option is one token:

- ours: the reader first_token, prompts of one question sharing what they begin with. As with lm-eval, the tokens are there when the clock starts, and
  one batch has been read; so is the probe by which a model is found fit for packing.
- lm_eval: HFLM, its log-likelihood of every option, at the best of several batch sizes. It too runs a prompt once for all options of one token.

`agreement`: the share of pairs for which both choose the same option, and every other pair with how near its two options are. `likelihood`: whole
options, the turn's end included, the same way, on fewer pairs, half of them of questions with an option of two tokens (10): there lm-eval runs
each option.

lm-eval is not among the project's dependencies: `pip install lm-eval` in an environment of its own that has the project's packages, and name its
interpreter.
"""

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from benchmarks.sides import Clock, leave_side, pairs_file, prepare_sample, run_side
from tasks.evaluation.asking import TEST_SPLITS
from tasks.evaluation.scoring import Batch, ScoringJob, batches_of, reader_for
from tasks.prompting.tree import PromptEncoder
from tasks.study import ModelSection
from tasks.study_evaluation import Reader
from tasks.training.model import LoadedModel, load_model

ROUNDS, QUESTIONS, SUBGROUPS = 3, 16, 32
WHOLE_PAIRS, WHOLE_QUESTIONS = 48, 4
PEER_BATCHES, OUR_BATCHES = (8, 16, 32), (16, 32, 64)
TYPES: tuple[Literal["bfloat16", "float32"], ...] = ("bfloat16", "float32")
NEAR_TIE = 1e-3  # difference of two options' log-probabilities


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="Few pairs: shows that it runs, and measures nothing.")
    parser.add_argument("--pairs", type=int, default=QUESTIONS * SUBGROUPS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--types", nargs="+", choices=TYPES, default=TYPES, help="How weights are held.")
    parser.add_argument("--peer-python", default=sys.executable, help="An interpreter that has lm-eval.")
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)  # one side, in its own process
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.pairs, arguments.rounds = 8, 1
    if arguments.side:
        leave_side(_run_side(arguments.side[0], Path(arguments.side[1]), count=arguments.pairs), arguments.json)
        return
    with tempfile.TemporaryDirectory() as name:
        prepare_sample(Path(name))
        results = {held_in: _measure(Path(name), held_in, arguments) for held_in in arguments.types}
    arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


def _measure(folder: Path, held_in: str, arguments: argparse.Namespace) -> dict[str, Any]:
    def side(program: str, batch: int, reader: Reader = "first_token", *, pairs: int = arguments.pairs) -> dict[str, Any]:
        python = arguments.peer_python if program == "lm_eval" else sys.executable
        return run_side("benchmarks.scoring", f"{program} {held_in} {reader} {batch}", folder, python=python, options={"pairs": pairs})

    few = min(arguments.pairs, 2 * SUBGROUPS)
    tried = {
        program: {batch: side(program, batch, pairs=few)["samples_per_second"] for batch in batches}
        for program, batches in (("ours", OUR_BATCHES), ("lm_eval", PEER_BATCHES))
    }
    best = {program: max(speeds, key=speeds.__getitem__) for program, speeds in tried.items()}
    rounds = [{program: side(program, batch) for program, batch in best.items()} for _ in range(arguments.rounds)]
    whole = {program: side(program, batch, "likelihood", pairs=min(arguments.pairs, WHOLE_PAIRS)) for program, batch in best.items()}
    return {
        "ratio_vs_lm_eval": _ratio(rounds, "samples_per_second"),
        "ratio_vs_lm_eval_in_cpu_time": _ratio(rounds, "samples_per_cpu_second"),
        "ratio_vs_lm_eval_likelihood": _ratio([whole], "samples_per_second"),
        **_agreement(rounds[0]),
        "likelihood": _agreement(whole),
        "tried": tried,
        "rounds": [{program: {key: value for key, value in found.items() if key != "options"} for program, found in one.items()} for one in rounds],
    }


def _ratio(rounds: list[dict[str, dict[str, Any]]], by: str) -> float:
    return round(statistics.median(float(one["ours"][by]) / float(one["lm_eval"][by]) for one in rounds), 2)


def _agreement(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """`differences`: for each pair with two choices, by how much the peer's choice is ahead of ours in its log-probabilities and in ours."""
    ours, theirs = ([np.array(row) for row in found[program]["options"]] for program in ("ours", "lm_eval"))
    other = [(one, two) for one, two in zip(ours, theirs, strict=True) if one.argmax() != two.argmax()]
    ahead = [[round(float(row[two.argmax()] - row[one.argmax()]), 5) for row in (two, one)] for one, two in other]
    return {
        "agreement": 1 - len(other) / len(ours),
        "differences": ahead,
        "near_ties": sum(max(map(abs, pair)) < NEAR_TIE for pair in ahead),
        "largest_difference": max(float(np.abs(one - two).max()) for one, two in zip(ours, theirs, strict=True)),
    }


def _run_side(name: str, folder: Path, *, count: int) -> dict[str, Any]:
    program, held_in, reader, batch = name.split()
    loaded = load_model(folder / "model", ModelSection.model_validate({"dtype": held_in}))
    job = ScoringJob(
        model="base", variants=("plain",), group_by="item", loaded_as=ModelSection(), pairs_per_forward=int(batch), seed=0,
        reader="likelihood" if reader == "likelihood" else "first_token",
    )  # fmt: skip
    asked = (_asked_of_whole_options if reader == "likelihood" else _asked)(pairs_file(folder), count)
    batches = batches_of(asked, PromptEncoder(loaded.tokenizer), job=job)
    return _lm_eval(loaded, batches, job=job) if program == "lm_eval" else _ours(loaded, batches, job=job)


def _asked(path: Path, count: int) -> pd.DataFrame:
    """Test pairs of the questions of at most nine options: some questions, with equally many subgroups each, in the table's order."""
    pairs = _test_pairs(path)
    pairs = pairs[pairs["codes"].map(max) <= 9]
    return _of_questions(pairs, count=count, questions=max(1, count // SUBGROUPS))


def _asked_of_whole_options(path: Path, count: int) -> pd.DataFrame:
    """Test pairs of a few questions, every second of which has an option of two tokens."""
    pairs = _test_pairs(path)
    ten = pairs["codes"].map(max) == 10
    half = [_of_questions(pairs[rows], count=count // 2, questions=WHOLE_QUESTIONS // 2) for rows in (ten, ~ten)]
    return pd.concat(half, ignore_index=True)


def _test_pairs(path: Path) -> pd.DataFrame:
    pairs = pd.read_parquet(path)
    return pairs[pairs["split"].isin(TEST_SPLITS)].assign(variant="plain")


def _of_questions(pairs: pd.DataFrame, *, count: int, questions: int) -> pd.DataFrame:
    """The first questions, with equally many subgroups each."""
    items = pairs["item"].drop_duplicates().iloc[:questions]
    return pairs[pairs["item"].isin(items)].groupby("item", sort=False).head(max(1, count // questions)).reset_index(drop=True)


def _ours(loaded: LoadedModel, batches: list[Batch], *, job: ScoringJob) -> dict[str, Any]:
    reader, clock, found = reader_for(loaded, batches, job=job), Clock(), list[np.ndarray]()
    with torch.inference_mode():
        reader.read(batches[0])
        clock.tick()
        for batch in batches:
            found += reader.read(batch)
    clock.tick()
    return {**clock.speed(len(found)), "options": [np.log(row).tolist() for row in found]}


def _lm_eval(loaded: LoadedModel, batches: list[Batch], *, job: ScoringJob) -> dict[str, Any]:
    from lm_eval.models.huggingface import HFLM  # type: ignore[import-not-found]

    harness = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=job.pairs_per_forward, device="cpu", softmax_dtype="float32")
    encoded = [prompt for batch in batches for prompt in batch.encoded]
    first = job.reader == "first_token"
    prompts = [replace(prompt, options=tuple(option[:1] for option in prompt.options)) for prompt in encoded] if first else encoded
    requests = [
        ((str(number), str(place)), list(prompt.tokens), [step.token for step in option])
        for number, prompt in enumerate(prompts)
        for place, option in enumerate(prompt.options)
    ]
    clock = Clock()
    with torch.inference_mode():
        harness._loglikelihood_tokens(requests[:2], disable_tqdm=True)
        clock.tick()
        answers = iter(harness._loglikelihood_tokens(requests, disable_tqdm=True))
    clock.tick()
    return {**clock.speed(len(prompts)), "options": [[next(answers)[0] for _ in prompt.options] for prompt in prompts]}


if __name__ == "__main__":
    main()
