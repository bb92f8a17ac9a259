"""The web app: upload a photograph, wait, then turn, light and move the animal, and download it.

It is a small server of the standard library around the page that `reconstruct` writes. The two
usual choices serve less well: in Gradio's 3D view joints cannot be moved, and viser gives a skinned
mesh one colour and bounds no upload. Our page has its viewer and all sliders already, and moves
joints without asking the server; so what is left is an upload, a queue and progress.

What protects the machine that it runs on:
- No text from a browser becomes a path. Results are kept in memory and found by ids that nobody can
  guess; a file's name is looked up among those that were made.
- Uploads are bounded in bytes, pixels and number, and read once there is room for one more.
- Requests of other web pages are refused: by their origin, by the name that they call this server
  (which foils DNS rebinding), and by a content type that browsers send to other sites only after
  asking.
"""

import json
import mimetypes
import re
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, quote, urlsplit

import jinja2
from markupsafe import Markup

from pony_jax.reconstruction.web_app_jobs import BusyError, Job, Jobs, Reconstruct

_FOLDER = Path(__file__).parent / "viewer"
_TYPES = {".html": "text/html; charset=utf-8", ".glb": "model/gltf-binary"}
_UPLOAD_TYPE = "application/octet-stream"
_MAX_UPLOADS_AT_ONCE = 4
_PIECE_BYTES = 1 << 16
_MAX_UNREAD_BYTES = 1 << 28  # of a refused upload; a browser reads no answer while it still sends
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
        "img-src 'self' data: blob:; connect-src 'self'; frame-src 'self'; "
        "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Limits(NamedTuple):
    """What the app accepts.

    Attributes:
      max_bytes: of an uploaded file.
      max_pixels: of a photograph.
      max_waiting: photographs that wait while one is worked on.
    """

    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    max_waiting: int = 4


class WebApp(ThreadingHTTPServer):
    """The server; `serve_forever` runs it, `server_address` says where.

    Args:
      reconstruct: makes an animal of a picture's file and its name; called by one thread only.
      category: of the animals, for the title.
      examples: pictures to choose from.
      address: host and port to listen at; port 0 takes a free one.

    Raises:
      OSError: if the port is taken, or an example cannot be read.
    """

    daemon_threads = True

    def __init__(
        self,
        reconstruct: Reconstruct,
        category: str,
        examples: Sequence[Path] = (),
        address: tuple[str, int] = ("127.0.0.1", 0),
        limits: Limits = Limits(),  # noqa: B008  a tuple of numbers
    ) -> None:
        self.limits = limits
        self.examples = [(path.name, path.read_bytes()) for path in examples]
        super().__init__(address, _Handler)
        self.uploads = threading.BoundedSemaphore(_MAX_UPLOADS_AT_ONCE)
        self.jobs = Jobs(reconstruct, limits.max_waiting, limits.max_pixels)
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_FOLDER),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
        )
        self.page = environment.get_template("app.html").render(
            category=category,
            examples=[name for name, _ in self.examples],
            max_bytes=limits.max_bytes,
            script=Markup((_FOLDER / "app.js").read_text("utf-8")),
        )

    @property
    def url(self) -> str:
        """Where a browser on this machine finds the app."""
        host, port = self.server_address[:2]
        return f"http://{'127.0.0.1' if host in ('0.0.0.0', '') else host}:{port}/"

    def is_own_name(self, host: str) -> bool:
        """Whether a request calls this server by a name that it has: any, if others may use it."""
        is_private = self.server_address[0] in _LOOPBACK
        return not is_private or re.sub(r":\d+$", "", host).strip("[]") in _LOOPBACK


class _RefusedError(Exception):
    """A request that is answered with a status and a line."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: WebApp
    timeout = 60  # seconds without a byte

    def do_GET(self) -> None:
        """The app, an example's picture, how a job stands, or a file that it has made."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """A photograph, or the number of an example: makes a job of it."""
        self._answer(self._post)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a line a request would hide what matters."""

    def _answer(self, handle: Callable[[list[str]], None]) -> None:
        try:
            try:
                self._check_origin()
                handle([part for part in urlsplit(self.path).path.split("/") if part])
            except _RefusedError as error:
                self._send_json({"error": str(error)}, error.status)
        except (ConnectionError, TimeoutError):  # the browser has gone
            self.close_connection = True

    def _check_origin(self) -> None:
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if not self.server.is_own_name(host) or origin not in (None, f"http://{host}"):
            raise _RefusedError(HTTPStatus.FORBIDDEN, "expected a request of this app's own page")

    def _get(self, parts: list[str]) -> None:
        match parts:
            case []:
                self._send(self.server.page.encode(), _TYPES[".html"])
            case ["examples", number]:
                name, picture = self._example(number)
                self._send(picture, mimetypes.guess_type(name)[0] or "application/octet-stream")
            case ["jobs", id]:
                self._send_json(_status(self._job(id), self.server.jobs))
            case ["jobs", id, "page"]:
                job = self._job(id)
                self._send(self._file(job, f"{job.name}.html"), _TYPES[".html"])
            case ["jobs", id, "files", name]:
                data = self._file(self._job(id), name)
                attachment = f"attachment; filename*=UTF-8''{quote(name)}"
                type_ = _TYPES.get(Path(name).suffix, "application/octet-stream")
                self._send(data, type_, {"Content-Disposition": attachment})
            case _:
                raise _RefusedError(HTTPStatus.NOT_FOUND, "there is nothing here")

    def _post(self, parts: list[str]) -> None:
        length = self._length()
        try:
            self.server.jobs.check_room()
            match parts:
                case ["jobs"]:
                    name, picture = self._uploaded_name(), self._upload(length)
                case ["examples", number]:
                    name, picture = self._example(number)
                case _:
                    raise _RefusedError(HTTPStatus.NOT_FOUND, "there is nothing here")
            job = self.server.jobs.add(picture, name)
        except BusyError as error:
            self._discard(length)
            raise _RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error
        self._send_json({"id": job.id}, HTTPStatus.ACCEPTED)

    def _length(self) -> int:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,15}", length):
            raise _RefusedError(HTTPStatus.LENGTH_REQUIRED, "expected the length of the upload")
        return int(length)

    def _uploaded_name(self) -> str:
        return parse_qs(urlsplit(self.path).query).get("name", [""])[0]

    def _upload(self, length: int) -> bytes:
        limit = self.server.limits.max_bytes
        if self.headers.get("Content-Type") != _UPLOAD_TYPE:
            self._discard(length)
            raise _RefusedError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected the content type {_UPLOAD_TYPE}"
            )
        if length > limit:
            self._discard(length)
            raise _RefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"expected a file of at most {limit / 1e6:.0f} MB, got {length / 1e6:.1f} MB; "
                "make the picture smaller",
            )
        if not self.server.uploads.acquire(blocking=False):
            raise BusyError("others send photographs just now; please try again in a minute")
        try:
            picture = self.rfile.read(length)
        finally:
            self.server.uploads.release()
        if len(picture) < length:
            raise ConnectionError("the upload ended early")
        return picture

    def _discard(self, length: int) -> None:
        """Reads what is still sent, piece by piece, so that the browser hears the answer."""
        left = min(length, _MAX_UNREAD_BYTES)
        while left > 0 and (piece := self.rfile.read(min(left, _PIECE_BYTES))):
            left -= len(piece)

    def _example(self, number: str) -> tuple[str, bytes]:
        if not re.fullmatch(r"[0-9]{1,4}", number) or int(number) >= len(self.server.examples):
            raise _RefusedError(HTTPStatus.NOT_FOUND, "there is no such example")
        return self.server.examples[int(number)]

    def _job(self, id: str) -> Job:
        job = self.server.jobs.find(id)
        if job is None:
            raise _RefusedError(
                HTTPStatus.NOT_FOUND, "this result is no longer kept; send the picture again"
            )
        return job

    def _file(self, job: Job, name: str) -> bytes:
        if name not in job.files:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "there is no such file")
        return job.files[name]

    def _send_json(self, content: object, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(content).encode(), "application/json", status=status)

    def _send(
        self,
        data: bytes,
        content_type: str,
        headers: dict[str, str] | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> None:
        self.send_response(status)
        own = {"Content-Type": content_type, "Content-Length": str(len(data))}
        for name, value in (_HEADERS | own | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def _status(job: Job, jobs: Jobs) -> dict[str, object]:
    """How a job stands, for the page's script."""
    files = {name: len(data) for name, data in job.files.items()} if job.state == "done" else {}
    return {
        "name": job.name,
        "state": job.state,
        "stage": job.stage,
        "progress": job.progress,
        "ahead": jobs.num_ahead(job),
        "files": files,
        "notes": job.notes,
    }
