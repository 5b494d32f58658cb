"""The pages with the clients, served on an origin that is not the server's, and one such page."""

from __future__ import annotations

import json
import mimetypes
import os
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from playwright.sync_api import TimeoutError as TooLongError

from tests.support.content import assert_arrived
from tests.support.node import PACKAGES, need_node

if TYPE_CHECKING:
    from types import TracebackType

    from playwright.sync_api import Page

    from tests.support.browser import Chromium
    from tests.support.proxy import Proxy

PAGES = Path(__file__).parent / "pages"
AT_ONCE = [10] * 300
"""Delays of retries, in milliseconds: many, and hardly any."""


def bundle(folder: Path) -> None:
    """Make from Uppy's packages what a page can load: uppy.js and uppy.css."""
    program = [need_node(), str(PACKAGES / "esbuild" / "bin" / "esbuild")]
    done = subprocess.run(
        [*program, str(PAGES / "uppy.js"), "--bundle", f"--outdir={folder}"],
        env=os.environ | {"NODE_PATH": str(PACKAGES)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


class Site:
    """Serves the pages from its making until `close`, in a thread of its own."""

    def __init__(self, bundles: Path) -> None:
        folders = (bundles, PAGES, PACKAGES / "tus-js-client" / "dist")

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = [folder / self.path.lstrip("/") for folder in folders]
                file = next((path for path in found if path.is_file()), None)
                self.send_response(404 if file is None else 200)
                content = b"" if file is None else file.read_bytes()
                self.send_header("Content-Type", mimetypes.guess_type(self.path)[0] or "text/plain")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def wait_for_silence(proxy: Proxy) -> None:
    """Wait until what systems have buffered is through."""
    before = -1
    while before != proxy.forwarded:
        before = proxy.forwarded
        time.sleep(0.25)


class Tab:
    """A page with a client: does what it is told to do, and tells what happens.

    What it told is forgotten when it is loaded again, as pages do.
    """

    def __init__(self, browser: Chromium, url: str, *, headers: dict[str, str]) -> None:
        """Load the page at `url`; its client sends `headers`."""
        self.browser = browser
        self.headers = headers
        self._url = url
        self.load()

    @property
    def page(self) -> Page:
        """Give Playwright's page."""
        return self.browser.page

    def load(self) -> None:
        """Load it, for the first time or anew."""
        self.page.goto(self._url)

    def choose(self, *files: Path) -> None:
        """Choose files as a person does."""
        self.page.locator("input[type=file]").first.set_input_files(list(files))

    def begin(self, endpoint: str, *ways: str, **options: Any) -> None:
        """Let the client begin; `options` are its own, by its own names."""
        usual = {"endpoint": endpoint, "headers": self.headers, "retryDelays": AT_ONCE}
        self.do("begin", {"ways": ways, "options": usual | options})

    def do(self, name: str, argument: Any = None) -> None:
        """Call a function of the page; wait until it returns."""
        self.page.evaluate(f"(argument) => {name}(argument)", argument)

    # --- what it told

    @property
    def events(self) -> list[dict[str, Any]]:
        """Give everything it told, in order."""
        return self.page.evaluate("events")

    def told(self, name: str) -> list[dict[str, Any]]:
        """Give the events of a name."""
        return [event for event in self.events if event["event"] == name]

    def statuses(self, method: str) -> list[int]:
        """Give the statuses of the answers to a method."""
        return [event["status"] for event in self.told("answer") if event["method"] == method]

    @property
    def url(self) -> str:
        """Give the URL of the upload, the last one if there were several."""
        return [*self.told("url"), *self.told("success")][-1]["url"]

    # --- waiting

    def wait_for(self, name: str, *, times: int = 1, within: float = 15.0) -> dict[str, Any]:
        """Wait until an event came so many times, or an error; give the last one."""
        condition = """([name, times]) =>
            events.filter(({ event }) => event === name).length >= times ||
            events.some(({ event }) => event === "error")"""
        self._wait(condition, [name, times], within)
        found = self.told(name)
        assert len(found) >= times, f"no {name} from the page:\n{self.account()}"
        return found[-1]

    def wait_until_sent(self, size: int, *, within: float = 15.0) -> None:
        """Wait until the client believes to have sent so many bytes."""
        self._wait("(size) => sent >= size", size, within)

    def assert_arrived(self, url: str, size: int) -> None:
        """Download an upload and compare it, byte for byte, with what `make_file` wrote."""
        assert_arrived(url, size, headers=self.headers)

    def account(self) -> str:
        """Tell the last of what happened, for people."""
        events = [json.dumps(event) for event in self.events[-30:]]
        return "\n".join([*events, *self.browser.errors[-30:]])

    def _wait(self, condition: str, argument: Any, within: float) -> None:
        try:
            self.page.wait_for_function(condition, arg=argument, timeout=within * 1000)
        except TooLongError:
            raise AssertionError(f"the page takes too long:\n{self.account()}") from None
