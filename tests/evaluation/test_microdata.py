"""The baseline that sees microdata: against scikit-learn on the respondents themselves, and what it may not see."""

import duckdb
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from tasks.evaluation import microdata as module
from tasks.evaluation.logit import fit_logit
from tasks.evaluation.microdata import Microdata, additive_micro, counted, read_microdata
from tasks.files import FileSet
from tasks.study import Study, load_study

ITEM = "Q1"


def respondents(number: int = 400) -> pd.DataFrame:
    """Traits, weights and answers of people who answer by sex and age; every tenth has no age."""
    generator = np.random.default_rng(11)
    sex, age = generator.choice(["F", "M"], number), generator.choice(["young", "mid", "old"], number)
    logits = np.column_stack([np.zeros(number), (sex == "F") * 1.0, (age == "old") * 1.5])
    answer = (logits + generator.gumbel(size=(number, 3))).argmax(axis=1)
    profile = [[f"sex={one}"] + ([] if place % 10 == 0 else [f"age={other}"]) for place, (one, other) in enumerate(zip(sex, age, strict=True))]
    return pd.DataFrame({"profile": profile, "weight": generator.uniform(0.4, 3, number), "position": answer, "item": ITEM})


def counts_of(people: pd.DataFrame, *, held_out: frozenset[str] = frozenset()) -> Microdata:
    keyed = people.assign(profile=[tuple(sorted(profile)) for profile in people["profile"]], squared_weight=people["weight"] ** 2)
    weights = keyed.groupby("profile", as_index=False)["weight"].sum()
    answers = keyed.groupby(["item", "profile", "position"], as_index=False)[["weight", "squared_weight"]].sum()
    return counted(weights, answers, options={ITEM: 3}, held_out=held_out)


def subgroups(*names: str) -> pd.DataFrame:
    traits = [[trait.split("=") for trait in name.split("|")] for name in names]
    dimensions, levels = ([[trait[place] for trait in held] for held in traits] for place in (0, 1))
    return pd.DataFrame({"subgroup_id": names, "dimensions": dimensions, "levels": levels})


def shares_of(people: pd.DataFrame, name: str, *, held_out: frozenset[str] = frozenset()) -> np.ndarray:
    microdata = counts_of(people, held_out=held_out)
    return additive_micro(microdata, trained={ITEM}, asked={ITEM: [name]}, subgroups=subgroups(name))[ITEM, name]


@pytest.mark.parametrize("name", ["sex=F|age=old", "sex=M|age=young", "age=mid"])
def test_it_is_scikit_learns_logit_on_the_respondents_averaged_over_the_cell(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    people = respondents()
    used = []
    monkeypatch.setattr(module, "fit_logit", lambda *given: used.append(fit_logit(*given)) or used[-1])
    found = shares_of(people, name)
    traits = sorted({trait for profile in people["profile"] for trait in profile})
    features = np.array([[trait in profile for trait in traits] for profile in people["profile"]], dtype=float)
    weight = people["weight"].to_numpy()
    scaled = weight * weight.sum() / (weight**2).sum()
    model = LogisticRegression(C=1 / used[0].strength, tol=1e-12, max_iter=20_000).fit(features, people["position"], sample_weight=scaled)
    inside = np.array([set(name.split("|")) <= set(profile) for profile in people["profile"]])
    assert found == pytest.approx(np.average(model.predict_proba(features[inside]), axis=0, weights=weight[inside]), abs=1e-5)


def test_weights_count() -> None:
    """The trap of survey weights that are ignored: who weighs twice counts like two."""
    people = respondents(200)
    twice = people.assign(weight=np.where(people.index % 2, 2.0, 1.0))
    repeated = pd.concat([people, people[people.index % 2 == 1]]).assign(weight=1.0)
    strength = {"strength": 2.0}
    by_weight, by_rows = (_fitted(counts_of(frame), **strength) for frame in (twice, repeated))
    assert by_weight == pytest.approx(by_rows, abs=1e-9)
    assert by_weight != pytest.approx(_fitted(counts_of(people.assign(weight=1.0)), **strength), abs=1e-3)


def _fitted(microdata: Microdata, *, strength: float) -> np.ndarray:
    counts = np.zeros((len(microdata.profiles), 3))
    counts[microdata.answers["profile"], microdata.answers["position"]] = microdata.answers["weight"]
    traits = sorted(set().union(*microdata.profiles))
    design = module.design_of(np.array([[trait in profile for trait in traits] for profile in microdata.profiles], dtype=float))
    return fit_logit(counts, design, strength=strength).shares(design)


def test_who_is_held_out_is_averaged_over_but_never_fitted() -> None:
    people = respondents()
    abroad = people.assign(profile=[["country=B", *profile] for profile in people["profile"]])
    home = people.assign(profile=[["country=A", *profile] for profile in people["profile"]])
    other = abroad.assign(position=(abroad["position"] + 1) % 3)
    held_out = frozenset({"country=B"})
    one, two = (shares_of(pd.concat([home, rows]), "country=B|age=old", held_out=held_out) for rows in (abroad, other))
    assert one == pytest.approx(two, abs=1e-12)
    at_home = [shares_of(pd.concat([home, rows]), "age=old", held_out=held_out) for rows in (abroad, abroad.assign(weight=50.0))]
    assert at_home[0] == pytest.approx(at_home[1], abs=1e-12), "nor do they count in a trained subgroup"


def test_a_question_that_was_never_trained_is_not_fitted() -> None:
    assert additive_micro(counts_of(respondents()), trained=set(), asked={ITEM: ["sex=F"]}, subgroups=subgroups("sex=F")) == {}


@pytest.fixture(scope="module")
def of_sample(staged_sample: FileSet, sample_marts: FileSet, sample_study: Study) -> Microdata:
    return read_microdata(staged_sample, sample_marts, sample_study)


def test_the_survey_is_counted_as_pandas_counts_it(of_sample: Microdata, staged_sample: FileSet) -> None:
    database = next(staged_sample.path(name) for name in staged_sample.files if name.endswith(".duckdb"))
    with duckdb.connect(str(database), read_only=True) as connection:
        people = connection.execute("select respondent_id, weight, traits from stg_respondents").df()
        answers = connection.execute("select respondent_id, item, code from stg_answers").df()
        options = connection.execute("select item, code, position from options").df()
    assert sum(of_sample.weights) == pytest.approx(1), "each country's wave weighs alike"
    people["profile"] = [frozenset(f"{name}={level}" for name, level in traits.items()) for traits in people["traits"]]
    assert set(people["profile"]) == set(of_sample.profiles)
    valid = answers.merge(options, on=["item", "code"]).merge(people, on="respondent_id")
    valid = valid[valid["item"].isin(of_sample.options)]
    expected = valid.assign(weight=valid["weight"] / people["weight"].sum()).groupby(["item", "profile", "position"])["weight"].sum()
    found = of_sample.answers.assign(profile=[of_sample.profiles[place] for place in of_sample.answers["profile"]])
    found = found.set_index(["item", "profile", "position"])["weight"]
    assert len(found) == len(expected) > 5000
    assert np.allclose(found, expected.reindex(found.index), atol=1e-12)


def test_of_disjoint_halves_only_the_trained_one_is_seen(of_sample: Microdata, staged_sample: FileSet, sample_marts: FileSet) -> None:
    studies = [load_study("sample", overrides=["split.overlap=disjoint", f"split.swapped={swapped}"]) for swapped in ("false", "true")]
    halves = [read_microdata(staged_sample, sample_marts, study) for study in studies]
    counts = [held.answers.groupby(["item", "position"])["weight"].sum() for held in (*halves, of_sample)]
    assert 0.4 < counts[0].sum() / counts[2].sum() < 0.6
    assert np.allclose(counts[0].add(counts[1], fill_value=0), counts[2], atol=1e-12), "each respondent is in one half"


def test_missing_answers_are_no_options(of_sample: Microdata) -> None:
    """The trap of negative missing codes that are averaged into a target."""
    answers = of_sample.answers
    assert (answers["position"] >= 0).all()
    assert (answers["position"] < answers["item"].map(of_sample.options)).all()


def test_the_logit_of_a_big_cell_is_near_its_own_shares(of_sample: Microdata, sample_marts: FileSet) -> None:
    targets = sample_marts.read("distributions")
    everybody = targets[targets["subgroup_id"].isin(["sex=Female", "sex=Male"])]
    asked = everybody.groupby("item")["subgroup_id"].unique().map(list).to_dict()
    found = additive_micro(of_sample, trained=set(asked), asked=asked, subgroups=sample_marts.read("subgroups"))
    for (item, name), rows in everybody.sort_values("position").groupby(["item", "subgroup_id"]):
        assert found[str(item), str(name)] == pytest.approx(rows["share"].to_numpy(), abs=0.03)


def test_a_held_out_country_is_named(staged_sample: FileSet, sample_marts: FileSet) -> None:
    study = load_study("sample", overrides=["split.kind=unseen_country"])
    from tasks.errors import InputError

    with pytest.raises(InputError, match="unseen_country"):
        read_microdata(staged_sample, sample_marts, study)
