"""Prefect tasks of the intake stage."""

from pathlib import Path
from typing import Any

from prefect import get_run_logger, task

from tasks.files import FileSet, file_set
from tasks.intake import ingest, pool, synthetic
from tasks.policy import STORED, TRIED_AGAIN, content_key
from tasks.study import Study
from tasks.warehouse.database import SQL_FOLDER

INTAKE = Path(__file__).parent
READ = (INTAKE / "codebooks", SQL_FOLDER / "raw", SQL_FOLDER / "staging")
DATA = (INTAKE / "codebooks", INTAKE / "synthetic_data")


@task(name="write the synthetic survey", cache_key_fn=content_key("synthetic", version=1, read=DATA), **STORED, **TRIED_AGAIN)
def write_synthetic_survey(seed: int, folder: Path) -> FileSet:
    """The survey that ships with the project, generated: evidence of nothing."""
    path = synthetic.write_synthetic_survey(folder, seed=seed)
    get_run_logger().info("synthetic survey %s", path.name)
    return file_set(folder, [path.name])


@task(
    name="take in the survey",
    cache_key_fn=content_key("intake", version=ingest.CODE_VERSION, read=READ),
    **STORED,
    **TRIED_AGAIN,
)
def ingest_survey(survey: FileSet, codebook: list[FileSet], choices: dict[str, Any], study: Study, folder: Path) -> FileSet:
    """Raw and staged answers of one survey file (sql/raw, sql/staging); `codebook`, empty or the user's files, and `choices` (ingest.choices_of)
    are there for the key."""
    staged = ingest.ingest(survey.only(), section=study.survey, dimensions=study.dimensions, folder=folder, codebook=study.survey.codebook_path())
    get_run_logger().info("%d respondents, %d items", staged.rows["stg_respondents"], staged.rows["items"])
    return staged


@task(name="pool the surveys", cache_key_fn=content_key("pool", version=pool.CODE_VERSION, read=(SQL_FOLDER / "pooled",)), **STORED, **TRIED_AGAIN)
def pool_surveys(staged: list[FileSet], codebook: list[FileSet], folder: Path) -> FileSet:
    """Several staged files as one (sql/pooled)."""
    given = [files.path(next(iter(files.files))) for files in codebook]
    pooled = pool.pool(staged, folder=folder, codebook=given[0] if given else None)
    get_run_logger().info("%d respondents, %d items that all files asked", pooled.rows["stg_respondents"], pooled.rows["items"])
    return pooled
