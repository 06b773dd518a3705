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
    """The identity of this process: host, process id, start time, and the Slurm job that it belongs to."""
    identity = {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}
    job = os.environ.get("SLURM_JOB_ID")
    return identity if job is None else {**identity, "job": job, "restarts": _restarts()}


def _restarts() -> int:
    """How often Slurm has requeued this job."""
    count = os.environ.get("SLURM_RESTART_COUNT", "0")
    return int(count) if count.isdecimal() else 0


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
    """Whether a process has ended; None if it ran on another machine and nothing tells.

    Slurm requeues a job only after it has ended, so a process of an earlier start of this job is gone wherever it ran.

    Args:
        identity: What `this_process` returned in that process.
    """
    if "job" in identity and identity["job"] == os.environ.get("SLURM_JOB_ID") and identity["restarts"] < _restarts():
        return True
    if identity["host"] != socket.gethostname():
        return None
    try:
        process = psutil.Process(identity["pid"])
        is_another = abs(process.create_time() - identity["started"]) > 1
        # A killed process keeps its id until its parent has read the exit status.
        return is_another or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return True
