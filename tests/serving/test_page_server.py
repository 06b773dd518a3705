"""The server of the page: what it answers, whom it refuses, and the page in a real Chromium."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mtl.prediction.predicting import predict
from mtl.problems import InputError
from mtl.serving.page_server import LONGEST, check_page_host, open_page
from tests.serving.conftest import TEXT
from tests.study.test_browser import CHROMIUM, browser

Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def server(served_run: Path, planted: None) -> Iterator[ThreadingHTTPServer]:
    with open_page(served_run, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def ask(server: ThreadingHTTPServer) -> Ask:
    """Sends a request and returns the status and the JSON of its answer."""

    def send(content: Any = None, path: str = "/predict", method: str = "POST", **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(*server.server_address[:2])
        body = content if isinstance(content, str | None) else json.dumps(content)
        given = {
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, json.loads(text) if answer.getheader("Content-Type") == "application/json" else text

    return send


def test_an_answer_is_what_predict_returns(ask: Ask, served_run: Path) -> None:
    status, found = ask({"text": TEXT})
    assert status == 200
    assert [found] == predict(served_run, [TEXT], tasks=["mentions", "links", "kind"])
    assert found["predictions"]["mentions"]["entities"][0]["text"] == "Aspirin"


def test_the_number_of_texts_decides_which_tasks_answer(ask: Ask) -> None:
    assert set(ask({"text": "a", "text_pair": ""})[1]["predictions"]) == {"mentions", "links", "kind"}
    assert set(ask({"text": "a", "text_pair": "b"})[1]["predictions"]) == {"agreement"}


@pytest.mark.parametrize(
    ("content", "status", "key"),
    [
        ({"text": ""}, 400, "text"),
        ({}, 400, "text"),
        ({"text": 3}, 400, "text"),
        ({"text": "a", "text_pair": ["b"]}, 400, "text_pair"),
        ([], 400, "request"),
        ("{", 400, "request"),
        ("x" * (LONGEST + 1), 413, "request"),
    ],
)
def test_an_invalid_request_is_a_json_error_and_the_server_stays_up(
    ask: Ask, content: Any, status: int, key: str
) -> None:
    found, answer = ask(content)
    assert (found, [problem["key"] for problem in answer["problems"]]) == (status, [key])
    assert ask({"text": "fever"})[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1:1"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_another_page_is_refused(ask: Ask, headers: dict[str, str]) -> None:
    assert ask({"text": "fever"}, **headers)[0] == 403
    assert ask(None, "/tasks", "GET", **headers)[0] == 403


def test_a_form_of_another_page_is_refused_by_its_content_type(ask: Ask) -> None:
    assert ask('{"text": "fever"}', Content_Type="text/plain")[0] == 415


def test_the_own_page_is_answered(ask: Ask, server: ThreadingHTTPServer) -> None:
    for host in ("127.0.0.1", "localhost"):
        own = f"{host}:{server.server_address[1]}"
        assert ask({"text": "fever"}, Host=own, Origin=f"http://{own}", Sec_Fetch_Site="same-origin")[0] == 200


def test_unknown_addresses_do_not_exist(ask: Ask) -> None:
    assert ask(None, "/../../setup.py", "GET")[0] == ask(None, "/page.py", "GET")[0] == ask({}, "/other")[0] == 404


def test_an_error_of_a_head_is_answered_without_the_text(
    ask: Ask, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from heads.classification import Classification

    def decode(self: Any, row: Any, *_: Any) -> Any:
        raise ValueError(f"no prediction for {row.text!r}")

    monkeypatch.setattr(Classification, "decode", decode)
    status, answer = ask({"text": "Zyzzyva fever"})
    assert status == 500
    assert "Zyzzyva" not in json.dumps(answer) + "".join(capfd.readouterr())


def test_requests_are_not_logged(ask: Ask, capfd: pytest.CaptureFixture[str]) -> None:
    ask({"text": "Zyzzyva fever"})
    ask("Zyzzyva")
    ask(None, "/Zyzzyva", "GET")
    assert "Zyzzyva" not in "".join(capfd.readouterr())


def test_the_page_has_no_other_host() -> None:
    check_page_host("localhost")
    with pytest.raises(InputError) as caught:
        check_page_host("0.0.0.0")
    assert [problem.key for problem in caught.value.problems] == ["--host"]


def test_mentions_that_no_task_finds_are_an_error_before_the_page_opens(served_run: Path) -> None:
    with pytest.raises(InputError) as caught, open_page(served_run, "127.0.0.1", 0, mentions=["links=kind"]):
        pass
    assert [problem.key for problem in caught.value.problems] == ["--mentions"]


@pytest.mark.slow
def test_the_page_shows_entities_relations_and_labels_in_chromium(
    server: ThreadingHTTPServer, served_run: Path, tmp_path: Path
) -> None:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed: apt-get install chromium")
    pytest.importorskip("playwright.sync_api", reason="playwright is part of the extra dev")
    expected = predict(served_run, [TEXT], tasks=["kind"])[0]["predictions"]["kind"]
    address = f"http://127.0.0.1:{server.server_address[1]}/"
    with browser() as page:
        messages: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: messages.append(message.text))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.get_by_role("heading", name="notes").wait_for()
        page.get_by_label("Text", exact=True).fill(TEXT)
        page.get_by_role("button", name="Predict").click()
        page.get_by_text("3 tasks predicted.").wait_for()
        mentions = page.get_by_role("region", name="mentions")
        assert mentions.locator("mark").evaluate_all("all => all.map((one) => one.firstChild.textContent)") == [
            "Aspirin",
            "fever",
            "risk",
        ]
        assert mentions.locator(".text").inner_text().startswith("😀 ")
        assert "<b>" in mentions.locator(".text").inner_text(), "and nothing of it is HTML of the page"
        links = page.get_by_role("region", name="links").get_by_role("table", name="Relations")
        assert links.get_by_role("row").nth(1).inner_text().split()[:3] == ["Aspirin", "up", "fever"]
        kind = page.get_by_role("region", name="kind").get_by_role("row").nth(1)
        assert kind.inner_text().split() == [expected["label"], f"{expected['score']:.3f}"]
        page.screenshot(path=tmp_path / "light.png", full_page=True)
        page.emulate_media(color_scheme="dark")
        page.screenshot(path=tmp_path / "dark.png", full_page=True)
        page.get_by_label("Second text").fill("fever")
        page.keyboard.press("Control+Enter")
        page.get_by_text("1 task predicted.").wait_for()
        page.get_by_role("button", name="Clear").click()
        assert page.get_by_role("region").count() == 0
        assert page.evaluate("localStorage.length + sessionStorage.length") == 0
        assert messages == []
        assert all(url.startswith(address) or url == "data:," for url in asked)
