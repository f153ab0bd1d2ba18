"""The run form in a real browser: opened, one value changed, started, watched to its end, its summary read."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.deployments.parameters import RecipeChanges
from tests.flows.service.installed import Installed

pytestmark = [pytest.mark.slow, pytest.mark.flow]
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'overnight[browser]'")
BROWSER = shutil.which("chromium")
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
MAX_KL = "//span[contains(@class, 'property__label') and normalize-space() = 'max kl (Optional)']"
ENDED = re.compile("^(Completed|NotPromoted)$")
"""The badge of a night that came to its end; the tiny world's policies are rarely good enough."""
PATIENCE = 120_000
"""Milliseconds that the browser waits for anything on a page."""


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Any]:
    if BROWSER is None:
        pytest.skip("no browser: chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        options = {"executable_path": BROWSER, "headless": True, "args": FLAGS.split(), "viewport": {"width": 1400, "height": 1000}}
        context = playwright.chromium.launch_persistent_context(str(tmp_path / "profile"), **options)
        context.set_default_timeout(PATIENCE)
        yield context.pages[0]
        context.close()


def test_a_night_is_started_from_the_form_and_its_summary_read(installed: Installed, page: Any) -> None:
    before = {run["id"] for run in installed.runs("nightly")}
    page.goto(f"{installed.address}/deployments/deployment/{installed.deployment('nightly/nightly')['id']}/run")
    page.locator(f"xpath={MAX_KL}/following::input[@type='number'][1]").fill("19")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(re.compile(r"/deployment/[^/]*$|/flow-run/"))
    (run,) = [run for run in installed.runs("nightly") if run["id"] not in before and not run["auto_scheduled"]]
    changes = RecipeChanges.model_validate(run["parameters"]["changes"]).model_dump()
    assert (run["parameters"]["recipe"], changes) == ("", {"gate": {"max_kl": 19}})
    page.goto(f"{installed.address}/runs/flow-run/{run['id']}")
    page.get_by_text(ENDED).first.wait_for(timeout=5 * PATIENCE)
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("tiny-summary").first.click()
    page.get_by_role("heading", name=installed.nights()[-1]["outcome"]).wait_for()
    assert str(installed.home / "report.html") in page.inner_text("body")
