"""What tables say without a model, by hand."""

import itertools
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from tasks.evaluation.baselines import RULES, additive, score_baselines
from tasks.evaluation.evidence import Evidence
from tasks.study import load_study
from tests.training.tiny import made_up_items, made_up_pairs, made_up_subgroups

TESTED = ("Q1", "sex=Male|age=old")
OF_TABLES = ("national_mode", "parent_mode", "additive", "nearest_subgroup", "chance")
STUDY = load_study("sample")


def scored(pairs: pd.DataFrame) -> pd.DataFrame:
    return score_baselines(pairs, made_up_subgroups(), made_up_items(), study=STUDY)


def answers(pairs: pd.DataFrame, *, of: tuple[str, str] = TESTED) -> dict[str, np.ndarray]:
    predictions = scored(pairs).set_index(["item", "subgroup_id", "model"])
    return {model: np.asarray(predictions.loc[(*of, model), "probabilities"]) for model in OF_TABLES if (*of, model) in predictions.index}


def shares(pairs: pd.DataFrame, subgroup: str, item: str = "Q1") -> np.ndarray:
    return np.asarray(pairs.set_index(["item", "subgroup_id"]).loc[(item, subgroup), "shares"])


def margin(of: np.ndarray) -> float:
    return float(np.diff(np.sort(of)[-2:])[0])


def test_every_test_pair_is_answered_once_by_every_baseline() -> None:
    pairs = made_up_pairs()
    predictions = scored(pairs)
    tested = pairs["split"].value_counts()
    assert predictions[predictions["split"] == "ood_test"].groupby("model").size().to_dict() == dict.fromkeys(OF_TABLES, tested["ood_test"])
    of_country = ("chance", "national_mode", "nearest_subgroup")  # the only id_test cell is a single trait's, which has no parents
    assert predictions[predictions["split"] == "id_test"].groupby("model").size().to_dict() == dict.fromkeys(of_country, tested["id_test"])
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
    pairs.loc[(pairs["item"] == "Q1") & (pairs["subgroup_id"] == "sex=Female|age=old"), "split"] = "id_test"
    found = answers(pairs, of=("Q1", "age=young"))
    assert all(found[name] == pytest.approx(shares(pairs, "all")) for name in ("parent_mode", "additive"))


def test_only_trained_cells_count() -> None:
    pairs = made_up_pairs()
    before = scored(pairs)
    for row in pairs.index[pairs["split"] != "train"]:
        pairs.at[row, "shares"] = list(reversed(pairs.at[row, "shares"]))
    after = scored(pairs)
    assert [list(row) for row in before["probabilities"]] == [list(row) for row in after["probabilities"]]


def test_only_the_cells_of_the_pairs_own_question_count() -> None:
    pairs = made_up_pairs()
    before = answers(pairs)
    for row in pairs.index[(pairs["item"] != "Q1")]:
        pairs.at[row, "shares"] = list(reversed(pairs.at[row, "shares"]))
    assert all(np.array_equal(before[model], after) for model, after in answers(pairs).items() if model != "nearest_subgroup")


def unseen_question(pairs: pd.DataFrame, item: str) -> pd.DataFrame:
    """The question is trained of nobody, everybody included."""
    return pairs.assign(
        split=pairs["split"].where(pairs["item"] != item, "ood_test").mask((pairs["item"] != item) & (pairs["split"] == "ood_test"), "train")
    )


def with_twin_of_q1(pairs: pd.DataFrame, wording: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Q4 with Q1's options, and the items table that words it."""
    twin = pairs[pairs["item"] == "Q1"].assign(item="Q4")
    twin["shares"] = [list(reversed(shares)) for shares in twin["shares"]]
    items = made_up_items()
    added = items[items["item"] == "Q1"].assign(item="Q4", question=wording)
    return pd.concat([pairs, twin], ignore_index=True), pd.concat([items, added], ignore_index=True)


def test_an_unseen_question_is_answered_by_the_nearest_question_the_topic_and_chance_alone() -> None:
    pairs, items = with_twin_of_q1(made_up_pairs(), "How important are friends in your life?")
    pairs = unseen_question(pairs, "Q1")
    predictions = score_baselines(pairs, made_up_subgroups(), items, study=STUDY)
    found = predictions[predictions["split"] == "ood_test"].set_index(["item", "subgroup_id", "model"])["probabilities"]
    assert set(found.index.get_level_values("model")) == {"nearest_question", "topic_prior", "chance"}
    assert not set(predictions.loc[predictions["split"] == "id_test", "model"]) & {"nearest_question", "topic_prior"}
    assert found["Q1", "sex=Male", "nearest_question"] == pytest.approx(shares(pairs, "sex=Male", "Q4"))
    assert found["Q1", "age=young", "nearest_question"] == pytest.approx(shares(pairs, "all", "Q4")), "that cell was kept back: everybody's"
    assert found["Q1", "sex=Male", "topic_prior"] == pytest.approx(shares(pairs, "all", "Q4"))


def test_a_question_with_no_other_of_its_scale_leaves_chance_only() -> None:
    pairs = unseen_question(made_up_pairs(), "Q2")
    predictions = scored(pairs)
    assert set(predictions.loc[predictions["split"] == "ood_test", "model"]) == {"chance"}


def in_two_countries() -> tuple[pd.DataFrame, pd.DataFrame]:
    """SGP is trained, as everybody (its subgroups are those without a country); every subgroup of JPN is held out."""
    pairs, subgroups = made_up_pairs(), made_up_subgroups()
    abroad = [name for name in subgroups["subgroup_id"] if "|" not in name]
    names = {name: "country=JPN" if name == "all" else f"country=JPN|{name}" for name in abroad}
    cells = pairs[pairs["subgroup_id"].isin(names)].assign(split="ood_test", subgroup_id=lambda rows: rows["subgroup_id"].map(names))
    cells["shares"] = [list(reversed(shares)) for shares in cells["shares"]]
    rows = [
        row
        | {"subgroup_id": names[row["subgroup_id"]], "dimensions": ["country", *row["dimensions"]], "levels": ["JPN", *row["levels"]], "unseen": True}
        | {"subgroup_order": row["subgroup_order"] + 1, "parents": [row["subgroup_id"]]}
        for row in subgroups[subgroups["subgroup_id"].isin(names)].to_dict("records")
    ]
    trained = pairs.assign(split=pairs["split"].replace("ood_test", "train"))
    return pd.concat([trained, cells], ignore_index=True), pd.concat([subgroups, pd.DataFrame(rows)], ignore_index=True)


def test_an_unseen_country_has_no_parents_and_is_answered_by_the_same_traits_elsewhere() -> None:
    pairs, subgroups = in_two_countries()
    study = load_study("sample", overrides=["split.kind=unseen_country"])
    predictions = score_baselines(pairs, subgroups, made_up_items(), study=study)
    found = predictions[predictions["split"] == "ood_test"].set_index(["item", "subgroup_id", "model"])["probabilities"]
    assert set(found.index.get_level_values("model")) == {"national_mode", "other_country", "chance"}
    assert found["Q1", "country=JPN|sex=Male", "other_country"] == pytest.approx(shares(pairs, "sex=Male"))
    assert found["Q1", "country=JPN|age=young", "other_country"] == pytest.approx(shares(pairs, "all")), "kept back: everybody's elsewhere"
    assert found["Q1", "country=JPN", "other_country"] == pytest.approx(shares(pairs, "all"))
    of_waves = score_baselines(pairs, subgroups, made_up_items(), study=load_study("sample", overrides=["split.kind=unseen_wave"]))
    assert "other_wave" in set(of_waves["model"]) and "other_country" not in set(of_waves["model"])


def test_the_nearest_subgroup_answers_for_an_unseen_one() -> None:
    pairs = made_up_pairs()
    trained = {("Q1", name): shares(pairs, name) for name in ("sex=Female|age=young",)}
    assert answers(pairs, of=("Q1", "sex=Male|age=young"))["nearest_subgroup"] == pytest.approx(trained["Q1", "sex=Female|age=young"])


def test_every_baseline_that_a_study_names_has_a_rule_and_a_name() -> None:
    from tasks.reporting.names import BASELINES
    from tasks.study_evaluation import Baseline

    assert list(RULES) == list(BASELINES) == list(get_args(Baseline))


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
    return shares("abc"), Evidence(4, shares(""), pairs, ancestors, [shares(name) for name in "abc"])


def test_of_three_traits_the_additive_baseline_is_exact_where_traits_are_independent_given_the_answer() -> None:
    truth, known = known_of(joint(0.0))
    assert additive(known) == pytest.approx(truth)
    assert additive(known._replace(ancestors=None)) == pytest.approx(truth), "the single traits stand in for pairs that were not trained"
    truth, known = known_of(joint(1.0))
    assert additive(known) != pytest.approx(truth)


def test_an_option_that_nobody_of_a_parent_chose_stays_out() -> None:
    nobody, everybody = np.array([0.0, 1.0]), np.array([0.9, 0.1])
    known = Evidence(2, everybody, [nobody] * 3, [(1, nobody)] * 3 + [(-1, nobody)] * 3 + [(1, everybody)], [nobody] * 3)
    assert additive(known)[0] < 1e-6
