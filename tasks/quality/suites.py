"""What must hold of each table: one expectation suite per table, named like it, written as data.

    rules = suite("targets", SuiteParameters(minimum_respondents=30, order=2))
    rules[0].expectation()          the Great Expectations object, which costs an import of some seconds

A rule looks at one table's plain columns. What crosses tables, or looks into a list, is a query in sql/checks.
"""

import os
from typing import Any, NamedTuple, get_args

from tasks.study_evaluation import Baseline, Reader, Rewording

KINDS = ("attitude", "behaviour", "experience", "knowledge")
SCALES = ("ordinal", "binary", "nominal")
MISSING = ("dont_know", "no_answer", "not_applicable", "not_asked", "missing", "off_scale", "quarantined")
MODELS = ("base", "tuned", "order0", *get_args(Baseline))
READERS = (*get_args(Reader), "open_ended", "table")
VARIANTS = ("plain", "blank_persona", "permuted_persona", *get_args(Rewording))
NO_ANSWER = -1  # the choice where an answer could not be read
TEST_SPLITS = ("id_test", "ood_test")
OVERLAP_TARGETS = ("study", "everybody", "same", "other", "effect")
THIRDS = ("near", "middle", "far")
FIRST_WAVE_YEAR, LAST_YEAR = 1981, 2100

ROUNDING = 1e-6  # how far a sum of probabilities may stray from 1 (the same in sql/checks)
FINITE = 1e300  # an upper bound that infinity breaks; NaN counts as null


class SuiteParameters(NamedTuple):
    """What a study decides of its suites: the least valid answers of a cell, and the number of traits of its largest subgroups."""

    minimum_respondents: int = 30
    order: int = 2


class Rule(NamedTuple):
    """One expectation: the name of a Great Expectations class, and its arguments."""

    kind: str
    arguments: dict[str, Any]

    def expectation(self) -> Any:
        return getattr(great_expectations().expectations, self.kind)(**self.arguments)


def great_expectations() -> Any:
    """The library, imported when a gate needs it and with its usage reports off."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    import great_expectations.expectations  # noqa: F401

    return gx


def suite(table: str, parameters: SuiteParameters) -> list[Rule]:
    """The rules of a table; KeyError for a table that has no suite."""
    makers = {
        "items": _items,
        "options": _options,
        "stg_respondents": _stg_respondents,
        "stg_answers": _stg_answers,
        "subgroups": _subgroups,
        "distributions": _distributions,
        "targets": _targets,
        "landscape": _landscape,
        "pairs": _pairs,
        "predictions": _predictions,
        "training_log": _training_log,
        "overlap": _overlap,
        "overlap_subgroups": _overlap_subgroups,
    }
    rules = [Rule("ExpectTableRowCountToBeBetween", {"min_value": 1}), *makers[table](parameters)]
    return [rule for position, rule in enumerate(rules) if rule not in rules[:position]]


def no_rows(meaning: str) -> list[Rule]:
    """The rule of a query in sql/checks; `meaning` says what a row would mean."""
    return [Rule("ExpectTableRowCountToEqual", {"value": 0, "description": f"No rows. What they would be: {meaning}."})]


def _items(_: SuiteParameters) -> list[Rule]:
    return [*_key("item"), *_present("topic", "question"), *_known("kind", KINDS), *_known("scale", SCALES), *_between("k", 2)]


def _options(_: SuiteParameters) -> list[Rule]:
    return [*_key("item", "code"), *_key("item", "position"), *_present("wording"), *_between("code", 0), *_between("position", 0)]


def _stg_respondents(_: SuiteParameters) -> list[Rule]:
    return [
        *_key("respondent_id"),
        *_present("country"),
        Rule("ExpectColumnValuesToMatchRegex", {"column": "country", "regex": "^[A-Z]{3}$"}),
        *_between("wave", 1),
        *_between("year", FIRST_WAVE_YEAR, LAST_YEAR),
        *_above_zero("weight"),
    ]


def _stg_answers(_: SuiteParameters) -> list[Rule]:
    return [*_key("respondent_id", "item"), _range("code", 0), _in_set("missing", MISSING)]


def _subgroups(parameters: SuiteParameters) -> list[Rule]:
    return [
        *_key("subgroup_id"),
        *_known("subgroup_order", range(parameters.order + 1)),
        *_present("dimension"),
        *_share("weight_share"),
        *_sampled(parameters),
    ]


def _distributions(parameters: SuiteParameters) -> list[Rule]:
    return [*_key("item", "subgroup_id", "code"), *_between("code", 0), *_between("position", 0), *_share("share"), *_sampled(parameters)]


def _targets(parameters: SuiteParameters) -> list[Rule]:
    return [*_key("item", "subgroup_id"), *_between("position", 0), *_above_zero("share"), _range("runner_up", 0), *_target(), *_sampled(parameters)]


def _landscape(_: SuiteParameters) -> list[Rule]:
    reachable = {"column_A": "mds_reachable", "column_B": "mds", "or_equal": True, "ignore_row_if": "either_value_is_missing"}
    return [
        *_key("item", "dimension"),
        *_present("topic"),
        *_between("subgroups", 1),
        *_between("k", 2),
        *_between("entropy", 0, FINITE),
        *_share("mds"),
        _range("mds_reachable", 0, 1 + ROUNDING),  # null for a dimension with a single subgroup
        Rule("ExpectColumnPairValuesAToBeGreaterThanB", reachable),
    ]


def _pairs(parameters: SuiteParameters) -> list[Rule]:
    return [
        *_key("item", "subgroup_id"),
        *_exactly("split", ("train", "validation", *TEST_SPLITS)),
        *_known("subgroup_order", range(parameters.order + 1)),
        *_known("scale", SCALES),
        *_present("dimension", "topic", "persona", "prompt"),
        *_between("k", 2),
        *_share("weight_share"),
        *_target(),
        *_sampled(parameters),
    ]


def _predictions(_: SuiteParameters) -> list[Rule]:
    return [
        *_key("model", "reader", "variant", "item", "subgroup_id"),
        *_known("model", MODELS),
        *_known("reader", READERS),
        *_known("variant", VARIANTS),
        *_exactly("split", TEST_SPLITS),
        *_between("choice", NO_ANSWER),
        *_share("outside"),
    ]


def _training_log(_: SuiteParameters) -> list[Rule]:
    return [
        *_key("step"),
        *_between("step", 0),
        *_between("epoch", 0, FINITE),
        *_between("loss", 0, FINITE),
        _range("validation_loss", 0, FINITE),  # null between evaluations
        *_between("learning_rate", 0, FINITE),
        *_between("samples_per_second", 0, FINITE),
        *_between("seconds", 0, FINITE),
    ]


def _overlap(_: SuiteParameters) -> list[Rule]:
    return [
        *_key("model", "reader", "targets", "group"),
        *_known("targets", OVERLAP_TARGETS),
        *_known("group", ("all", *THIRDS)),
        *_between("value", -1 - ROUNDING, 1 + ROUNDING),  # an effect is a difference of accuracies
        *_between("pairs", 1),
        *_known("directions", (1, 2)),
    ]


def _overlap_subgroups(_: SuiteParameters) -> list[Rule]:
    shares = ("in_trained_parents", "part_of_parent", "in_another", "distance")
    return [*_key("subgroup_id"), *_between("pairs", 1), *(rule for column in shares for rule in _share(column)), _in_set("third", THIRDS)]


def _target() -> list[Rule]:
    return [*_between("code", 0), *_known("tied", (True, False)), *_share("margin"), *_share("mode_certainty")]


def _sampled(parameters: SuiteParameters) -> list[Rule]:
    return [*_between("respondents", parameters.minimum_respondents), *_above_zero("effective_n")]


def _key(*columns: str) -> list[Rule]:
    if len(columns) == 1:
        return [*_present(*columns), Rule("ExpectColumnValuesToBeUnique", {"column": columns[0]})]
    return [*_present(*columns), Rule("ExpectCompoundColumnsToBeUnique", {"column_list": list(columns)})]


def _present(*columns: str) -> list[Rule]:
    return [Rule("ExpectColumnValuesToNotBeNull", {"column": column}) for column in columns]


def _known(column: str, values: Any) -> list[Rule]:
    return [*_present(column), _in_set(column, values)]


def _exactly(column: str, values: tuple[str, ...]) -> list[Rule]:
    """Every value occurs, and no other. (The expectation made for this breaks the page that shows it.)"""
    return [*_known(column, values), Rule("ExpectColumnUniqueValueCountToBeBetween", {"column": column, "min_value": len(values)})]


def _between(column: str, low: float, high: float | None = None) -> list[Rule]:
    return [*_present(column), _range(column, low, high)]


def _share(column: str) -> list[Rule]:
    return _between(column, -ROUNDING, 1 + ROUNDING)


def _above_zero(column: str) -> list[Rule]:
    return [*_present(column), Rule("ExpectColumnValuesToBeBetween", {"column": column, "min_value": 0, "strict_min": True, "max_value": FINITE})]


def _range(column: str, low: float, high: float | None = None) -> Rule:
    return Rule("ExpectColumnValuesToBeBetween", {"column": column, "min_value": low} | ({} if high is None else {"max_value": high}))


def _in_set(column: str, values: Any) -> Rule:
    return Rule("ExpectColumnValuesToBeInSet", {"column": column, "value_set": list(values)})
