"""Finds out whether a process that left its identity in a file is still alive."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import Any

import psutil

DECIDES_RESULTS = False


def this_process() -> dict[str, Any]:
    """The identity of this process: host, process id and start time."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def is_gone(identity: Mapping[str, Any], last_beat: float, lease: float) -> bool:
    """Whether a process has ended, or ran on another machine and has given no sign of life for a while.

    Args:
        identity: What `this_process` returned in that process.
        last_beat: Time of its last sign of life, in seconds since 1970.
        lease: Seconds without one after which a process on another machine counts as gone.
    """
    ended = has_ended(identity)
    return time.time() - last_beat > lease if ended is None else ended


def has_ended(identity: Mapping[str, Any]) -> bool | None:
    """Whether a process has ended; None if it ran on another machine.

    Args:
        identity: What `this_process` returned in that process.
    """
    if identity["host"] != socket.gethostname():
        return None
    try:
        process = psutil.Process(identity["pid"])
        is_another = abs(process.create_time() - identity["started"]) > 1
        # A killed process keeps its id until its parent has read the exit status.
        return is_another or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return True
