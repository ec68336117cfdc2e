"""What holds for every test: sockets only on loopback, 20 s, no wall-clock deadlines in hypothesis, browsers on request."""

import os
import shutil
from collections.abc import Iterator

import pytest
from hypothesis import settings

E2E_SECONDS = 900
"""A stuck end-to-end test ends the run some day, too."""
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")

# A slow machine is no failure; CI draws the same examples in every run.
settings.register_profile("house", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "house")


def find_chromium() -> str | None:
    """Return the browser to drive: VOLTBRIDGE_CHROMIUM or the first on PATH."""
    named = os.environ.get("VOLTBRIDGE_CHROMIUM")
    return named or next((path for path in map(shutil.which, _BROWSERS) if path is not None), None)


def is_browser_required() -> bool:
    """Return whether a missing browser is a failure, as in CI."""
    return os.environ.get("VOLTBRIDGE_REQUIRE_BROWSER", "") not in {"", "0"}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give end-to-end tests their own time limit and skip browser tests where there is no browser and none is demanded."""
    if item.get_closest_marker("e2e") is not None:
        item.add_marker(pytest.mark.timeout(E2E_SECONDS))
    # `scripts/test` must work on a machine with Python and git only; the summary then says loudly what went untested, and CI sets
    # VOLTBRIDGE_REQUIRE_BROWSER, under which nothing is skipped.
    if item.get_closest_marker("browser") is not None and find_chromium() is None and not is_browser_required():
        item.add_marker(pytest.mark.skip(reason="no Chromium on this machine (Debian: apt-get install chromium)"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the end-to-end tests first: they take longest, and the other worker has the rest."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)


@pytest.fixture(scope="session")
def chromium_executable() -> str:
    """Path of the Chromium that browser tests drive."""
    path = find_chromium()
    if path is None:
        pytest.fail("VOLTBRIDGE_REQUIRE_BROWSER is set and there is no Chromium on this machine")
    return path


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Say loudly that pages went untested."""
    yield
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if "no Chromium" in str(report.longrepr)]
    if skipped:
        terminalreporter.write_line(
            f"PAGES UNTESTED: {len(skipped)} browser tests skipped, no Chromium here", red=True, bold=True
        )
