"""What the launcher hands to the worker, and the names of what the worker leaves."""

from pydantic import BaseModel, ConfigDict

from tasks.study import TrainingSection

LOG = "training_log.jsonl"
BEST = "best.safetensors"


class Job(BaseModel):
    """`folder`: where checkpoints, log and adapter go; `group_by`: the column whose pairs share a prompt's beginning."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    pairs: str
    folder: str
    group_by: str
    dtype: str
    seed: int
    training: TrainingSection
