"""Agreement between readers and between wordings, against counts by hand and other implementations."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from tasks.evaluation.comparison import agreement_of, robustness_of
from tasks.evaluation.predictions import NO_ANSWER

CODES = [1, 2, 3]


def pairs_of(questions: int, subgroups: int = 1) -> pd.DataFrame:
    rows = [{"item": f"Q{item}", "subgroup_id": f"s{group}"} for item in range(questions) for group in range(subgroups)]
    return pd.DataFrame(rows).assign(split="ood_test", tied_codes=[[1 + row % 3] for row in range(len(rows))])


def predictions_of(pairs: pd.DataFrame, choices: list[int], **names: Any) -> pd.DataFrame:
    rows = pairs[["item", "subgroup_id", "split"]].assign(model="base", reader="likelihood", variant="plain", choice=choices, outside=0.25, **{})
    return rows.assign(codes=[CODES] * len(rows), **names)


def test_agreement_counts_what_could_not_be_read_as_wrong_and_as_agreeing_with_nothing() -> None:
    pairs = pairs_of(6)
    one = predictions_of(pairs, [1, 2, 3, 1, 2, NO_ANSWER])
    other = predictions_of(pairs, [1, 2, 1, 3, NO_ANSWER, NO_ANSWER], reader="generated", outside=0.5)
    (row,) = agreement_of(pd.concat([one, other]), pairs).to_dict("records")
    assert {row["reader"], row["other"]} == {"likelihood", "generated"}
    generated = "" if row["reader"] == "generated" else "_other"
    likelihood = "_other" if generated == "" else ""
    assert (row["pairs"], row["agreement"]) == (6, 2 / 6)
    assert (row[f"unread{likelihood}"], row[f"unread{generated}"]) == (1, 2)
    assert (row[f"accuracy{likelihood}"], row[f"accuracy{generated}"]) == pytest.approx((5 / 6, 2 / 6))
    assert (row[f"outside{likelihood}"], row[f"outside{generated}"]) == (0.25, 0.5)


def test_kappa_is_scikit_learns_where_everything_was_read() -> None:
    generator, pairs = np.random.default_rng(1), pairs_of(200)
    one = generator.choice(CODES, size=200, p=[0.6, 0.3, 0.1]).tolist()
    other = [choice if generator.uniform() < 0.5 else int(generator.choice(CODES)) for choice in one]
    table = agreement_of(pd.concat([predictions_of(pairs, one), predictions_of(pairs, other, reader="first_token")]), pairs)
    assert table["kappa"].item() == pytest.approx(cohen_kappa_score(one, other), abs=1e-12)


def test_only_pairs_that_both_were_asked_are_compared() -> None:
    pairs = pairs_of(6)
    one, other = predictions_of(pairs, [1, 2, 3, 1, 2, 3]), predictions_of(pairs.head(2), [1, 1], reader="generated")
    row = agreement_of(pd.concat([one, other]), pairs).iloc[0]
    assert (row["pairs"], row["agreement"]) == (2, 0.5)


def test_a_rewording_is_compared_with_the_plain_prompt_on_its_own_pairs() -> None:
    pairs = pairs_of(6)
    plain = predictions_of(pairs, [1, 2, 3, 1, 2, 3])
    letters = predictions_of(pairs.head(4), [1, 1, NO_ANSWER, 1], variant="letters")
    controls = predictions_of(pairs, [1] * 6, variant="blank_persona")
    (row,) = robustness_of(pd.concat([plain, letters, controls]), pairs, seed=1).to_dict("records")
    assert (row["variant"], row["pairs"], row["questions"], row["unread"]) == ("letters", 4, 4, 1)
    assert (row["accuracy_plain"], row["accuracy"], row["change"], row["same_choice"]) == (1.0, 0.5, -0.5, 0.5)
    assert row["low"] < -0.5 < row["high"] <= 0


def test_the_interval_moves_all_answers_to_a_question_together() -> None:
    """With the same number of changes, those that come by whole questions leave the mean less sure."""
    pairs = pairs_of(20, subgroups=10)
    right = [1 + row % 3 for row in range(200)]
    whole = [choice if row // 10 % 2 else choice % 3 + 1 for row, choice in enumerate(right)]
    spread = [choice if row % 2 else choice % 3 + 1 for row, choice in enumerate(right)]
    widths = []
    for reworded in (whole, spread):
        table = robustness_of(pd.concat([predictions_of(pairs, right), predictions_of(pairs, reworded, variant="letters")]), pairs, seed=1)
        assert table["change"].item() == -0.5
        widths.append(table["high"].item() - table["low"].item())
    assert widths[1] == pytest.approx(0, abs=1e-12)
    assert 0.3 < widths[0] < 0.6


def test_levels_rank_as_their_accuracies_over_all_pairs_that_have_them_do() -> None:
    """Eight subgroups of two traits: four levels of one, two of the other."""
    generator, pairs = np.random.default_rng(2), pairs_of(30, subgroups=8)
    named = {name: f"faith={place % 4}|sex={place % 2}" for place, name in enumerate(sorted(pairs["subgroup_id"].unique()))}
    named |= {name: f"{traits}|old={place // 4}" for place, (name, traits) in enumerate(named.items())}
    pairs["subgroup_id"] = pairs["subgroup_id"].map(named)
    choices = [[int(choice) for choice in generator.choice(CODES, size=240)] for _ in range(2)]
    table = robustness_of(pd.concat([predictions_of(pairs, choices[0]), predictions_of(pairs, choices[1], variant="letters")]), pairs, seed=1)
    levels = [f"faith={place}" for place in range(4)] + ["sex=0", "sex=1", "old=0", "old=1"]
    right = [np.array([choice in tied for choice, tied in zip(made, pairs["tied_codes"], strict=True)]) for made in choices]
    means = [[made[pairs["subgroup_id"].str.contains(level)].mean() for level in levels] for made in right]
    assert table["spearman"].item() == pytest.approx(spearmanr(*means).statistic, abs=1e-12)
    assert table["levels"].item() == 8
    same = robustness_of(pd.concat([predictions_of(pairs, choices[0]), predictions_of(pairs, choices[0], variant="letters")]), pairs, seed=1)
    assert same[["spearman", "kendall", "same_choice"]].to_numpy().tolist() == [[pytest.approx(1), pytest.approx(1), 1]]
    flat = predictions_of(pairs, [tied[0] for tied in pairs["tied_codes"]])
    alike = robustness_of(pd.concat([flat, flat.assign(variant="letters")]), pairs, seed=1)
    assert alike[["spearman", "kendall"]].isna().all(axis=None)


def test_a_prediction_without_a_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="1 of 3 predictions belong to no pair"):
        agreement_of(predictions_of(pairs_of(3), [1, 2, 3]), pairs_of(2))
