"""Finds out whether a process that left its identity in a file is still alive."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

DECIDES_RESULTS = False


def this_process() -> dict[str, Any]:
    """The identity of this process: where it runs, process id, start time, and the Slurm job that it belongs to."""
    identity = {**_place(), "pid": os.getpid(), "started": psutil.Process().create_time()}
    job = os.environ.get("SLURM_JOB_ID")
    return identity if job is None else {**identity, "job": job, "restarts": _restarts()}


def is_this_process(identity: Mapping[str, Any]) -> bool:
    """Whether an identity is that of the process that asks."""
    return _is_here(identity) and identity["pid"] == os.getpid() and _started_then(psutil.Process(), identity)


def _place() -> dict[str, Any]:
    """Where a process id means something: the host and, on Linux, the container.

    Containers that use the network of their host have its name, too, but each numbers its processes from the start.
    """
    try:
        return {"host": socket.gethostname(), "namespace": Path("/proc/self/ns/pid").stat().st_ino}
    except OSError:
        return {"host": socket.gethostname()}


def _is_here(identity: Mapping[str, Any]) -> bool:
    """Whether a process ran where this one does; earlier versions recorded no container."""
    return all(identity.get(name, value) == value for name, value in _place().items())


def _started_then(process: psutil.Process, identity: Mapping[str, Any]) -> bool:
    """Whether a process is the one that had its id; its start is counted from that of the machine, in whole seconds."""
    return bool(abs(process.create_time() - identity["started"]) <= 1)


def _restarts() -> int:
    """How often Slurm has requeued this job."""
    count = os.environ.get("SLURM_RESTART_COUNT", "0")
    return int(count) if count.isdecimal() else 0


def is_gone(identity: Mapping[str, Any], last_beat: float, lease: float) -> bool:
    """Whether a process has ended, or ran elsewhere and has given no sign of life for a while.

    Args:
        identity: What `this_process` returned in that process.
        last_beat: Time of its last sign of life, in seconds since 1970.
        lease: Seconds without one after which a process on another machine, or in another container, counts as gone.
    """
    ended = has_ended(identity)
    return time.time() - last_beat > lease if ended is None else ended


def has_ended(identity: Mapping[str, Any]) -> bool | None:
    """Whether a process has ended; None if it ran on another machine or in another container and nothing tells.

    Slurm requeues a job only after it has ended, so a process of an earlier start of this job is gone wherever it ran.

    Args:
        identity: What `this_process` returned in that process.
    """
    if "job" in identity and identity["job"] == os.environ.get("SLURM_JOB_ID") and identity["restarts"] < _restarts():
        return True
    if not _is_here(identity):
        return None
    try:
        process = psutil.Process(identity["pid"])
        # A killed process keeps its id until its parent has read the exit status.
        return not _started_then(process, identity) or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return True
