"""Pictures of a run's report, as in the README: `make screenshots`, or

python -m tests.reporting.screenshots workspace/runs/sample/latest docs
"""

import sys
from pathlib import Path

from tests.reporting.browser import chromium

PICTURES = {"report": ("light", "#summary", 1100), "report-dark": ("dark", "#accuracy", 1100)}


def main(run: Path, target: Path) -> None:
    with chromium() as browser:
        for name, (scheme, part, height) in PICTURES.items():
            page = browser.new_context(viewport={"width": 1180, "height": height}, color_scheme=scheme).new_page()
            page.goto((run / "report" / "index.html").resolve().as_uri())
            page.locator(part).scroll_into_view_if_needed()
            if scheme == "dark":
                page.locator(part).evaluate("one => one.scrollIntoView()")
            page.screenshot(path=target / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
