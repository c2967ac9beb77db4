"""What the sections of a study are made of: frozen, and refusing what they do not know."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1)]
Some = Field(min_length=1)
Text = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) and not isinstance(value, bool) else value)]
SERVED = "openai:"  # how the name of a model begins that a server answers for


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
