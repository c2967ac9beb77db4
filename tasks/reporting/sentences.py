"""The summary in plain sentences, generated from the numbers: what they say, and what they do not support.

    for finding in summary(contents, changes): ...

A difference whose paired interval holds zero is called too close to tell apart, never better; without an interval, one under CLOSE.
"""

from typing import NamedTuple

from tasks.reporting import formats, names, views
from tasks.reporting.contents import SPLITS, Contents, Statistic, as_statistic, finite, setting
from tasks.reporting.disparity import DisparityRow, disparity_rows
from tasks.reporting.groups import Changes

CLOSE = 0.02
PAIRS_OF = {
    "ood_test": "pairs (a question put to a subgroup) of {} that were kept out of training",
    "id_test": "pairs (a question put to a subgroup) that were kept out of training, of subgroups trained on other questions",
}
NO_EVIDENCE = ("national_mode", "chance")  # baselines that read nothing of the subgroup
SURE = 0.05


class Finding(NamedTuple):
    heading: str
    sentences: list[str]


class Scored(NamedTuple):
    key: str
    accuracy: Statistic


def summary(contents: Contents, changes: Changes) -> list[Finding]:
    """What was studied, whether it helped, for whom, and how sure that is: the main split in full, the other in one sentence."""
    main = views.main_split(contents.summary)
    helped = [verdict(contents, main), _result(contents, main), _against_reference(contents, main), _against_blank_persona(contents, main)]
    helped += [_against_order0(contents, main)]
    helped += [_persona_changes(contents, main), _against_survey_baselines(contents, main), _where_it_differs(contents, main)]
    helped += [_result(contents, split) for split in SPLITS if split != main]
    whom = [_subgroups_changed(changes), _widest_gap(contents), _widened(contents)]
    sure = [_intervals(contents, main), _equivalent(contents, main), _most_changed_by_words(contents), _transferred(contents)]
    found = [
        Finding("What was studied", [subject(contents)]),
        Finding("Did fine-tuning help, beyond the baselines?" if contents.trained else "How good is the model, beside the baselines?", helped),
        Finding("For whom?", whom),
        Finding("How sure is that?", sure),
    ]
    return [Finding(heading, kept) for heading, sentences in found if (kept := [sentence for sentence in sentences if sentence])]


def verdict(contents: Contents, split: str) -> str:
    """One sentence for a reader who reads no other."""
    if not contents.trained:
        return "Nothing was trained in this run: it reports the base model only."
    base, tuned = (contents.statistic(model, "accuracy", split) for model in ("base", "tuned"))
    if base is None or tuned is None:
        return ""
    change = contents.statistic("differences", "tuned-base", "accuracy", split) or Statistic(tuned.value - base.value)
    if _is_close(change):
        return "Whether fine-tuning helped cannot be told from these pairs: the change in accuracy is too close to zero."
    if change.value < 0:
        return "Fine-tuning made the model less accurate."
    best = max(_scored(contents, split, but=("chance",)), key=lambda one: one.accuracy.value, default=None)
    if best is None:
        return "Fine-tuning made the model more accurate."
    ahead = _difference(contents, tuned, best.accuracy, name=best.key, split=split)
    name = names.baseline(best.key).lower()
    if _is_close(ahead):
        return f"Fine-tuning made the model more accurate, but not detectably better than the strongest baseline without a language model ({name})."
    if ahead.value < 0:
        return f"Fine-tuning made the model more accurate, but it stays behind the strongest baseline without a language model ({name})."
    return f"Fine-tuning made the model more accurate, beyond every baseline without a language model (the strongest is {name})."


def subject(contents: Contents) -> str:
    """What was studied, in one line: model, country, wave, respondents, weighting, questions, subgroups."""
    survey, pairs = contents.manifest["survey"], contents.summary["pairs"]
    country = formats.label(survey.get("country_name") or survey.get("country", formats.ABSENT))
    place = f"{country}, wave {formats.label(survey.get('wave', formats.ABSENT))}"
    asked = f"{formats.thousands(pairs.get('questions'))} questions, {formats.thousands(pairs.get('subgroups'))} subgroups"
    respondents = formats.thousands(survey.get("respondents"))
    survey_of = "the generated answers of a synthetic survey of" if contents.synthetic else "a survey of"
    return (
        f"How well {model_name(contents)} answers as people of a subgroup do, measured against {survey_of} {respondents} respondents ({place}; "
        f"{weighting(contents)}): {asked}."
    )


def model_name(contents: Contents) -> str:
    name = formats.label(setting(contents.manifest, "study", "model", "name", default=formats.ABSENT))
    return names.MODELS.get(name, name.rpartition("/")[2] if name.startswith("/") else name)


def weighting(contents: Contents) -> str:
    """Said beside every number: whether the survey's weights are in it."""
    survey = contents.summary.get("survey") or {}
    return names.weighting({"weighted": survey.get("weighted"), "weight_column": setting(contents.manifest, "survey", "weight_column", default=None)})


def reading(contents: Contents) -> str:
    """How much probability the models put on anything but the question's options, and how many answers could not be read."""
    answers = contents.summary.get("answers") or {}
    told = [
        f"the {model} model {formats.percent(found['outside'])} on average, and {formats.thousands(found['unread'])} of its "
        f"{formats.thousands(found['answers'])} answers could not be read"
        for model, found in answers.items()
    ]
    opening = "Probability put on something that is not an option of the question"
    return f"{opening}: {'; '.join(told)}. An answer that cannot be read counts as wrong." if told else ""


def _judged(contents: Contents) -> str:
    return "tuned" if contents.trained else "base"


def _result(contents: Contents, split: str) -> str:
    base, tuned = (contents.statistic(model, "accuracy", split) for model in ("base", "tuned"))
    if base is None:
        return ""
    pairs = contents.summary["pairs"].get(split)
    kept_out = names.split("ood_test", kind=contents.held_out).split()[-1]
    opening = f"On {formats.thousands(pairs)} {PAIRS_OF[split].format(kept_out)}, "
    if tuned is None:
        return f"{opening}the base model picks the subgroup's most common answer in {formats.percent(base)}."
    gained = contents.statistic("differences", "tuned-base", "accuracy", split) or Statistic(tuned.value - base.value)
    change = formats.points_between(gained)
    p = finite(setting(contents.summary, "differences", "tuned-base", "accuracy", split, "p", default=None))
    tested = "" if p is None else f", in a paired test p {formats.p_value(p)}"
    return (
        f"{opening}the tuned model picks the subgroup's most common answer in {formats.percent(tuned)}, "
        f"the base model in {formats.percent(base)}: a change of {change} points{tested}."
    )


def _against_reference(contents: Contents, split: str) -> str:
    """The baseline that knows nothing of subgroups, where the split has one."""
    key = views.reference(contents.summary, split)
    ours, other = contents.statistic(_judged(contents), "accuracy", split), contents.statistic("baselines", key, "accuracy", split)
    if ours is None or other is None:
        return ""
    national = key == "national_mode"
    opening = f"Giving every subgroup everybody's most common answer scores {formats.percent(other)}:" if national else ""
    ahead = _difference(contents, ours, other, name=key, split=split)
    opening = opening or f"The baseline “{names.baseline(key).lower()}” scores {formats.percent(other)}:"
    return f"{opening} the {_judged(contents)} model {_verdict(ahead)}{_lesson(ahead) if national else ''}."


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
        return f"is not shown to do better than that: {_within(difference)}, too close to tell apart here"
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
        points = formats.points_between(difference)
        return f"{opening} with the persona it does no better ({points} points), so these numbers do not show that it makes use of the persona."
    return f"{opening} the persona adds {formats.points(difference.value).lstrip('+')} points."


def _against_order0(contents: Contents, split: str) -> str:
    """What a model trained on everybody's answers only does as well was not learned from subgroups."""
    ours, order0 = contents.statistic("tuned", "accuracy", split), contents.statistic("controls", "order0", "accuracy", split)
    if ours is None or order0 is None:
        return ""
    ahead = _difference(contents, ours, order0, name="order0", split=split)
    return f"The same training on everybody's answers only scores {formats.percent(order0)}: the tuned model {_verdict(ahead)}."


def _persona_changes(contents: Contents, split: str) -> str:
    share = contents.statistic("controls", "persona_changes_answer", split)
    return f"The persona changes the model's answer in {formats.percent(share)} of these pairs." if share else ""


def _scored(contents: Contents, split: str, *, but: tuple[str, ...]) -> list[Scored]:
    """The baselines that have an accuracy."""
    keys = [key for key in contents.summary.get("baselines") or {} if key not in but]
    found = ((key, contents.statistic("baselines", key, "accuracy", split)) for key in keys)
    return [Scored(key, accuracy) for key, accuracy in found if accuracy]


def _against_survey_baselines(contents: Contents, split: str) -> str:
    """These baselines read the survey's answers of other subgroups or questions; no language model is in them."""
    ours = contents.statistic(_judged(contents), "accuracy", split)
    scored = _scored(contents, split, but=NO_EVIDENCE)
    if not scored or ours is None:
        return ""
    best = max(scored, key=lambda one: one.accuracy.value)
    ahead = _difference(contents, ours, best.accuracy, name=best.key, split=split)
    return (
        f"The strongest baseline that reads the survey's answers of related subgroups ({names.baseline(best.key)}, no language model) scores "
        f"{formats.percent(best.accuracy)}: the {_judged(contents)} model {_verdict(ahead)}."
    )


def _where_it_differs(contents: Contents, split: str) -> str:
    """Where the country's answer is wrong by construction, only what is known of subgroups helps."""
    ours = contents.statistic(_judged(contents), "accuracy_differs", split)
    if ours is None:
        return ""
    base = contents.statistic("base", "accuracy_differs", split) if contents.trained else None
    before = f", the base model in {formats.percent(base)}" if base else ""
    counted = (contents.summary["pairs"].get("unlike_country") or {}).get(split)
    return (
        f"On the {f'{formats.thousands(counted)} ' if counted else ''}pairs whose subgroup surely answers otherwise than the whole country, where "
        "the national mode is always wrong, "
        f"the {_judged(contents)} model is right in {formats.percent(ours)}{before}."
    )


def _subgroups_changed(changes: Changes) -> str:
    counted = sum(changes)
    if not counted:
        return ""
    return (
        f"Of {counted} subgroups whose change has an interval, accuracy surely rose in {changes.better} and surely fell in {changes.worse}; "
        f"in {changes.unclear} it cannot be told. These intervals are not adjusted for being many: a few of them miss by chance."
    )


def _widest_gap(contents: Contents) -> str:
    rows = [row for row in disparity_rows(contents.summary, metric="accuracy") if row.gap[_judged(contents)] is not None]
    if not rows:
        return ""
    row = max(rows, key=lambda one: one.gap[_judged(contents)] or 0)
    before = f" (base model {_points_apart(row.gap['base'])})" if contents.trained and row.gap["base"] is not None else ""
    told = f"The {_judged(contents)} model's levels lie furthest apart by {formats.dimension(row.dimension)}: {formats.label(row.best)} is best and "
    told += f"{formats.label(row.worst)} worst, {_points_apart(row.gap[_judged(contents)])} points of accuracy apart{before}. "
    p = row.p[_judged(contents)]
    if p is None:
        return told + "How much of that is noise, this run did not measure."
    apart = "more than noise explains" if p < SURE else "no more than noise explains"
    return told + f"The noise-adjusted scores of its levels differ {apart} (p = {formats.p_value(p)}, not adjusted)."


def _points_apart(gap: float | None) -> str:
    return formats.points(gap).lstrip("+")


def _widened(contents: Contents) -> str:
    """Over the family of changes: dimensions x accuracy, NMAE and EMD."""
    rows = [row for metric in ("accuracy", "nmae", "emd") for row in disparity_rows(contents.summary, metric=metric) if row.p_holm is not None]
    if not rows:
        return ""
    changed = [row for row in rows if row.p_holm is not None and row.p_holm < SURE]
    if changed:
        told = names.listed([_moved(row) for row in changed])
        first = f"Beyond noise (Holm-adjusted over {len(rows)} tests), differences between levels changed: {told}."
    else:
        least = min(row.p_holm for row in rows if row.p_holm is not None)
        first = f"No difference between levels changed beyond noise (smallest Holm-adjusted p of {len(rows)} tests: {formats.p_value(least)})."
    sure = [row for row in rows if row.no_wider]
    margin = float(setting(contents.manifest, "study", "fairness", "margin", default=CLOSE))
    second = f"That they widened by no more than {margin:g} is established for {len(sure)} of the {len(rows)}"
    return f"{first} {second}{': ' + names.listed([_named(row) for row in sure]) if sure else ''}."


def _moved(row: DisparityRow) -> str:
    change = row.between["change"]
    return f"{'wider' if change and change.value > 0 else 'narrower'} in {_named(row)}"


def _named(row: DisparityRow) -> str:
    return f"{names.of(names.METRICS, row.metric) if row.metric != 'accuracy' else 'accuracy'} by {formats.dimension(row.dimension)}"


def _intervals(contents: Contents, split: str) -> str:
    if (found := contents.statistic(_judged(contents), "accuracy", split)) is None or found.low is None:
        return "This run has no intervals: its numbers say nothing of how sure they are."
    questions = formats.thousands(contents.summary["pairs"].get("questions"))
    seeds = "" if contents.replications > 1 else " They are of one split and one training seed (no replication), so what those matter is not in them."
    return (
        f"Numbers in brackets are 95% intervals over the {questions} questions: other questions of the same kind would give other numbers, by about "
        f"so much.{seeds}"
    )


def _equivalent(contents: Contents, split: str) -> str:
    size = contents.statistic(_judged(contents), "equivalent_n", split)
    if size is None:
        return ""
    between = "" if size.low is None or size.high is None else f" (interval {formats.respondents(size.low)} to {formats.respondents(size.high)})"
    return (
        f"To predict these answers as well as the {_judged(contents)} model does, a fresh survey would have to interview "
        f"{formats.respondents(size.value)} {'person' if size.value < 1.5 else 'people'} of each subgroup{between}."
    )


def _most_changed_by_words(contents: Contents) -> str:
    rows = [row for row in contents.summary.get("robustness") or () if row["model"] == _judged(contents) and row["change"] is not None]
    if not rows:
        return "Whether other words for the same question change the answers, this run did not ask."
    worst = min(rows, key=lambda row: row["change"])
    change = Statistic(worst["change"], worst["low"], worst["high"])
    asked = "one other wording" if len(rows) == 1 else f"{len(rows)} other wordings"
    changes = "changes" if len(rows) == 1 else "falls most" if change.value < 0 else "rises least"
    told = f"Asked in {asked}, accuracy {changes} with {names.of(names.REWORDINGS, worst['variant'])}: {formats.points_between(change)} points"
    return f"{told}{', so the result depends on how the question is put' if not _is_close(change) and change.value < 0 else ''}."


def _transferred(contents: Contents) -> str:
    found = (contents.summary.get(_judged(contents)) or {}).get("open_ended")
    if not found:
        return ""
    judge = contents.summary.get("judge")
    if not judge or not judge["usable"]:
        return "Free answers were asked for, but their judge is not good enough for the result to be used."
    accuracy = formats.percent(as_statistic(found["accuracy"]))
    return f"Answering freely, without options, the {_judged(contents)} model is right in {accuracy}, as judged."


def sampled(contents: Contents) -> str:
    """Of how many pairs comparisons and free answers were asked, where that is not all of them."""
    rows = [row for table in ("robustness", "agreement") for row in contents.summary.get(table) or ()]
    asked = max((int(row["pairs"]) for row in rows), default=0)
    total = sum(contents.summary["pairs"].get(split) or 0 for split in SPLITS)
    if not 0 < asked < total:
        return ""
    return (
        f"To save time this was asked of a sample: {formats.thousands(asked)} of the {formats.thousands(total)} test pairs, spread over subgroups "
        "and topics as evenly as so few can be."
    )
