"""The page of ``scrn export --format web`` in a browser without a window."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.server
import io
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
SECONDS = 60


@contextlib.contextmanager
def served(folder: Path, isolated: bool = False) -> Iterator[tuple[str, list[str]]]:
    """The address of the folder on a server of its own, and the paths asked for as they come."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            if isolated:
                self.send_header("Cross-Origin-Opener-Policy", "same-origin")
                self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            super().end_headers()

        def log_request(self, *facts: object) -> None:
            asked.append(self.path)

        def log_message(self, *facts: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", asked
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """The browser, in which no name but this machine's number leads anywhere."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    rules = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=[rules])
        try:
            yield browser
        finally:
            browser.close()


class Page:
    """A tab with the page, what it asks for, and what goes wrong in it."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(1000 * SECONDS)
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.tab = self.context.new_page()
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.goto(address)

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def wait_until_ready(self) -> None:
        self.tab.locator("body[data-ready]").wait_for()

    def choose(self, name: str, content: bytes) -> None:
        """Gives the page a file, and waits for what it makes of it."""
        file = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
        self.tab.locator("#file").set_input_files(file)
        self.wait_for_answer()

    def wait_for_answer(self) -> None:
        """Until the page is done, or complains."""
        self.tab.locator("#status", has_text=re.compile("^(Done|$)")).wait_for(state="attached")

    def text(self, selector: str) -> str:
        text = str(self.tab.locator(selector).text_content())
        return text.replace("\N{MULTIPLICATION SIGN}", "x")

    @property
    def error(self) -> str | None:
        return self.text("#error") if self.tab.locator("#error").is_visible() else None

    @property
    def legend(self) -> list[tuple[str, str]]:
        """The names and shares."""
        rows = self.tab.locator("#legend button").all()
        return [
            tuple(row.locator(part).text_content() for part in (".name", ".share")) for row in rows
        ]

    def overlay(self) -> np.ndarray:
        """The colours that lie over the photo, uint8 [H, W, 4]."""
        url = self.tab.locator("#overlay").evaluate("canvas => canvas.toDataURL()")
        return np.array(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))

    def labels(self, colors: list[tuple[int, int, int]]) -> np.ndarray:
        """The class map, by the colours of the classes; no other colour may occur."""
        found = self.overlay()
        same = (found[:, :, None, :3] == np.array(colors, np.uint8)).all(3)
        assert (found[..., 3] == 255).all()
        assert (same.sum(2) == 1).all()
        return same.argmax(2)
