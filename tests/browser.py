"""A real browser for tests: Debian's Chromium, driven by playwright, cut off from every network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_INLINE = ("data:", "blob:", "about:")
_OVER = """() => [...document.querySelectorAll('figure svg')].flatMap(svg => {
  const shown = one => one.textContent.trim() && one.getAttribute('opacity') !== '0'
    && getComputedStyle(one).opacity !== '0';  // Vega hides labels of an axis that have no room
  const boxes = [...svg.querySelectorAll('text')].filter(shown)
    .map(one => [one.textContent, one.getBoundingClientRect()]).filter(([_, box]) => box.width);
  const over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2;
  return boxes.flatMap(([text, box], n) =>
    boxes.slice(0, n).filter(other => over(other[1], box)).map(other => `${other[0]} / ${text}`));
})"""


@dataclass
class Visit:
    """A page that was opened, what it asked of the outside, and what it complained about."""

    page: Any
    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def texts_over_texts(self) -> list[str]:
        """Return the texts of charts that lie over one another, two by two."""
        return list(self.page.evaluate(_OVER))

    def violations(self) -> list[str]:
        """Run axe-core on the page as it stands; one line per violation."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [
            f"{rule['id']} ({rule['impact']}): {node['html'][:200]}"
            for rule in found
            for node in rule["nodes"]
        ]


@contextmanager
def open_page(
    target: Path | str,
    *,
    allow: tuple[str, ...] = (),
    viewport: tuple[int, int] = (1280, 900),
    javascript: bool = True,
) -> Iterator[Visit]:
    """Open a file or an address in a fresh browser; skip the test where there is no browser.

    Every request is refused and recorded, except the file itself, inline data, and addresses that
    start with one of `allow` (such as a server of the test at ``http://127.0.0.1:8888``).
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    address = target.resolve().as_uri() if isinstance(target, Path) else target
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            size = {"width": viewport[0], "height": viewport[1]}
            context = browser.new_context(viewport=size, java_script_enabled=javascript, offline=not allow)
            visit = Visit(context.new_page())

            def decide(route: Any) -> None:
                url = route.request.url
                if url == address or url.startswith((*_INLINE, *allow)):
                    route.continue_()
                else:
                    visit.outside.append(url)
                    route.abort()

            visit.page.route("**/*", decide)
            visit.page.on(
                "websocket",
                lambda socket: None if socket.url.startswith(allow) else visit.outside.append(socket.url),
            )
            visit.page.on(
                "console",
                lambda message: visit.errors.append(message.text) if message.type == "error" else None,
            )
            visit.page.on("pageerror", lambda error: visit.errors.append(str(error)))
            visit.page.goto(address)
            yield visit
        finally:
            browser.close()
