"""The browser of these tests. Without playwright and a Chromium on the path (`make test-tools`), they are skipped."""

import shutil

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser():
    """Chromium, without a window."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="the browser's tests need playwright: make test-tools", exc_type=ImportError
    )
    if CHROMIUM is None:
        pytest.skip("the browser's tests need chromium: make test-tools")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
