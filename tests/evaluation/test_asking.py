"""What is compared is a fair part of what is tested, and each variant asks the same pairs."""

import pandas as pd
import pytest

from tasks.evaluation.asking import Marts, asked_pairs, compared_pairs, labels_of, reworded_pairs
from tasks.study import Study
from tests.training.tiny import QUESTIONS, made_up_pairs, made_up_subgroups


def many_pairs() -> pd.DataFrame:
    rows = [
        {
            "item": f"Q{item}",
            "subgroup_id": f"{dimension}={split} {level}",
            "dimension": dimension,
            "split": split,
            "topic": "rare" if item < 5 else "usual",
        }
        for split, levels in (("id_test", 3), ("ood_test", 12), ("train", 5))
        for dimension in ("sex", "age")
        for level in range(levels)
        for item in range(20)
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=3)


@pytest.mark.parametrize("size", [30, 100, 299])
def test_a_sample_gives_each_split_dimension_subgroup_and_topic_its_share(size: int) -> None:
    pairs, test = many_pairs(), 600
    sample = compared_pairs(pairs, size=size, seed=1)
    assert len(sample) == size == len(sample.drop_duplicates())
    for columns in (["split"], ["split", "dimension"], ["split", "subgroup_id"], ["topic"]):
        expected = pairs[pairs["split"] != "train"].groupby(columns).size() * size / test
        counted = sample.groupby(columns).size().reindex(expected.index, fill_value=0)
        assert (counted - expected).abs().max() < 1
    assert sample["item"].nunique() >= min(size, 20) / 2
    assert sample.equals(compared_pairs(pairs.sort_values(["item", "subgroup_id"]), size=size, seed=1))
    assert not sample.equals(compared_pairs(pairs, size=size, seed=2))


def test_all_are_compared_where_there_are_few() -> None:
    assert len(compared_pairs(many_pairs(), size=1000, seed=1)) == 600


def test_every_variant_asks_the_same_pairs(sample_study: Study) -> None:
    study, plain = (
        sample_study.model_copy(update={"evaluation": sample_study.evaluation.model_copy(update={"variants": variants})})
        for variants in (("letters", "persona_profile"), ())
    )
    chosen = compared_pairs(made_up_pairs(), size=6, seed=1).assign(persona="You live in Singapore. You are a man.")
    reworded = reworded_pairs(chosen, made_up_marts(), study)
    keys = [list(zip(rows["item"], rows["subgroup_id"], strict=True)) for _, rows in reworded.groupby("variant")]
    assert keys == [list(zip(chosen["item"], chosen["subgroup_id"], strict=True))] * 2
    assert {labels[0] for labels in labels_of(reworded[reworded["variant"] == "letters"])} == {"A"}
    assert "Sex: Male" in " ".join(reworded.loc[reworded["variant"] == "persona_profile", "prompt"])
    nothing = reworded_pairs(chosen, made_up_marts(), plain)
    assert list(nothing.columns[-1:]) == ["shared"]
    assert nothing.empty


def test_options_are_called_by_their_codes_unless_a_variant_says_otherwise() -> None:
    asked = asked_pairs(made_up_pairs(("Q3",)), ("plain",), seed=1)
    assert set(labels_of(asked)) == {("0", "1")}


def made_up_marts() -> Marts:
    """The marts of the made-up pairs."""
    items = pd.DataFrame({"item": list(QUESTIONS), "question": [question.wording for question in QUESTIONS.values()]})
    options = [
        {"item": item, "position": place, "code": code, "wording": wording}
        for item, question in QUESTIONS.items()
        for place, (code, wording) in enumerate(zip(question.codes, question.options, strict=True))
    ]
    return Marts(items, pd.DataFrame(options), made_up_subgroups())
