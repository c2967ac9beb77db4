"""The order in which a trainer sees the pairs, and what it needs of them."""

from collections import Counter
from pathlib import Path

import pytest

from tasks.files import write_table
from tasks.prompting.prompt import render_prompt
from tasks.prompting.tree import EncodedPrompt, PromptEncoder
from tasks.training.dataset import Batching, Example, best_grouping, by_item, by_subgroup, in_groups, read_examples, shards, steps_of_epoch
from tests.training.tiny import QUESTIONS, made_up_pairs, tiny_tokenizer

BATCHING = Batching(groups_per_step=2, pairs_per_group=3, seed=7)


def examples() -> list[Example]:
    return [
        Example(f"Q{item}", str(number), EncodedPrompt((item, number), 0, (1, 2), (), ()), (0.5, 0.5))
        for item in range(4)
        for number in range(5 + item)
    ]


def order(*, epoch: int = 0, seed: int = 7) -> list[tuple[int, ...]]:
    steps = steps_of_epoch(examples(), batching=BATCHING._replace(seed=seed), grouping=by_item, epoch=epoch)
    return [example.prompt.tokens for step in steps for example in step]


def test_an_epoch_holds_every_pair_once() -> None:
    assert Counter(order()) == Counter(example.prompt.tokens for example in examples())


def test_the_order_depends_on_seed_and_epoch_and_nothing_else() -> None:
    assert order() == order()
    assert order() != order(epoch=1)
    assert order() != order(seed=8)


def test_every_epoch_has_the_same_number_of_steps() -> None:
    """A resumed worker counts on it to find its epoch and place."""
    assert len({len(steps_of_epoch(examples(), batching=BATCHING, grouping=by_item, epoch=epoch)) for epoch in range(20)}) == 1


def test_a_step_mixes_groups_and_holds_each_in_one_piece() -> None:
    steps = steps_of_epoch(examples(), batching=BATCHING, grouping=by_item, epoch=0)
    runs = [[item for item, before in zip(items, [None, *items], strict=False) if item != before] for items in [[e.item for e in s] for s in steps]]
    assert all(1 <= len(run) <= 2 for run in runs)
    assert any(len(run) == 2 for run in runs)
    assert max(map(len, steps)) == 6


def test_evaluation_holds_every_pair_once_and_unshuffled() -> None:
    mixed = examples()[::2] + examples()[1::2]
    assert in_groups(mixed, grouping=by_item) == sorted(mixed, key=lambda example: example.item)


def test_shards_hold_everything_once_in_parts_that_fit_and_equally_many_for_each_process() -> None:
    for count, largest, processes in [(32, 64, 1), (32, 10, 1), (32, 10, 2), (7, 2, 3), (1, 4, 2), (6, 64, 4)]:
        parts = shards(count, largest=largest, processes=processes)
        assert [place for part in parts for place in part] == list(range(count))
        assert len(parts) % processes == 0
        assert max(map(len, parts)) <= largest
        assert len(parts) - processes < count / largest, "no more rounds than needed"


@pytest.mark.parametrize(("placed", "grouping"), [("question_first", by_item), ("persona_first", by_subgroup)])
def test_pairs_are_grouped_by_whatever_comes_first_in_their_prompts(placed: str, grouping: object) -> None:
    encoder, long = PromptEncoder(tiny_tokenizer()), " You have lived in the same small town by the river for as long as you remember."
    found = [
        Example(
            item, str(number), encoder.encode(render_prompt(question, persona=f"You are person {number}.{long}", order=placed), codes=(1,)), (1.0,)
        )  # type: ignore[arg-type]
        for item, question in QUESTIONS.items()
        for number in range(6)
    ]
    assert best_grouping(found, batching=BATCHING) is grouping


def read(folder: Path, objective: str) -> list[Example]:
    write_table(made_up_pairs(), folder / "pairs.parquet")
    return read_examples(folder / "pairs.parquet", PromptEncoder(tiny_tokenizer()), split="train", objective=objective)  # type: ignore[arg-type]


def test_examples_are_of_their_split_and_keep_the_surveys_shares(tmp_path: Path) -> None:
    found, pairs = read(tmp_path, "ordinal"), made_up_pairs()
    trained = pairs[pairs["split"] == "train"]
    assert [(example.item, example.subgroup) for example in found] == list(zip(trained["item"], trained["subgroup_id"], strict=True))
    assert [example.shares for example in found] == [tuple(shares) for shares in trained["shares"]]
    assert [example.prompt.codes for example in found] == [tuple(codes) for codes in trained["codes"]]


def test_an_objective_on_the_mode_needs_its_option_alone_and_distribution_those_with_answers(tmp_path: Path) -> None:
    whole, modal = read(tmp_path, "ordinal"), read(tmp_path, "tokens")
    assert all(one.prompt.codes == (other.prompt.codes[other.shares.index(max(other.shares))],) for one, other in zip(modal, whole, strict=True))
    assert all(len(example.prompt.nodes) <= 2 and example.shares == (max(other.shares),) for example, other in zip(modal, whole, strict=True))
    some = Example("Q1", "all", whole[0].prompt, (0.7, 0.0, 0.3, 0.0)).needed_by("distribution")
    assert (some.prompt.codes, some.shares) == ((1, 3), (0.7, 0.3))


def test_traits_are_the_parts_of_a_subgroup() -> None:
    assert Example("Q1", "sex=Male|age=old", EncodedPrompt((), 0, (), (), ()), ()).traits == ("sex=Male", "age=old")
    assert Example("Q1", "all", EncodedPrompt((), 0, (), (), ()), ()).traits == ("all",)
