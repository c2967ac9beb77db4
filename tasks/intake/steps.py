"""Prefect tasks of the intake stage."""

from pathlib import Path
from typing import Any, cast
from uuid import NAMESPACE_URL, uuid5

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.events import emit_event
from prefect.exceptions import ObjectNotFound

from tasks.errors import StepError
from tasks.files import FileSet, file_set
from tasks.intake import ingest, landing, pool, synthetic
from tasks.intake.landings import READY, Landed, Landings, Start, what_to_do
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


@task(name="look into the landing zone", persist_result=False, **TRIED_AGAIN)
def look_into_landing(zone: str, workspace: Path, settle_seconds: float) -> landing.Seen:
    """Put on record what has landed; returns what is there."""
    with Landings(workspace) as landings:
        seen = landing.look(zone, landings, workspace=workspace, settle_seconds=settle_seconds)
    get_run_logger().info("%d contents in %s, %d files could not be taken", len(seen.present), zone, len(seen.failed))
    return seen


@task(name="announce what has landed", persist_result=False, **TRIED_AGAIN)
def announce_landed(workspace: Path) -> int:
    """An event for each file that is new on record, and an artifact for each that cannot be studied; returns how many are new."""
    with Landings(workspace) as landings:
        new = landings.unannounced()
        for landed in new:
            _announce(landed)
            landings.mark_announced(landed.sha256)
    return len(new)


@task(name="show what has landed", persist_result=False, **TRIED_AGAIN)
def show_landed(workspace: Path) -> None:
    """All files on record and what was started for them, as an artifact."""
    with Landings(workspace) as landings:
        create_table_artifact(landings.table(), key="landed", description="Files that have landed, the newest first")


def _announce(landed: Landed) -> None:
    if landed.status != READY:
        create_markdown_artifact(what_to_do(landed), key=f"landed-{landed.sha256[:8]}", description=f"{landed.name} cannot be studied: what to do")
    get_run_logger().info("%s has landed: %s", landed.name, landed.reason or landed.status)
    told = {"name": landed.name, "sha256": landed.sha256, "status": landed.status, "reason": landed.reason, "version": landed.version}
    emit_event(
        f"valuescape.wave.{'landed' if landed.status == READY else 'refused'}",
        resource={"prefect.resource.id": f"valuescape.survey.{landed.sha256}", "prefect.resource.name": landed.name},
        payload={**told, "waves": landed.waves, "countries": landed.countries, "respondents": landed.respondents},
        id=uuid5(NAMESPACE_URL, f"{landed.sha256} {landed.status} {landed.reason}"),  # told twice, it is still one event
    )


@task(name="see who asks for it", persist_result=False, **TRIED_AGAIN)
def starts_of(present: list[str], studies: dict[str, Study], parameters: dict[str, Any], workspace: Path) -> list[Start]:
    """Starts that are still to be made: of what is in the zone now, and of what was there when an earlier look was cut off."""
    with Landings(workspace) as landings:
        landings.want(present, studies, parameters=parameters | {"workspace": str(workspace)})
        return landings.unmade()


@task(name="start a study", task_run_name="start {start.study}", persist_result=False, **TRIED_AGAIN)
def start_study(start: Start, deployment: str, workspace: Path) -> str:
    """A run of the study's deployment, the first one's where it was started before."""
    try:
        given: dict[str, Any] = {"parameters": start.parameters, "idempotency_key": start.key, "timeout": 0, "as_subflow": False}
        run = cast(FlowRun, run_deployment(deployment, **given))
    except ObjectNotFound as error:
        raise StepError(f"no deployment {deployment} to start {start.study} with: `prefect deploy --all`, and the next look starts it") from error
    with Landings(workspace) as landings:
        landings.made(start, str(run.id))
    get_run_logger().info("%s is flow run %s", start.study, run.id)
    return str(run.id)
