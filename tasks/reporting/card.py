"""The study card: what was studied and how, as terms and descriptions in plain words."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from tasks.reporting import evidence, formats, names, sentences
from tasks.reporting.contents import Contents, setting

PAIRS = {
    "train": "to train on", "id_test": "held out of trained subgroups", "ood_test": "of unseen subgroups", "subgroups": "subgroups",
    "questions": "questions",
}  # fmt: skip


def study_card(contents: Contents) -> list[tuple[str, str]]:
    """What the run does not say is a dash."""
    manifest = contents.manifest

    def of(*keys: str) -> str:
        return formats.label(setting(manifest, *keys, default=formats.ABSENT))

    respondents = formats.thousands(setting(manifest, "survey", "respondents", default=None))
    dimensions = ", ".join(map(formats.dimension, setting(manifest, "study", "dimensions", default={})))
    return [
        ("Survey", f"{of('survey', 'version')}, wave {of('survey', 'wave')}, {of('survey', 'year')}{', SYNTHETIC' if contents.synthetic else ''}"),
        ("Survey file", f"SHA-256 {of('survey', 'file_sha256')}"),
        ("Country", f"{of('survey', 'country_name')} ({of('survey', 'country')})"),
        ("Respondents", f"{respondents}, {sentences.weighting(contents)}"),
        ("Dimensions", dimensions or formats.ABSENT),
        ("Smallest cell", f"{contents.asked_from} valid answers; cells of fewer than {contents.shown_from} respondents are not shown"),
        ("Pairs", _pairs(contents.summary["pairs"])),
        ("Held out", _split(setting(manifest, "study", "split", default={}))),
        ("Model", f"{sentences.model_name(contents)}{_in(_answered_in(contents))}"),
        ("Training", _training(contents, epochs=of("study", "training", "epochs"))),
        ("Answers read by", names.of(names.READERS, contents.reader)),
        ("Seed", of("study", "seed")),
        ("Run", f"started {of('started')}, code at commit {of('commit')}"),
        ("Versions", _joined(manifest.get("versions"))),
        ("Hardware", _hardware(manifest.get("hardware"))),
    ]


def _pairs(pairs: Mapping[str, Any]) -> str:
    parts = [f"{formats.thousands(pairs.get(key))} {word}" for key, word in PAIRS.items() if pairs.get(key)]
    return f"{formats.thousands(pairs.get('total'))} pairs of a question and a subgroup: {', '.join(parts)}"


def _split(split: Mapping[str, Any]) -> str:
    of_what = names.KINDS.get(str(split.get("kind")), "intersections of two traits")
    named = ", ".join(map(str, split.get("unseen") or ()))
    share = split.get("held_out")
    what = f"{of_what}: {named}" if named else f"{100 * share:.0f}% of the {of_what}" if isinstance(share, (int, float)) else of_what
    overlap = {
        "keep": "their respondents also count in the trained parents (overlap kept)",
        "disjoint": "trained on one half of the respondents and tested on the other (disjoint)",
    }.get(str(split.get("overlap")), "")
    swapped = ", halves swapped" if split.get("swapped") else ""
    return formats.label(f"{what}; {overlap}{swapped}" if overlap else what, limit=300)


def _training(contents: Contents, *, epochs: str) -> str:
    objective = names.of(names.OBJECTIVES, setting(contents.manifest, "study", "training", "objective", default=formats.ABSENT))
    trained_in = evidence.precision(contents.tables.get("training_log", pd.DataFrame()))
    return f"{objective}{f'; {epochs} epochs' if contents.trained else ''}{_in(trained_in)}"


def _answered_in(contents: Contents) -> list[str]:
    by_model = setting(contents.summary, "answers", default={})
    return sorted({name for found in by_model.values() for name in found.get("precision", ())})


def _in(types: list[str]) -> str:
    return f", in {' and '.join(map(formats.label, types))}" if types else ""


def _hardware(hardware: Any) -> str:
    if not isinstance(hardware, dict):
        return formats.ABSENT
    known = {"cores": "{} processor cores", "cpus": "{} processors", "memory_gib": "{} GiB of memory", "machine": "{}", "system": "{}"}
    return ", ".join(known.get(name, f"{names.words(name)} {{}}").format(formats.label(value)) for name, value in hardware.items() if value)


def _joined(values: Any) -> str:
    if not isinstance(values, dict):
        return formats.label(values or formats.ABSENT)
    return ", ".join(f"{formats.label(name)} {formats.label(value)}" for name, value in values.items())
