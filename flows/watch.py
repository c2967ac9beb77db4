"""The landing zone: what is dropped there is put on record, and the studies that ask for it are started, once each. A table of contents.

prefect deployment run watch-landing/watch-landing

It runs on a schedule; an event `valuescape.landing.dropped` runs it at once (prefect.yaml), so that whoever drops a file need not wait. Nothing is
lost while no server is up: what counts is what lies in the zone, and what the registry says of it.
"""

import os
from pathlib import Path

from prefect import flow

from tasks.files import make_workspace
from tasks.intake.steps import announce_landed, look_into_landing, show_landed, start_study, starts_of
from tasks.study import load_study, shipped_studies

DEPLOYMENT = "study/study"


@flow(name="watch-landing", persist_result=False)
def watch_flow(
    landing: str | None = None,
    studies: list[str] | None = None,
    overrides: list[str] | None = None,
    workspace: str | None = None,
    settle_seconds: float = 10.0,
) -> list[str]:
    """Look once into the landing zone, and start the studies that ask for what is there; returns the flow runs that were started.

    Args:
        landing: a folder, or an address such as s3://bucket/folder (with the extra valuescape[s3]); WORKSPACE/landing when left out.
        studies: the studies that may be started, names or YAML paths; `country` when left out. One asks for a file when it names no file of its own
            and its survey.country and survey.wave choose something in it; left out, they choose a file's only country and only wave.
        overrides: lines `section.key=value` that change each of the studies.
        workspace: the folder that holds surveys, runs and results; VALUESCAPE_HOME, or ./workspace, when left out.
        settle_seconds: for how long a new file's size and time of change must stand still.
    """
    place = Path(workspace or os.environ.get("VALUESCAPE_HOME", "workspace")).resolve()
    candidates = {name: load_study(name, overrides=overrides) for name in _whole_names(studies or ["country"])}
    zone = _zone(landing, place)
    seen = look_into_landing(zone, place, settle_seconds)
    announced = announce_landed(place)
    wanted = starts_of(seen.present, candidates, {"overrides": overrides}, place)
    started = [start_study(start, DEPLOYMENT, place, return_state=True) for start in wanted]  # one that is refused keeps no other from starting
    if announced or started:
        show_landed(place)
    seen.refuse_failed(zone)
    return [one.result() for one in started]


def _whole_names(studies: list[str]) -> list[str]:
    """The studies as a worker finds them, wherever it runs."""
    return [name if name in shipped_studies() else str(Path(name).resolve()) for name in studies]


def _zone(landing: str | None, workspace: Path) -> str:
    make_workspace(workspace)
    (workspace / "landing").mkdir(mode=0o700, exist_ok=True)
    return landing or str(workspace / "landing")
