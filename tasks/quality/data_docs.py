"""Data Docs that open from a file, without a network: Great Expectations' own sections in a page of ours.

    write_page(folder / "quality" / "marts" / "targets.html", validation, title="table targets", failures=[])
    write_index(folder / "quality", gates)

The page template that comes with Great Expectations loads sixteen files from other hosts; assets/page.html.j2 takes its place, with
the version of Bootstrap that the sections are written for (assets/LICENSE-bootstrap.txt) copied beside the pages.
"""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from tasks.files import write_atomically

ASSETS_FOLDER = Path(__file__).with_name("assets")
STYLES = ("bootstrap.min.css", "gates.css", "LICENSE-bootstrap.txt")


def write_page(path: Path, validation: Any, *, title: str, failures: list[str]) -> None:
    """The page of one table or check, failures first; `validation` is an ExpectationSuiteValidationResult."""
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    view = DefaultJinjaPageView(custom_views_directory=str(ASSETS_FOLDER))
    document = ValidationResultsPageRenderer().render(validation)
    heading = {"title": title, "stage": path.parent.name, "statistics": validation.statistics, "failures": failures}
    _write(path, view.render(document, template="page.html.j2", heading=heading))


def write_index(quality: Path, gates: list[dict[str, Any]]) -> None:
    """The page that lists the gates, with a link to every page under their folders; copies the styles that all pages use."""
    for name in STYLES:
        _write(quality / "assets" / name, (ASSETS_FOLDER / name).read_text(encoding="utf-8"))
    pages = {gate["stage"]: sorted(path.stem for path in (quality / gate["stage"]).glob("*.html")) for gate in gates}
    templates = Environment(loader=FileSystemLoader(ASSETS_FOLDER), autoescape=True)
    _write(quality / "index.html", templates.get_template("index.html.j2").render(gates=gates, pages=pages))


def _write(path: Path, text: str) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
