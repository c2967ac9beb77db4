"""A tiny tokenizer, tiny random models and made-up pairs: the training and evaluation stages in seconds.

folder = save_model(tmp_path / "model", "llama")
pairs = made_up_pairs()
"""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from tasks.files import FileSet, file_set, write_table
from tasks.prompting.prompt import INSTRUCTION, SYSTEM, Question, render_prompt

TERMINATOR = "<|im_end|>"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SEXES, AGES = ("Female", "Male"), ("young", "old")
QUESTIONS = {
    "Q1": Question("How important is family in your life?", (1, 2, 3, 4), ("Very", "Rather", "Not very", "Not at all")),
    "Q2": Question("Is it justifiable to avoid a fare?", tuple(range(1, 11)), tuple(f"step {step}" for step in range(1, 11))),
    "Q3": Question("Would you fight for your country?", (0, 1), ("No", "Yes")),
}
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 512}


def tiny_tokenizer(*, single_digits: bool = True) -> PreTrainedTokenizerFast:
    """Byte-level BPE. As in SmolLM2 every digit is a token of its own and the padding token is the terminator; or else 10 is one token."""
    tokenizer = Tokenizer(models.BPE())
    split = [pre_tokenizers.Digits(individual_digits=True)] if single_digits else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=["<|im_start|>", TERMINATOR], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([SYSTEM, INSTRUCTION, *["Answer: 10"] * 20], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=TERMINATOR, pad_token=TERMINATOR, chat_template=TEMPLATE)


def tiny_model(family: str = "llama", *, seed: int = 0) -> Any:
    """Random weights, spread enough that probabilities differ; grouped-query heads where the family has them."""
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {**SIZES, "vocab_size": 420, "initializer_range": 0.3}
    if family == "neox":
        model: Any = GPTNeoXForCausalLM(GPTNeoXConfig(**sizes, hidden_dropout=0.1))
    elif family == "mistral":
        model = MistralForCausalLM(MistralConfig(**sizes, num_key_value_heads=2, sliding_window=64))
    elif family == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**sizes, num_key_value_heads=2, tie_word_embeddings=True))
    else:
        model = LlamaForCausalLM(LlamaConfig(**sizes, num_key_value_heads=2))
    return model.eval()


def save_model(folder: Path, family: str = "llama") -> Path:
    tiny_model(family).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def model_files(folder: Path) -> FileSet:
    """A tiny model as the launcher is given one."""
    return file_set(save_model(folder), sorted(path.name for path in folder.iterdir()))


def pair_files(folder: Path) -> FileSet:
    """`made_up_pairs` as the launcher is given them."""
    write_table(made_up_pairs(), folder / "tables" / "pairs.parquet")
    return file_set(folder, ["tables/pairs.parquet"])


def subgroup_ids() -> list[str]:
    singles = [f"sex={sex}" for sex in SEXES] + [f"age={age}" for age in AGES]
    return ["all", *singles, *(f"sex={sex}|age={age}" for sex, age in product(SEXES, AGES))]


def made_up_subgroups() -> pd.DataFrame:
    rows = []
    for name in subgroup_ids():
        traits = [trait.split("=") for trait in name.split("|")] if name != "all" else []
        parents = name.split("|") if len(traits) == 2 else ["all"] if traits else []
        rows.append(
            {
                "subgroup_id": name,
                "subgroup_order": len(traits),
                "dimension": " x ".join(dimension for dimension, _ in traits) or "all",
                "dimensions": [dimension for dimension, _ in traits],
                "levels": [level for _, level in traits],
                "parents": parents,
                "respondents": 400 // 2 ** len(traits),
                "weight_share": 0.5 ** len(traits),
                "unseen": False,
            }
        )
    return pd.DataFrame(rows)


def made_up_items(questions: Sequence[str] = ("Q1", "Q2", "Q3")) -> pd.DataFrame:
    """The items table of those questions."""
    topics = ["Social values" if item == "Q1" else "Ethical values and norms" for item in questions]
    wordings, options = [QUESTIONS[item].wording for item in questions], [len(QUESTIONS[item].codes) for item in questions]
    return pd.DataFrame({"item": questions, "topic": topics, "question": wordings, "scale": "ordinal", "k": options})


def made_up_pairs(questions: Sequence[str] = ("Q1", "Q2", "Q3")) -> pd.DataFrame:
    """Every question of every subgroup with invented shares: one intersection is held out, one single trait kept back, one for validation."""
    generator = np.random.default_rng(5)
    subgroups = made_up_subgroups().set_index("subgroup_id")
    splits = {"sex=Male|age=old": "ood_test", "sex=Male|age=young": "ood_test", "age=young": "id_test", "sex=Female|age=old": "validation"}
    rows = []
    for item, (name, subgroup) in product(questions, subgroups.iterrows()):
        question = QUESTIONS[item]
        shares = generator.dirichlet(np.full(len(question.codes), 0.6))
        persona = f"You are a person ({name})." if name != "all" else "You are a person."
        rows.append(
            {
                "item": item,
                "subgroup_id": name,
                "subgroup_order": subgroup["subgroup_order"],
                "dimension": subgroup["dimension"],
                "topic": "Social values" if item == "Q1" else "Ethical values and norms",
                "split": splits.get(str(name), "train"),
                "persona": persona,
                "prompt": render_prompt(question, persona=persona, order="question_first"),
                "codes": list(question.codes),
                "shares": list(shares),
                "code": question.codes[int(shares.argmax())],
                "tied_codes": [question.codes[int(shares.argmax())]],
                "scale": "ordinal",
                "k": len(question.codes),
                "weight_share": subgroup["weight_share"],
                "effective_n": 400 / 2 ** subgroup["subgroup_order"],
            }
        )
    return pd.DataFrame(rows)
