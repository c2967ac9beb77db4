"""A study's section `split`: what is never trained, and whose answers are."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, model_validator

from tasks.section import Section, Share, Some, Text


class SplitSection(Section):
    """`kind`: what the model never sees: a `held_out` share of the highest order's intersections, of the questions, of the countries or of the waves,
    or exactly the items, countries (ISO codes) or waves of `unseen`. `id_test`: share of the trained cells kept back; `validation`: of the rest.
    `overlap`: whether respondents count in what is trained and in what is tested (keep), or each in one half of the survey only (disjoint): half A
    is trained and half B tested, the other way round where `swapped`. Then a cell needs its minimum in each half."""

    kind: Literal["unseen_subgroup", "unseen_question", "unseen_country", "unseen_wave"] = "unseen_subgroup"
    unseen: Annotated[tuple[Text, ...], Some, BeforeValidator(lambda value: [value] if isinstance(value, str | int) else value)] | None = None
    overlap: Literal["keep", "disjoint"] = "keep"
    swapped: bool = False
    held_out: Share = 0.3
    id_test: Share = 0.1
    validation: Share = 0.1

    @property
    def dimension(self) -> str | None:
        """The dimension whose levels are held out whole; None when intersections or questions are."""
        return self.kind.removeprefix("unseen_") if self.kind in ("unseen_country", "unseen_wave") else None

    @property
    def trained_half(self) -> str:
        return "B" if self.swapped else "A"

    @property
    def tested_half(self) -> str:
        return "A" if self.swapped else "B"

    @model_validator(mode="after")
    def _names_what_it_holds_out(self) -> "SplitSection":
        if self.unseen and self.kind == "unseen_subgroup":
            raise ValueError(
                "unseen names questions or levels that are held out whole, and kind is unseen_subgroup; set it to unseen_question, unseen_country or "
                "unseen_wave"
            )
        return self

    @model_validator(mode="after")
    def _swaps_what_it_has(self) -> "SplitSection":
        if self.swapped and self.overlap == "keep":
            raise ValueError("swapped exchanges the halves of the survey, and overlap is keep; set it to disjoint, or leave swapped out")
        return self
