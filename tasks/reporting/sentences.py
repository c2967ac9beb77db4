"""The headline in plain sentences, generated from the numbers: what they say, and what they do not support.

    for sentence in headline(contents): ...

A difference whose paired interval holds zero is called too close to tell apart, never better; without an interval, one under CLOSE.
"""

from typing import NamedTuple

from tasks.reporting import formats, tables, views
from tasks.reporting.contents import SPLITS, Contents, Statistic

CLOSE = 0.02
PAIRS_OF = {
    "ood_test": "pairs (a question put to a subgroup) of subgroups that were kept out of training",
    "id_test": "pairs (a question put to a subgroup) that were kept out of training, of subgroups trained on other questions",
}
BASELINE_NAMES = {"parent_mode": "parent mode", "additive": "additive baseline"}


class Scored(NamedTuple):
    name: str
    accuracy: Statistic


def headline(contents: Contents) -> list[str]:
    """The main split in full, the other in one sentence."""
    main = views.main_split(contents.summary)
    sentences = [_result(contents, main), _against_national_mode(contents, main), _against_blank_persona(contents, main)]
    sentences += [_persona_changes(contents, main), _against_survey_baselines(contents, main)]
    others = [_result(contents, split) for split in SPLITS if split != main]
    untrained = [] if contents.trained else ["Nothing was trained in this run: it reports the base model only."]
    return [sentence for sentence in sentences + others + untrained if sentence]


def subject(contents: Contents) -> str:
    """What was studied, in one line: model, country, wave, respondents, weighting, questions, subgroups."""
    survey, pairs = contents.manifest["survey"], contents.summary["pairs"]
    country = formats.label(survey.get("country_name") or survey.get("country", formats.ABSENT))
    place = f"{country}, wave {formats.label(survey.get('wave', formats.ABSENT))}"
    asked = f"{formats.thousands(pairs.get('questions'))} questions, {formats.thousands(pairs.get('subgroups'))} subgroups"
    respondents = formats.thousands(survey.get("respondents"))
    return f"{tables.model_name(contents)} against {respondents} respondents ({place}; {tables.weighting(contents)}): {asked}."


def mass_outside(contents: Contents) -> str:
    """How much probability the models put on anything but the question's options."""
    predictions = contents.tables.get("predictions")
    if predictions is None:
        return ""
    plain = predictions[(predictions["variant"] == "plain") & predictions["model"].isin(["base", "tuned"])]
    means = plain.groupby("model")["outside"].mean().dropna()
    named = " and ".join(f"the {model} model {formats.percent(float(value))}" for model, value in means.items())
    return f"Probability put on something that is not an option of the question: {named}, on average." if named else ""


def _judged(contents: Contents) -> str:
    return "tuned" if contents.trained else "base"


def _result(contents: Contents, split: str) -> str:
    base, tuned = (contents.statistic(model, "accuracy", split) for model in ("base", "tuned"))
    if base is None:
        return ""
    pairs = contents.summary["pairs"].get(split)
    opening = f"On {formats.thousands(pairs)} {PAIRS_OF[split]}, "
    if tuned is None:
        return f"{opening}the base model picks the subgroup's most common answer in {formats.percent(base)}."
    change = formats.points(tuned.value - base.value)
    return (
        f"{opening}the tuned model picks the subgroup's most common answer in {formats.percent(tuned)}, "
        f"the base model in {formats.percent(base)} ({change} points)."
    )


def _against_national_mode(contents: Contents, split: str) -> str:
    ours = contents.statistic(_judged(contents), "accuracy", split)
    national = contents.statistic("baselines", "national_mode", "accuracy", split)
    if ours is None or national is None:
        return ""
    opening = f"Giving every subgroup everybody's most common answer scores {formats.percent(national)}:"
    ahead = _difference(contents, ours, national, name="national_mode", split=split)
    return f"{opening} the {_judged(contents)} model {_verdict(ahead)}{_lesson(ahead)}."


def _difference(contents: Contents, ours: Statistic, other: Statistic, *, name: str, split: str) -> Statistic:
    """Over the pairs that both answered, with its interval, where it was measured."""
    return contents.statistic("differences", f"{_judged(contents)}-{name}", "accuracy", split) or Statistic(ours.value - other.value)


def _is_close(difference: Statistic) -> bool:
    if difference.low is None or difference.high is None:
        return abs(difference.value) < CLOSE
    return difference.low <= 0 <= difference.high


def _verdict(difference: Statistic) -> str:
    points = formats.points(abs(difference.value)).lstrip("+")
    if _is_close(difference):
        return f"does no better than that, {_within(difference)}, which is too close to tell apart here"
    return f"is {points} points ahead of that" if difference.value > 0 else f"does no better than that, it is {points} points behind"


def _within(difference: Statistic) -> str:
    if difference.low is None or difference.high is None:
        return f"within {100 * CLOSE:.0f} points ({formats.points(difference.value)})"
    return f"{formats.points(difference.value)} points with an interval from {formats.points(difference.low)} to {formats.points(difference.high)}"


def _lesson(difference: Statistic) -> str:
    return "" if difference.value > 0 and not _is_close(difference) else ", so these numbers do not show that it knows subgroups apart"


def _against_blank_persona(contents: Contents, split: str) -> str:
    """A model that answers as well without a persona learned the format and the country's modes, not the subgroups."""
    ours = contents.statistic(_judged(contents), "accuracy", split)
    blank = contents.statistic("controls", "blank_persona", "accuracy", split)
    if ours is None or blank is None:
        return "The model was not asked with a blank persona, so this run cannot say what the persona adds."
    difference = _difference(contents, ours, blank, name="blank_persona", split=split)
    opening = f"Asked with a blank persona, the same model scores {formats.percent(blank)}:"
    if difference.value <= 0 or _is_close(difference):
        points = formats.points(difference.value)
        return f"{opening} with the persona it does no better ({points} points), so these numbers do not show that it makes use of the persona."
    return f"{opening} the persona adds {formats.points(difference.value).lstrip('+')} points."


def _persona_changes(contents: Contents, split: str) -> str:
    share = contents.statistic("controls", "persona_changes_answer", split)
    return f"The persona changes the model's answer in {formats.percent(share)} of these pairs." if share else ""


def _against_survey_baselines(contents: Contents, split: str) -> str:
    """The parent mode and the additive baseline read the survey's answers of the parents; no language model is in them."""
    ours = contents.statistic(_judged(contents), "accuracy", split)
    found = ((name, contents.statistic("baselines", key, "accuracy", split)) for key, name in BASELINE_NAMES.items())
    scored = [Scored(name, statistic) for name, statistic in found if statistic]
    if not scored or ours is None:
        return ""
    best = max(scored, key=lambda one: one.accuracy.value)
    key = next(key for key, name in BASELINE_NAMES.items() if name == best.name)
    ahead = _difference(contents, ours, best.accuracy, name=key, split=split)
    return (
        f"The stronger baseline that reads the survey's answers of each subgroup's parents ({best.name}, no language model) scores "
        f"{formats.percent(best.accuracy)}: the {_judged(contents)} model {_verdict(ahead)}."
    )
