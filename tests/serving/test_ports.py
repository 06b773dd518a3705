from __future__ import annotations

import socket

import pytest

from mtl.problems import InputError
from mtl.serving.ports import require_free_port
from tests.mlflow_server import free_port


def refused(host: str, port: int) -> list[str]:
    with pytest.raises(InputError) as caught:
        require_free_port(host, port)
    return [problem.key for problem in caught.value.problems]


def test_a_port_in_use_is_refused_and_a_free_one_is_not() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert refused("127.0.0.1", server.getsockname()[1]) == ["--port"]
    require_free_port("127.0.0.1", free_port())


def test_a_port_that_does_not_exist_and_a_host_that_is_not_this_machine_are_refused() -> None:
    assert refused("127.0.0.1", 0) == refused("127.0.0.1", 1 << 16) == ["--port"]
    assert refused("192.0.2.1", free_port()) == ["--host"]  # an address for documentation (RFC 5737)
