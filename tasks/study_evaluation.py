"""A study's section `evaluation`: how models are asked, read and compared, and what a server may take for it."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.section import SERVED, Positive, PositiveNumber, Section

Reader = Literal["likelihood", "first_token", "generated"]
Rewording = Literal[
    "reversed_options", "permuted_options", "letters", "persona_profile", "persona_framed", "instruction_reworded", "instruction_as_question"
]
Baseline = Literal[
    "national_mode", "parent_mode", "additive", "additive_micro", "nearest_subgroup", "other_country", "other_wave", "nearest_question",
    "topic_prior", "chance",
]  # fmt: skip


class PricesSection(Section):
    prompt: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    completion: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ServerSection(Section):
    """How an OpenAI-compatible server is asked. `deadline`: seconds for one answer; `pause`: seconds before the second attempt at most, doubling;
    `prices`: per million tokens, in any currency."""

    concurrency: Annotated[int, Field(gt=0, le=256)] = 8
    attempts: Annotated[int, Field(gt=0, le=20)] = 6
    deadline: PositiveNumber = 60.0
    pause: PositiveNumber = 1.0
    answer_tokens: Positive = 16
    prices: PricesSection | None = None


class BudgetSection(Section):
    """The most that a study's answers (of each replication) may have taken altogether, those kept from before included; it
    stops before it would pass any."""

    requests: Positive | None = None
    tokens: Positive | None = None
    cost: PositiveNumber | None = None


class EvaluationSection(Section):
    """`reader`: how an answer is taken from a model, in all of the study; a served model is read by its first token where the server gives
    log-probabilities, else as generated. `readers` and `variants` are compared with it on `compared_pairs` test pairs, spread over subgroups.
    `open_ended`: whether those are asked without options, too; `judge` says what the texts mean: `base`, the study's model as it comes, or
    `openai:NAME` on the server. `order0`: whether a study that trains also trains a control, on everybody's answers alone
    (tasks/training/order0.py)."""

    reader: Reader = "likelihood"
    readers: tuple[Reader, ...] = ()
    variants: tuple[Rewording, ...] = ()
    compared_pairs: Positive = 300
    open_ended: bool = False
    judge: str = "base"
    order0: bool = True
    pairs_per_forward: Positive = 32
    server: ServerSection = ServerSection()
    budget: BudgetSection = BudgetSection()

    @property
    def other_readers(self) -> tuple[Reader, ...]:
        """Those that are compared with the study's own; of a served model, its answers have both kinds anyway."""
        return tuple(reader for reader in self.readers if reader != self.reader)

    @model_validator(mode="after")
    def _has_a_judge(self) -> "EvaluationSection":
        if self.judge != "base" and (not self.judge.startswith(SERVED) or self.judge == SERVED):
            raise ValueError(f"judge {self.judge!r} is unknown; set it to base, or to {SERVED}NAME")
        return self

    @model_validator(mode="after")
    def _knows_what_it_costs(self) -> "EvaluationSection":
        if self.budget.cost is not None and self.server.prices is None:
            raise ValueError("budget.cost needs prices; add server.prices with prompt and completion, each per million tokens")
        return self
