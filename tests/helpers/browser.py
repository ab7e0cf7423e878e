"""A headless Chromium on pages of a folder, which is served on loopback while it looks."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 120
OPTIONS = ["--no-sandbox", "--headless", "--disable-gpu", "--disable-background-networking"]


def chromium() -> str:
    """The browser; skips the test where none is on PATH."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not on PATH")
    return browser


def told_by_page(folder: Path, name: str, profile: Path) -> Any:
    """What a page of the folder posts as JSON to the server that it comes from."""
    told: list[Any] = []
    posted = threading.Event()

    class Server(SimpleHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            posted.set()

        def log_message(self, *_: object) -> None:
            pass

    browser = chromium()
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Server, directory=str(folder))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/{name}"
        options = [*OPTIONS, f"--user-data-dir={profile}", "--remote-debugging-port=0"]
        shown = subprocess.Popen([browser, *options, address], stderr=subprocess.DEVNULL)
        try:
            assert posted.wait(PATIENCE), f"{name} posted nothing"
        finally:
            shown.terminate()
            shown.wait(PATIENCE)
            server.shutdown()
    return told[0]
