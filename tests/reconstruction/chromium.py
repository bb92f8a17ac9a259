"""A headless Chromium, driven by its DevTools protocol over a pipe: no driver, no library."""

import base64
import json
import os
import selectors
import shutil
import signal
import time
from pathlib import Path
from typing import Any

_OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --use-gl=angle --use-angle=swiftshader "
    "--enable-unsafe-swiftshader --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --remote-debugging-pipe"
).split()
_TIMEOUT_S = 120  # two busy cores, on which software draws


def find_chromium() -> str | None:
    """The program of this machine, if there is one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


class Chromium:
    """One window of a browser of its own; a context manager.

    Args:
      program: see `find_chromium`.
      profile: empty folder for what the browser writes.
      size: of the window, px.
    """

    def __init__(self, program: str, profile: Path, size: tuple[int, int] = (1000, 900)) -> None:
        to_browser, self._send = os.pipe()
        self._receive, from_browser = os.pipe()

        null = os.open(os.devnull, os.O_RDWR)
        # The protocol reads from 3 and writes to 4. The pipes may have these very numbers, hence
        # the detour.
        places = [(to_browser, 203), (from_browser, 204), (null, 1), (null, 2), (203, 3), (204, 4)]
        window = [f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"]
        self._process = os.posix_spawn(
            program,
            [program, *_OPTIONS, *window],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, *place) for place in places],
        )
        os.close(null)
        os.close(to_browser)
        os.close(from_browser)
        self._buffer = b""
        self._count = 0
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.call("Page.enable")

    def __enter__(self) -> "Chromium":
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self._process, signal.SIGTERM)
        os.waitpid(self._process, 0)
        os.close(self._send)
        os.close(self._receive)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a method of the protocol."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read_message()
            if answer.get("id") == self._count:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def open(self, url: str) -> None:
        """Opens a page, and returns once it has loaded."""
        self.call("Page.navigate", url=url)
        self.wait_for(f"location.href == {json.dumps(url)} && document.readyState == 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited if it is a promise."""
        result = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, f"{script}: {result['exceptionDetails']}"
        return result["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """The value of an expression once it is true."""
        end = time.monotonic() + _TIMEOUT_S
        while time.monotonic() < end:
            if value := self.run(script):
                return value
            time.sleep(0.1)
        raise AssertionError(f"never came true: {script}; {self.run('document.body.innerText')}")

    def choose_file(self, selector: str, file: Path) -> None:
        """Puts a file into a file input, as a person who picks one does."""
        element = self.call("Runtime.evaluate", expression=f"document.querySelector({selector!r})")
        object_id = element["result"]["objectId"]
        self.call("DOM.setFileInputFiles", files=[str(file)], objectId=object_id)

    def save_downloads_in(self, folder: Path) -> None:
        """Lets links that download write into a folder."""
        self.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def screenshot(self, file: Path, **options: Any) -> None:
        """Writes what the window shows."""
        data = self.call("Page.captureScreenshot", **options)["data"]
        file.write_bytes(base64.b64decode(data))

    def _read_message(self) -> dict[str, Any]:
        with selectors.DefaultSelector() as selector:
            selector.register(self._receive, selectors.EVENT_READ)
            while b"\0" not in self._buffer:
                assert selector.select(_TIMEOUT_S), "the browser says nothing"
                data = os.read(self._receive, 1 << 20)
                assert data, "the browser has ended"
                self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)
