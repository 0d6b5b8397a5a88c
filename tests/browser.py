"""A page in headless Chromium, as a person meets it: what it logs, what it asks of the network, what axe-core finds.

A pytest plugin, see `conftest.py`. Tests that want a browser are skipped where Debian's chromium is not installed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")


@dataclass
class Window:
    """A playwright page and what went wrong in it.

    Attributes:
        faults: console errors and exceptions, in words.
        requests: addresses that were asked for, the page's own file or data: and blob: not counted.
    """

    page: Any
    faults: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def serious(self) -> list[str]:
        """What axe-core calls serious or critical, as "rule: element"."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [f"{one['id']}: {node['html'][:120]}" for one in found if one["impact"] in ("serious", "critical") for node in one["nodes"]]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser for the tests of a file: while it is there this thread has a running event loop, and other tests want their own."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        )
        yield browser
        browser.close()


@pytest.fixture
def window(chromium: Any) -> Iterator[Callable[..., Window]]:
    """Make a window: `window(width=1280, height=900, dark=False, **context)`; open an address with `.page.goto`."""
    contexts = []

    def make(width: int = 1280, height: int = 900, *, dark: bool = False, **context: Any) -> Window:
        one = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", reduced_motion="reduce", **context
        )
        contexts.append(one)
        made = Window(one.new_page())
        made.page.on("console", lambda said: made.faults.append(said.text) if said.type == "error" else None)
        made.page.on("pageerror", lambda problem: made.faults.append(str(problem)))
        own = ("data:", "blob:", "file:")
        made.page.on("request", lambda asked: None if asked.url.startswith(own) else made.requests.append(asked.url))
        return made

    yield make
    for one in contexts:
        one.close()
