from __future__ import annotations

import base64
import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl.commands import run as run_mtl
from mtl.config.loading import load_mixture
from mtl.config.mixture import InitSpec
from mtl.export.hub import push, require_public
from mtl.export.hugging_face import export_encoder
from mtl.problems import InputError
from tests.trained_runs import saved_run


class Hub(ThreadingHTTPServer):
    """A stand-in of the hub's API for one repository: it takes files in commits, and knows no large ones."""

    daemon_threads = True

    def __init__(self, status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.status = status
        self.created: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.tokens: set[str | None] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, path: str, content: bytes) -> dict[str, Any]:
        if path == "/api/repos/create":
            self.created.append(json.loads(content))
            return {"url": f"{self.address}/owner/name"}
        if "/preupload/" in path:
            asked = json.loads(content)["files"]
            return {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in asked]}
        if "/commit/" in path:
            for line in content.splitlines():
                own = json.loads(line)
                if own["key"] == "file":
                    self.files[own["value"]["path"]] = base64.b64decode(own["value"]["content"])
            return {"commitUrl": f"{self.address}/owner/name/commit/1", "commitOid": "1", "success": True}
        return {}


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body = self._body()
        self.server.tokens.add(self.headers.get("authorization"))
        self._send(self.server.answer(self.path.partition("?")[0], body))

    def do_GET(self) -> None:
        self._send({"id": "owner/name", "sha": "0", "siblings": [], "private": True})

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _send(self, answer: dict[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(self.server.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A running hub, with the environment of a process that uses it."""
    with Hub() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
        yield server
        server.shutdown()


def saved(folder: Path, encoder: Path, name: str, *, private: bool = False, **changes: Any) -> Path:
    data = {"reader": "jsonl", "path": "rows", **({"private": True} if private else {})}
    kind = {"head": "classification", "labels": ["yes", "no"], "options": {"pooling": "pooler"}, "data": data}
    mixture = load_mixture({"name": name, "encoder": {"name": str(encoder)}, "tasks": {"kind": kind}})
    return saved_run(folder / "runs", mixture.model_copy(update=changes))[0].path


def test_a_task_is_pushed_whole(
    tmp_path: Path, tiny_encoder: Callable[[str], Path], hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    run = saved(tmp_path, tiny_encoder("bert"), "open")
    words = ["export", str(run), "--task", "kind", "--to", str(tmp_path / "out"), "--repo", "owner/name"]
    assert run_mtl(words) == 0
    assert f"{hub.address}/owner/name" in capsys.readouterr().out
    written = {path.relative_to(tmp_path / "out").as_posix(): path for path in (tmp_path / "out").rglob("*.*")}
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= written.keys()
    assert hub.files == {name: path.read_bytes() for name, path in written.items()}
    (created,) = hub.created
    assert (created["organization"], created["name"]) == ("owner", "name")
    assert created.get("visibility") == "private"
    assert hub.tokens == {"Bearer hf_" + "x" * 34}


def test_private_data_is_never_pushed(tmp_path: Path, tiny_encoder: Callable[[str], Path], hub: Hub) -> None:
    secret = saved(tmp_path, tiny_encoder("bert"), "secret", private=True)
    later = saved(tmp_path, tiny_encoder("bert"), "later", init=InitSpec(run=str(secret)))
    gone = saved(tmp_path, tiny_encoder("bert"), "gone")
    orphan = saved(tmp_path, tiny_encoder("bert"), "orphan", init=InitSpec(run=str(gone)))
    shutil.rmtree(gone)
    named = saved(tmp_path, secret, "named")  # the run as the name of the encoder
    marked = saved(tmp_path, tiny_encoder("bert"), "marked")
    fields = yaml.safe_load((marked / "mixture.yaml").read_text(encoding="utf-8"))
    fields["tasks"]["kind"]["data"]["private"] = True
    (marked / "mixture.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
    moved = saved(tmp_path, tiny_encoder("bert"), "moved", private=True)
    export_encoder(moved, tmp_path / "exported")
    from_moved, from_exported = (saved(tmp_path, path, path.parent.name) for path in (moved, tmp_path / "exported"))
    again = saved(tmp_path, from_moved, "again")
    shutil.rmtree(moved)
    for run, key in (
        *((run, "tasks.kind.data.private") for run in (secret, later, named, marked)),
        *((run, "encoder.name") for run in (from_moved, from_exported, again)),
        (orphan, "init.run"),
    ):
        with pytest.raises(InputError) as caught:
            require_public(run, "owner/name")
        assert [problem.key for problem in caught.value.problems] == [key]
        words = ["export", str(run), "--to", str(tmp_path / "out"), "--repo", "owner/name"]
        assert run_mtl([*words, "--task", "kind"]) == 2
        assert run_mtl([*words, "--encoder"]) == 2
    assert not (tmp_path / "out").exists()
    assert (hub.created, hub.files) == ([], {})


@pytest.mark.parametrize("name", ["name", "a/b/c", "owner/", "owner/-na--me"])
def test_a_name_that_the_hub_cannot_have_is_refused(
    tmp_path: Path, tiny_encoder: Callable[[str], Path], name: str
) -> None:
    with pytest.raises(InputError) as caught:
        require_public(saved(tmp_path, tiny_encoder("bert"), "open"), name)
    assert [problem.key for problem in caught.value.problems] == ["--repo"]


def test_a_hub_that_refuses_or_cannot_be_reached_is_reported(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "README.md").write_text("x", encoding="utf-8")
    hub.status = 403
    with pytest.raises(InputError) as caught:
        push(tmp_path, "owner/name")
    assert "403" in str(caught.value)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError) as caught:
        push(tmp_path, "owner/name")
    assert [problem.key for problem in caught.value.problems] == ["--repo"]


def test_a_hub_that_does_not_listen_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "README.md").write_text("x", encoding="utf-8")
    with socket.socket() as taken:  # bound and not listening, so that every connection is refused
        taken.bind(("127.0.0.1", 0))
        place = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", place)
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", place)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        with pytest.raises(InputError) as caught:
            push(tmp_path, "owner/name")
    assert [problem.key for problem in caught.value.problems] == ["--repo"]
