"""What a reader is told instead of a key: models, baselines, controls, splits, metrics, readers, objectives. An unknown key is shown in plain words.

baseline("additive_micro")          Additive, sees microdata
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.reporting import formats

UNSEEN = {"unseen_country": "Unseen countries", "unseen_wave": "Unseen waves", "unseen_question": "Unseen questions"}
METRICS = {
    "accuracy": "Accuracy",
    "nmae": "NMAE",
    "emd": "EMD",
    "total_variation": "Total variation",
    "jensen_shannon": "Jensen-Shannon",
    "calibration_error": "Calibration error",
}
BASELINES = {
    "national_mode": "National mode",
    "parent_mode": "Parent mode",
    "additive": "Additive",
    "additive_micro": "Additive, sees microdata",
    "nearest_subgroup": "Nearest subgroup",
    "other_country": "Other countries' answer",
    "other_wave": "Other waves' answer",
    "nearest_question": "Nearest question",
    "topic_prior": "Topic prior",
    "chance": "Chance",
}
EXPLAINED = {
    "blank_persona": "Blank persona: the same question with no trait named.",
    "permuted_persona": "Permuted persona: each subgroup's question asked with another subgroup's persona.",
    "order0": "Tuned on everybody only: the same training on the answers of all respondents together, without subgroups.",
    "national_mode": "National mode: everybody's most common answer (of the country, or of all that is trained) for each subgroup.",
    "parent_mode": "Parent mode: the answer of one of the parents (subgroups of one trait fewer), whichever is clearer.",
    "additive": "Additive: the traits' distributions combined.",
    "additive_micro": "Additive, sees microdata: a logit on the traits of the respondents themselves, averaged over who is in the subgroup.",
    "nearest_subgroup": "Nearest subgroup: the answer of the trained subgroup that differs in one trait and answers most alike.",
    "other_country": "Other countries' answer: that of the same traits in the trained countries.",
    "other_wave": "Other waves' answer: that of the same traits in the trained waves.",
    "nearest_question": "Nearest question: the subgroup's answer to the trained question whose wording is most similar, by place on the scale.",
    "topic_prior": "Topic prior: everybody's mean answer to the topic's trained questions, by place on the scale.",
    "chance": "Chance: a guess among the options.",
}
CONTROLS = {"blank_persona": "{} blank persona", "permuted_persona": "{} permuted persona", "order0": "Tuned on everybody only"}
READERS = {"likelihood": "likelihood", "first_token": "first token", "generated": "generated text", "open_ended": "free answer, judged"}
REWORDINGS = {
    "reversed_options": "options in reverse order",
    "permuted_options": "options in another order",
    "letters": "letters instead of numbers",
    "persona_profile": "persona as a profile",
    "persona_framed": "persona framed otherwise",
    "instruction_reworded": "instruction reworded",
    "instruction_as_question": "instruction as a question",
}
OBJECTIVES = {
    "none": "none: the model as it is",
    "tokens": "next token of the most common answer (the paper's)",
    "modal": "probability of the most common answer",
    "distribution": "the whole distribution of the survey's answers",
    "ordinal": "distance on the scale to the survey's distribution",
}
KINDS = {"unseen_country": "countries", "unseen_wave": "waves", "unseen_question": "questions"}
MODELS = {"sample": "SmolLM2-135M-Instruct (the sample, from 4-bit weights)"}


def split(key: str, *, kind: str) -> str:
    """What is tested in a split, by the kind of thing that the study holds out."""
    return UNSEEN.get(kind, "Unseen subgroups") if key == "ood_test" else "Trained subgroups, unseen cells"


def baseline(key: str) -> str:
    return BASELINES.get(key, words(key).capitalize())


def control(key: str, *, of: str) -> str:
    """`of`: Tuned or Base."""
    return CONTROLS[key].format(f"{of},") if key in CONTROLS else f"{of}, {words(key)}"


def words(key: Any) -> str:
    """A key in plain words."""
    return formats.label(str(key).replace("_", " "))


def of(known: Mapping[str, str], key: Any) -> str:
    return known.get(str(key)) or words(key)


def in_order(known: Iterable[str], found: Iterable[str]) -> list[str]:
    """The keys that were found: the known ones in the order in which they are known, then the others."""
    listed, there = list(known), set(found)
    return [key for key in listed if key in there] + sorted(there.difference(listed))


def listed(things: Sequence[str], *, most: int = 6) -> str:
    """a, b and c; the rest as a number."""
    shown = list(things[:most]) + ([f"{len(things) - most} more"] if len(things) > most else [])
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else formats.ABSENT


def weighting(survey: Mapping[str, Any]) -> str:
    """Said beside every number: whether the survey's weights are in it. `survey`: weighted, and weight_column of its file or files."""
    column = survey.get("weight_column")
    if survey.get("weighted"):
        return f"weighted by {formats.label(column or 'its weight column')}"
    return f"UNWEIGHTED in part (weights of the files: {formats.label(column)})" if column and "," in str(column) else "UNWEIGHTED"
