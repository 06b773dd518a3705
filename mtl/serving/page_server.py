"""A page in the browser on which a text is pasted and predicted, served to this machine only.

Texts stay in memory: they are not logged, written or sent elsewhere, and the page loads nothing from the network. Other
pages that are open in the browser cannot ask the server: a request must name the server's own address as its host and,
if it comes from a page, as its origin.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from mtl.prediction.predictor import Predictor, task_names
from mtl.problems import InputError, Problem
from mtl.redaction import crash_report, reason
from mtl.serving.request_problems import request_problems

LONGEST = 1_000_000
"""Maximum number of bytes of a request."""

HOSTS = ("127.0.0.1", "localhost")

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_FILES = {"/": "index.html", "/page.css": "page.css", "/page.js": "page.js"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class PageModel:
    """What the page shows of a run.

    Args:
        predictor: The run.
        tasks: Names of the tasks; None takes all that predict something.
        mentions: Entity tasks that find the mentions of a task, each ``NAME=TASK[,TASK…]``.

    Raises:
        InputError: There is no such task.
    """

    def __init__(self, predictor: Predictor, tasks: Sequence[str] | None = None, mentions: Sequence[str] = ()) -> None:
        self._predictor, self._mentions = predictor, mentions
        self._names = task_names(predictor.mixture, tasks)

    def check(self) -> None:
        """Loads the run and predicts a text, so that the first request is quick.

        Raises:
            InputError: A task needs mentions that no entity task finds.
        """
        single = [name for name in self._names if self._predictor.num_texts(name) != 2]
        if single:
            self._predictor.predict(["Fever."], tasks=single, mentions=self._mentions)

    def description(self) -> dict[str, Any]:
        """The name of the mixture, and the tasks with their heads and numbers of texts."""
        mixture = self._predictor.mixture
        tasks = [
            {"name": name, "head": mixture.tasks[name].head, "num_texts": self._predictor.num_texts(name)}
            for name in self._names
        ]
        return {"name": mixture.name, "tasks": tasks}

    def predict(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The predictions of the tasks that were trained on as many texts as a request has.

        Args:
            request: `text`, and optionally `text_pair`.

        Raises:
            InputError: The request is invalid.
        """
        row = {key: request[key] for key in ("text", "text_pair") if request.get(key)}
        problems = [Problem(key, "must be a string.") for key, value in row.items() if not isinstance(value, str)]
        if problems or not row.get("text", "").strip():
            raise InputError(problems or Problem("text", "must not be empty.", "Paste a text."))
        names = self._predictor.fitting(self._names, len(row))
        if not names:
            raise InputError(Problem("text", f"No task was trained on {len(row)} text{'s' * (len(row) > 1)}."))
        return dict(self._predictor.predict([row], tasks=names, mentions=self._mentions)[0])


def check_page_host(host: str) -> None:
    """Checks that a page is shown to this machine only.

    Raises:
        InputError: The host is another one.
    """
    if host not in HOSTS:
        message = f"must be {HOSTS[0]} with --page, because the page has no login, got '{host}'."
        raise InputError(Problem("--host", message, "Leave it out, and forward the port with ssh -L from elsewhere."))


@contextmanager
def open_page(
    run: str | Path, host: str, port: int, *, tasks: Sequence[str] | None = None, mentions: Sequence[str] = ()
) -> Iterator[ThreadingHTTPServer]:
    """The server of the page of a run, which listens once the run is loaded; `serve_forever` answers.

    Args:
        run: Folder of a run, whose best checkpoint predicts, or a checkpoint.
        host: One of `HOSTS`.
        port: Port; 0 takes a free one.
        tasks: As in `PageModel`.
        mentions: As in `PageModel`.

    Raises:
        InputError: There is no such run, checkpoint or task, or a task needs mentions that no task finds.
    """
    model = PageModel(Predictor(run), tasks, mentions)
    model.check()
    with _PageServer((host, port), _Handler) as server:
        server.model = model
        yield server


class _PageServer(ThreadingHTTPServer):
    daemon_threads = True
    model: PageModel


class _HttpAnswer(NamedTuple):
    """The status, content type and content of an answer."""

    status: HTTPStatus
    kind: str
    content: bytes

    @classmethod
    def of(cls, content: Mapping[str, Any], status: HTTPStatus = HTTPStatus.OK) -> _HttpAnswer:
        return cls(status, "application/json", json.dumps(content, ensure_ascii=False).encode())

    @classmethod
    def problem(cls, message: str, status: HTTPStatus, key: str = "request") -> _HttpAnswer:
        return cls.of({"problems": [{"key": key, "message": message, "suggestion": ""}]}, status)


class _Handler(BaseHTTPRequestHandler):
    server: _PageServer
    server_version, sys_version = "biomtl", ""

    def do_GET(self) -> None:
        refusal = self._refusal()
        if refusal is None and self.path in _FILES:
            name = _FILES[self.path]
            content = files("mtl.serving").joinpath("page", name).read_bytes()
            self._send(_HttpAnswer(HTTPStatus.OK, f"{_TYPES[name.rpartition('.')[2]]}; charset=utf-8", content))
        elif refusal is None and self.path == "/tasks":
            self._send(_HttpAnswer.of(self.server.model.description()))
        else:
            self._send(refusal or _HttpAnswer.problem("There is no such address.", HTTPStatus.NOT_FOUND))

    def do_POST(self) -> None:
        refusal = self._refusal()
        if refusal is None and self.path != "/predict":
            refusal = _HttpAnswer.problem("There is no such address.", HTTPStatus.NOT_FOUND)
        self._send(refusal or self._predicted())

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing: a malformed request line may hold text."""

    def _refusal(self) -> _HttpAnswer | None:
        """Why the request is not answered; None if it comes from our own page, or from a program of this machine."""
        own = [f"{host}:{self.server.server_address[1]}" for host in HOSTS]
        origin = self.headers.get("Origin")
        is_ours = self.headers.get("Host") in own and (origin is None or origin in [f"http://{host}" for host in own])
        if not is_ours or self.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            return _HttpAnswer.problem("Requests are accepted only from this server's own page.", HTTPStatus.FORBIDDEN)
        return None

    def _predicted(self) -> _HttpAnswer:
        if self.headers.get_content_type() != "application/json":
            return _HttpAnswer.problem("The content type must be application/json.", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        size = self.headers.get("Content-Length", "")
        if not size.isdecimal() or len(size) > 20:
            return _HttpAnswer.problem("The length of the content must be given.", HTTPStatus.LENGTH_REQUIRED)
        if int(size) > LONGEST:
            self._discard(min(int(size), 16 * LONGEST))
            message = f"The request must have at most {LONGEST} bytes, got {size}."
            return _HttpAnswer.problem(message, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        try:
            request = json.loads(self.rfile.read(int(size)))
        except (ValueError, RecursionError):  # the latter from deep nesting
            return _HttpAnswer.problem("The request is not valid JSON.", HTTPStatus.BAD_REQUEST)
        if not isinstance(request, Mapping):
            return _HttpAnswer.problem("The request must be an object with a text.", HTTPStatus.BAD_REQUEST)
        try:
            return _HttpAnswer.of(self.server.model.predict(request))
        except InputError as error:
            return _HttpAnswer.of({"problems": request_problems(error)}, HTTPStatus.BAD_REQUEST)
        except Exception as error:  # the server stays up, whatever a head does
            sys.stderr.write(crash_report(error))
            return _HttpAnswer.problem(f"The prediction failed: {reason(error)}", HTTPStatus.INTERNAL_SERVER_ERROR)

    def _discard(self, size: int) -> None:
        """Reads what is not wanted, because a sender that is cut off may never see the answer."""
        while size > 0 and (part := self.rfile.read(min(size, LONGEST))):
            size -= len(part)

    def _send(self, answer: _HttpAnswer) -> None:
        self.send_response(answer.status)
        headers = {"Content-Type": answer.kind, "Content-Length": str(len(answer.content)), **_HEADERS}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.content)
