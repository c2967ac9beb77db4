"""What tables say without a model, by hand."""

import itertools

import numpy as np
import pandas as pd
import pytest

from tasks.evaluation.baselines import Evidence, additive, score_baselines
from tests.training.tiny import made_up_pairs, made_up_subgroups

TESTED = ("Q1", "sex=Male|age=old")


def answers(pairs: pd.DataFrame, *, of: tuple[str, str] = TESTED) -> dict[str, np.ndarray]:
    predictions = score_baselines(pairs, made_up_subgroups()).set_index(["item", "subgroup_id", "model"])
    return {model: np.asarray(predictions.loc[(*of, model), "probabilities"]) for model in ("national_mode", "parent_mode", "additive", "chance")}


def shares(pairs: pd.DataFrame, subgroup: str, item: str = "Q1") -> np.ndarray:
    return np.asarray(pairs.set_index(["item", "subgroup_id"]).loc[(item, subgroup), "shares"])


def margin(of: np.ndarray) -> float:
    return float(np.diff(np.sort(of)[-2:])[0])


def test_every_test_pair_is_answered_once_by_every_baseline() -> None:
    pairs = made_up_pairs()
    predictions = score_baselines(pairs, made_up_subgroups())
    tested = pairs["split"].isin(["id_test", "ood_test"]).sum()
    assert predictions.groupby("model").size().to_dict() == dict.fromkeys(["additive", "chance", "national_mode", "parent_mode"], tested)
    assert not predictions.duplicated(["model", "item", "subgroup_id"]).any()


def test_each_baseline_follows_its_formula() -> None:
    pairs = made_up_pairs()
    found = answers(pairs)
    male, old, everybody = (shares(pairs, subgroup) for subgroup in ("sex=Male", "age=old", "all"))
    product = male * old / everybody
    assert found["national_mode"] == pytest.approx(everybody)
    assert found["parent_mode"] == pytest.approx(male if margin(male) > margin(old) else old)
    assert found["additive"] == pytest.approx(product / product.sum())
    assert found["chance"] == pytest.approx([0.25] * 4)


def test_an_option_that_nobody_chose_leaves_the_additive_baseline_finite() -> None:
    pairs = made_up_pairs()
    for subgroup in ("sex=Male", "age=old", "all"):
        row = pairs.index[(pairs["item"] == "Q1") & (pairs["subgroup_id"] == subgroup)][0]
        pairs.at[row, "shares"] = [0.0, 0.2, 0.3, 0.5]
    found = answers(pairs)["additive"]
    assert found.sum() == pytest.approx(1)
    assert found[0] < 1e-6


def test_a_parent_that_was_kept_back_is_not_looked_at() -> None:
    """age=young is id_test: its child has one trained parent, on which both clever baselines fall back."""
    pairs = made_up_pairs()
    found = answers(pairs, of=("Q1", "sex=Male|age=young"))
    assert found["parent_mode"] == pytest.approx(shares(pairs, "sex=Male"))
    assert found["additive"] == pytest.approx(shares(pairs, "sex=Male"))


def test_without_a_trained_parent_the_country_answers() -> None:
    pairs = made_up_pairs()
    found = answers(pairs, of=("Q1", "age=young"))
    assert all(found[name] == pytest.approx(shares(pairs, "all")) for name in ("parent_mode", "additive"))


def test_only_trained_cells_count() -> None:
    pairs = made_up_pairs()
    before = score_baselines(pairs, made_up_subgroups())
    for row in pairs.index[pairs["split"] != "train"]:
        pairs.at[row, "shares"] = list(reversed(pairs.at[row, "shares"]))
    after = score_baselines(pairs, made_up_subgroups())
    assert [list(row) for row in before["probabilities"]] == [list(row) for row in after["probabilities"]]


def test_only_the_cells_of_the_pairs_own_question_count() -> None:
    pairs = made_up_pairs()
    before = answers(pairs)
    for row in pairs.index[(pairs["item"] != "Q1")]:
        pairs.at[row, "shares"] = list(reversed(pairs.at[row, "shares"]))
    assert all(np.array_equal(before[model], after) for model, after in answers(pairs).items())


def test_a_question_whose_national_cell_was_not_trained_is_an_error() -> None:
    pairs = made_up_pairs()
    with pytest.raises(KeyError, match="all"):
        score_baselines(pairs[pairs["subgroup_id"] != "all"], made_up_subgroups())


def joint(interaction: float) -> np.ndarray:
    """p(a, b, c, o): three traits that are independent given the answer; `interaction` breaks that."""
    generator = np.random.default_rng(8)
    given = [generator.dirichlet(np.ones(2), size=4).T for _ in range(3)]  # p(trait | o)
    table = np.einsum("ao,bo,co,o->abco", *given, generator.dirichlet(np.ones(4)))
    table[0, 0, 0, 0] *= 1 + interaction
    return table / table.sum()


def known_of(table: np.ndarray) -> tuple[np.ndarray, Evidence]:
    """The shares of the subgroup (0, 0, 0), and those of everything that contains it."""

    def shares(names: str) -> np.ndarray:
        kept = table[tuple(0 if name in names else slice(None) for name in "abc")]
        marginal = kept.reshape(-1, 4).sum(axis=0)
        return marginal / marginal.sum()

    parts = [names for size in range(3) for names in itertools.combinations("abc", size)]
    ancestors = [((-1) ** (2 - len(names)), shares("".join(names))) for names in parts]
    pairs = [shares("".join(names)) for names in parts if len(names) == 2]
    return shares("abc"), Evidence(shares(""), pairs, ancestors, [shares(name) for name in "abc"])


def test_of_three_traits_the_additive_baseline_is_exact_where_traits_are_independent_given_the_answer() -> None:
    truth, known = known_of(joint(0.0))
    assert additive(known) == pytest.approx(truth)
    assert additive(known._replace(ancestors=None)) == pytest.approx(truth), "the single traits stand in for pairs that were not trained"
    truth, known = known_of(joint(1.0))
    assert additive(known) != pytest.approx(truth)


def test_an_option_that_nobody_of_a_parent_chose_stays_out() -> None:
    nobody, everybody = np.array([0.0, 1.0]), np.array([0.9, 0.1])
    known = Evidence(everybody, [nobody] * 3, [(1, nobody)] * 3 + [(-1, nobody)] * 3 + [(1, everybody)], [nobody] * 3)
    assert additive(known)[0] < 1e-6
