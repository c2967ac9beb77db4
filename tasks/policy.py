"""When a step's stored result may be used again, and when a failed step is worth another try. Prefect calls these; nothing here imports it.

@task(cache_key_fn=content_key("marts", version=1), **STORED, **TRIED_AGAIN)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tasks.errors import BudgetError, GateError, InputError
from tasks.files import FileSet, file_set, hash_of
from tasks.study import Study

# Where a result is put, and what was spent before, does not change what it is.
LEFT_OUT = ("folder", "workspace", "taken")
STORED: dict[str, Any] = {"persist_result": True, "result_serializer": "json"}


@dataclass(frozen=True)
class ContentKey:
    """A cache key of what a step reads: the contents of its files, plain values, these sections of the study, and what it reads of the project."""

    name: str
    version: int
    sections: tuple[str, ...]
    read: tuple[Path, ...]

    def __call__(self, _: Any, parameters: Mapping[str, Any]) -> str:
        inputs = {name: identity(value, self.sections) for name, value in parameters.items() if name not in LEFT_OUT}
        shipped = [(file_set(path, ["."]) if path.is_dir() else file_set(path.parent, [path.name])).content_key for path in self.read]
        return f"{self.name}-{hash_of([self.name, self.version, inputs, shipped])}"


def content_key(name: str, *, version: int, sections: tuple[str, ...] = (), read: tuple[Path, ...] = ()) -> ContentKey:
    """Raise `version` when the step's code changes its result."""
    if unknown := set(sections) - set(Study.model_fields):
        raise ValueError(f"no section {sorted(unknown)} in a study; a key without it would call a stale result fresh")
    return ContentKey(name, version, sections, read)


def identity(value: Any, sections: tuple[str, ...]) -> Any:
    """A value as its content tells it, for a key; of a study these sections, but no budget, which changes no answer. Raises TypeError for what has no
    content."""
    if isinstance(value, Study):
        return value.model_dump(mode="json", include=set(sections), exclude={"evaluation": {"budget"}})
    if isinstance(value, FileSet):
        return value.content_key
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, (list, tuple)):
        return [identity(member, sections) for member in value]
    if isinstance(value, dict):
        return {str(name): identity(member, sections) for name, member in value.items()}
    if isinstance(value, (str, int, float, bool, Path, type(None))):
        return str(value)
    raise TypeError(f"a {type(value).__name__} cannot be part of a cache key; pass files, settings or plain values to a task")


def is_worth_retrying(_: Any, __: Any, state: Any) -> bool:
    """What the user must mend (a file, a key, a failed gate, a budget) fails the same way again; a busy disk or a lost worker may not."""
    error = state.data if isinstance(state.data, BaseException) else getattr(state, "result", lambda **_: None)(raise_on_failure=False)
    return not isinstance(error, (InputError, GateError, BudgetError))


# A disk, a database or a server that was busy for a moment.
TRIED_AGAIN: dict[str, Any] = {"retries": 2, "retry_delay_seconds": [2, 10], "retry_condition_fn": is_worth_retrying}
