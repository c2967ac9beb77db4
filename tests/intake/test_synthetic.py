"""The synthetic survey: the official layout, the published aggregates, the questionnaire's rules, and a truth that a simulation confirms."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tasks.errors import InputError, StepError
from tasks.intake.synthetic import DEFAULT_SEED, true_distribution, write_synthetic_survey
from tasks.intake.synthetic_answers import answer_models, draw_answers, inclusion, solve
from tasks.intake.synthetic_effects import load_effects
from tasks.intake.synthetic_population import (
    DATA_FOLDER,
    LEVELS,
    RELIGION_CODES,
    census_table,
    ethnicity_by_religion,
    fit,
    population_settings,
    published,
    published_shares,
    round_within_margins,
    synthetic_population,
)

CHILD_QUALITIES = [f"Q{number}" for number in range(7, 18)]
SECOND_CHOICES = {"Q153": "Q152", "Q155": "Q154", "Q157": "Q156"}
FAMILY_WISE_LEVEL = 0.01  # chance that a correct generator fails a test over all its options
SIMULATIONS = 40


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_survey(tmp_path_factory.mktemp("survey"))


@pytest.fixture(scope="module")
def survey(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep=";", encoding="utf-8-sig")


@pytest.fixture(scope="module")
def simulated() -> list[pd.DataFrame]:
    return [draw_answers(seed=seed) for seed in range(SIMULATIONS)]


def valid_answers(survey: pd.DataFrame, item: str) -> pd.Series:
    return survey[item][survey[item].isin(answer_models()[item].item.codes)]


# The file


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_answers(path: Path, tmp_path: Path) -> None:
    again = write_synthetic_survey(tmp_path / "again", seed=DEFAULT_SEED)
    other = write_synthetic_survey(tmp_path / "other", seed=DEFAULT_SEED + 1)
    assert again.read_bytes() == path.read_bytes()
    assert other.read_bytes() != path.read_bytes()


def test_a_seed_moves_the_answers_and_leaves_respondents_and_weights(survey: pd.DataFrame, tmp_path: Path) -> None:
    other = pd.read_csv(write_synthetic_survey(tmp_path, seed=7), sep=";", encoding="utf-8-sig")
    fixed = [column for column in survey.columns if column not in answer_models()]
    pd.testing.assert_frame_equal(other[fixed], survey[fixed])
    assert (other["Q6"] != survey["Q6"]).mean() > 0.3


def test_the_file_has_the_official_layout(path: Path, survey: pd.DataFrame) -> None:
    raw = path.read_bytes()
    header = raw.decode("utf-8-sig").splitlines()[0].split(";")
    assert raw.startswith(b"\xef\xbb\xbf")
    assert header[:9] == ["version", "doi", "A_YEAR", "B_COUNTRY", "B_COUNTRY_ALPHA", "D_INTERVIEW", "W_WEIGHT", "S018", "PWGHT"]
    assert header[-12:] == ["Q260", "Q261", "Q262", "X003R", "Q273", "Q279", "Q287", "Q288", "Q288R", "Q289", "Q289CS9", "Q290"]
    assert [column for column in header if column in answer_models()] == sorted(answer_models(), key=lambda item: int(item[1:]))
    assert len(answer_models()) == 183
    assert len(survey) == 2012
    assert survey["D_INTERVIEW"].is_unique
    assert set(survey["B_COUNTRY"]) == {702}
    assert set(survey["A_YEAR"]) == {2020}


def test_every_cell_of_an_item_is_a_code_of_its_scale_or_a_missing_code(survey: pd.DataFrame) -> None:
    for item, model in answer_models().items():
        known = {*model.item.codes, -1, -2} | ({3} if item == "Q111" else set())
        assert set(survey[item]) <= known, item


def test_the_file_its_columns_and_its_companion_say_that_it_is_synthetic(path: Path, survey: pd.DataFrame) -> None:
    companion = path.with_suffix(".README.txt").read_text(encoding="utf-8")
    assert path.name.startswith("SYNTHETIC-")
    assert survey["version"].str.startswith("SYNTHETIC").all()
    assert survey["doi"].str.contains("SYNTHETIC").all()
    assert "NOBODY GAVE THESE ANSWERS" in companion
    assert "evidence of nothing" in companion
    assert str(DEFAULT_SEED) in companion


def test_nothing_but_the_two_files_is_left_in_the_folder(path: Path) -> None:
    assert sorted(found.name for found in path.parent.iterdir()) == sorted([path.name, path.with_suffix(".README.txt").name])


# The population


def test_sex_by_age_counts_are_the_published_ones(survey: pd.DataFrame) -> None:
    sex = survey["Q260"].map({1: "Male", 2: "Female"})
    age = pd.cut(survey["Q262"], [20, 24, 34, 44, 54, 64, 120], labels=LEVELS["age_group"])
    found = (sex + "|" + age.astype(str)).value_counts().to_dict()
    assert found == published("sex x age_group")
    assert survey["Q262"].min() == 21
    assert (survey["X003R"] == age.cat.codes + 1).all()


@pytest.mark.parametrize("column", ["Q273", "Q279"])
def test_statuses_have_the_published_counts(survey: pd.DataFrame, column: str) -> None:
    assert {str(code): count for code, count in survey[column].value_counts().items()} == published(column)


@pytest.mark.parametrize("column", ["Q287", "Q288"])
def test_class_and_income_have_the_published_weighted_shares(survey: pd.DataFrame, column: str) -> None:
    found = survey.groupby(column)["W_WEIGHT"].sum() / survey["W_WEIGHT"].sum()
    assert {str(code): share for code, share in found.items()} == pytest.approx(published_shares(column), abs=1e-6)


def test_religion_has_the_published_weighted_shares_and_sex_the_census_ones(survey: pd.DataFrame) -> None:
    shares = survey["W_WEIGHT"] / survey["W_WEIGHT"].sum()
    religion = shares.groupby(survey["Q289"].map(dict(zip(RELIGION_CODES, LEVELS["religion"], strict=True)))).sum()
    assert religion.to_dict() == pytest.approx(published_shares("religion"), abs=1e-6)
    assert shares.groupby(survey["Q260"]).sum()[1] == pytest.approx(published_shares("census sex")["Male"], abs=1e-6)


def test_ethnicity_has_the_census_weighted_shares(survey: pd.DataFrame) -> None:
    groups = survey["Q290"].map({702004: "Chinese", 702006: "Malay", 702003: "South Asian"}).fillna("Others")
    found = survey["W_WEIGHT"].groupby(groups).sum() / survey["W_WEIGHT"].sum()
    assert found.to_dict() == pytest.approx(published_shares("census ethnicity"), abs=1e-6)


def test_raking_keeps_the_odds_ratios_of_the_census_table() -> None:
    census, raked = census_table(population_settings()), ethnicity_by_religion(population_settings())
    chinese, south_asian, none, muslim = 0, 2, 0, 4
    for table in (census, raked):
        assert table[chinese, none] * table[south_asian, muslim] / (table[chinese, muslim] * table[south_asian, none]) == pytest.approx(
            546.7, rel=1e-3
        )
    assert raked.sum(axis=0) == pytest.approx(np.array(list(published_shares("religion").values())), abs=1e-9)


@pytest.mark.parametrize("ethnicity", ["Chinese", "Malay", "South Asian"])
def test_religion_within_an_ethnic_group_is_the_raked_census_but_for_rounding(ethnicity: str) -> None:
    population = synthetic_population()
    weights = population.weights * (population.level("ethnicity") == ethnicity)
    found = np.bincount(population.traits["religion"], weights, len(LEVELS["religion"])) / weights.sum()
    raked = ethnicity_by_religion(population_settings())[LEVELS["ethnicity"].index(ethnicity)]
    assert found == pytest.approx(raked / raked.sum(), abs=0.015)


def test_taoists_and_sikhs_are_inside_the_other_religions(survey: pd.DataFrame) -> None:
    small = survey["Q289CS9"].isin([90101000, 90400000])
    assert (small == (survey["Q289"] == 9)).all()
    assert set(survey.loc[survey["Q289CS9"] == 90400000, "Q290"]) == {702003}


def test_weights_have_mean_one_and_give_the_young_more(survey: pd.DataFrame) -> None:
    assert survey["W_WEIGHT"].mean() == pytest.approx(1, abs=1e-6)
    assert survey["W_WEIGHT"].between(0.3, 3).all()
    means = survey.groupby("X003R")["W_WEIGHT"].mean()
    assert means[1] > 1.3
    assert means[6] < 0.9


def test_rounding_keeps_every_margin_and_moves_no_cell_by_one_or_more() -> None:
    generator = np.random.default_rng(1)
    rows, columns = np.array([30.0, 50, 21, 3]), np.array([12.0, 40, 7, 25, 20])
    expected = fit(generator.random((4, 5)) + 0.05, rows=rows, columns=columns)
    rounded = round_within_margins(expected)
    assert rounded.sum(axis=1).tolist() == rows.tolist()
    assert rounded.sum(axis=0).tolist() == columns.tolist()
    assert np.abs(rounded - expected).max() < 1


def test_a_fit_that_cannot_meet_its_margins_fails_with_the_reason() -> None:
    with pytest.raises(StepError, match="did not converge"):
        fit(np.array([[1.0, 0.0], [1.0, 1.0]]), rows=np.array([9.0, 1.0]), columns=np.array([2.0, 8.0]))


# The answers


def test_expected_toplines_are_the_published_ones_for_every_item() -> None:
    toplines = pd.read_csv(DATA_FOLDER / "published_toplines.csv")
    for item, model in answer_models().items():
        rows = toplines[(toplines["item"] == item) & toplines["code"].isin(model.item.codes)].set_index("code")["percent"]
        expected = model.valid @ model.shares / model.valid.sum()
        assert dict(zip(model.item.codes, expected, strict=True)) == pytest.approx((rows / rows.sum()).to_dict(), abs=1e-6), item


def test_drawn_toplines_are_within_sampling_error_for_every_option_of_all_items(survey: pd.DataFrame) -> None:
    tests = []
    for item, model in answer_models().items():
        answers = valid_answers(survey, item)
        for code, share in zip(model.item.codes, model.item.shares, strict=True):
            tests.append((stats.binomtest(int((answers == code).sum()), len(answers), share).pvalue, item, code))
    assert len(tests) == 892  # the 893 published shares without the off-scale one
    assert min(tests)[0] > FAMILY_WISE_LEVEL / len(tests), min(tests)


def test_at_most_five_child_qualities_are_mentioned_and_the_cap_binds(survey: pd.DataFrame) -> None:
    mentioned = (survey[CHILD_QUALITIES] == 1).sum(axis=1)
    assert mentioned.max() == 5
    assert (mentioned == 5).mean() > 0.5


def test_child_qualities_are_answered_or_refused_as_a_whole(survey: pd.DataFrame) -> None:
    missing = (survey[CHILD_QUALITIES] < 0).sum(axis=1)
    assert set(missing) == {0, len(CHILD_QUALITIES)}


@pytest.mark.parametrize(("second", "first"), SECOND_CHOICES.items())
def test_a_second_choice_differs_from_the_first_and_needs_one(survey: pd.DataFrame, second: str, first: str) -> None:
    assert (survey[second] != survey[first])[survey[second] > 0].all()
    assert (survey[second] < 0)[survey[first] < 0].all()


def test_the_capped_probabilities_equal_the_enumeration_of_all_subsets() -> None:
    log_odds = np.random.default_rng(3).normal(0, 1.5, (4, 7))
    subsets = np.array([subset for subset in itertools.product([0, 1], repeat=7) if sum(subset) <= 3])
    odds = np.exp(log_odds @ subsets.T)
    expected = odds @ subsets / odds.sum(axis=1, keepdims=True)
    assert inclusion(log_odds, 3) == pytest.approx(expected, abs=1e-12)


def test_shares_that_no_intercepts_can_reach_are_an_error_that_names_them() -> None:
    with pytest.raises(StepError, match="cannot reach"):
        solve(lambda values: np.full_like(values, 0.5), goal=np.array([0.2]), link=np.log)


def test_non_response_is_small_on_most_items_and_depends_on_traits(survey: pd.DataFrame) -> None:
    rates = (survey[list(answer_models())] < 0).mean()
    assert 0.005 < rates.median() < 0.03
    assert 0.05 < rates.max() < 0.2
    oldest = survey["X003R"] == 6
    by_age = [(survey.loc[rows, list(answer_models())] < 0).to_numpy().mean() for rows in (oldest, ~oldest)]
    assert by_age[0] > 1.3 * by_age[1]
    assert {-1, -2} <= set(survey["Q84"])


def test_the_off_scale_answer_is_recorded_and_left_out_of_the_truth(survey: pd.DataFrame) -> None:
    assert 0.02 < (survey["Q111"] == 3).mean() < 0.06
    assert list(true_distribution("Q111", {})) == [1, 2]


def test_effects_name_every_item_once_and_only_levels_that_exist() -> None:
    settings = load_effects().settings
    homes = [i for rules in settings["families"].values() for key in ("rising", "falling", "nominal") for i in rules.get(key, [])]
    assert sorted(homes) == sorted(answer_models())
    directions = [*(rules.get("direction", {}) for rules in settings["families"].values()), *settings["overrides"].values()]
    for dimension, levels in ((d, levels) for direction in directions for d, levels in direction.items()):
        assert set(levels) <= set(LEVELS[dimension])


def test_answers_of_one_family_go_together_within_a_respondent(survey: pd.DataFrame) -> None:
    answered = survey[["Q69", "Q70", "Q132"]].where(lambda codes: codes > 0)
    assert answered["Q69"].corr(answered["Q70"]) > 0.25
    assert abs(answered["Q69"].corr(answered["Q132"])) < 0.12


# The truth


@pytest.mark.parametrize("item", ["Q6", "Q15", "Q17", "Q56", "Q84", "Q111", "Q119", "Q153", "Q157", "Q165", "Q173", "Q182"])
@pytest.mark.parametrize(
    "traits", [{}, {"sex": "Female"}, {"age_group": "65+", "religion": "Buddhist"}, {"ethnicity": "Malay"}, {"religion": "Jew|Other"}], ids=str
)
def test_the_truth_equals_the_mean_of_many_simulated_surveys(simulated: list[pd.DataFrame], item: str, traits: dict[str, str]) -> None:
    population = synthetic_population()
    members = np.all([np.isin(population.level(d), level.split("|")) for d, level in traits.items()] or [population.weights > 0], axis=0)
    truth = true_distribution(item, traits)
    found = np.array([weighted_shares(answers[item][members], population.weights[members], list(truth)) for answers in simulated])
    error = found.std(axis=0, ddof=1) / np.sqrt(SIMULATIONS)
    # Five standard errors: over some 300 options a right truth fails in 0.4% of all choices of seeds (t with 39 degrees of freedom).
    assert (np.abs(found.mean(axis=0) - list(truth.values())) < 5 * error + 1e-4).all()
    assert sum(truth.values()) == pytest.approx(1)


def weighted_shares(answers: pd.Series, weights: np.ndarray, codes: list[int]) -> list[float]:
    totals = [weights[(answers == code).to_numpy()].sum() for code in codes]
    return [total / sum(totals) for total in totals]


def test_the_published_change_of_q182_with_age_is_approached() -> None:
    model, population = answer_models()["Q182"], synthetic_population()
    for ages, percent in published("Q182 not justifiable (codes 1-3)").items():
        lowest, highest = (int(bound) for bound in ages.replace("66+", "66-120").split("-"))
        weights = population.weights * model.valid * population.people["Q262"].between(lowest, highest)
        assert 100 * (weights @ model.shares)[:3].sum() / weights.sum() == pytest.approx(percent, abs=3)


def test_weights_move_the_truth_of_some_items_visibly() -> None:
    moved = []
    for item, model in answer_models().items():
        weighted = np.array(list(true_distribution(item, {}).values()))
        moved.append(np.abs(weighted - model.item.shares).max())
    assert max(moved) > 0.03
    assert sum(change > 0.01 for change in moved) >= 20


def test_subgroups_differ_and_intersections_are_no_sum_of_their_parents() -> None:
    for item in ("Q6", "Q182", "Q33"):
        codes, truth = list(true_distribution(item, {})), {}
        for sex, religion in itertools.product(LEVELS["sex"], ("None", "Muslim")):
            shares = true_distribution(item, {"sex": sex, "religion": religion})
            truth[sex, religion] = np.log(sum(shares[c] for c in codes[:2]) / sum(shares[c] for c in codes[2:]))
        gaps = [truth[sex, "Muslim"] - truth[sex, "None"] for sex in LEVELS["sex"]]
        assert abs(gaps[0]) > 0.1
        assert abs(gaps[0] - gaps[1]) > 0.02


@pytest.mark.parametrize(
    ("item", "traits", "message"),
    [("Q82", {}, "not in the synthetic survey"), ("Q6", {"sex": "Other"}, "no level"), ("Q6", {"town": "x"}, "no level")],
)
def test_an_unknown_item_dimension_or_level_is_refused(item: str, traits: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        true_distribution(item, traits)


def test_a_subgroup_that_nobody_is_in_is_refused() -> None:
    with pytest.raises(InputError, match="no synthetic respondent"):
        true_distribution("Q6", {"ethnicity": "Malay", "religion": "Jew"})


def test_at_least_eighty_subgroups_can_be_studied(survey: pd.DataFrame) -> None:
    population = synthetic_population()
    traits = {d: np.where(population.level(d) == "Jew", "Other", population.level(d)) for d in ("sex", "age_group", "ethnicity", "religion")}
    valid = np.column_stack([survey[item].isin(model.item.codes) for item, model in answer_models().items()])
    groups = [np.ones(len(survey), dtype=bool)]
    for dimensions in [*itertools.combinations(traits, 1), *itertools.combinations(traits, 2)]:
        labels = pd.Series(["|".join(levels) for levels in zip(*(traits[d] for d in dimensions), strict=True)])
        groups += [(labels == label).to_numpy() for label in labels.unique()]
    full = sum((valid[group].sum(axis=0) >= 30).mean() >= 0.95 for group in groups)
    assert full >= 80
