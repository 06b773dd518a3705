"""What besides command and seeds decides a measured figure: machine, packages, commit and date."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import psutil

from mtl.tracking.versions import versions

PEERS = ("accelerate", "tasknet")
"""Packages that only the scripts here use."""


def machine() -> dict[str, str]:
    """Processor, memory, threads, packages, commit and date, by name: no names of hosts or users."""
    found = versions()
    for package in PEERS:
        with suppress(metadata.PackageNotFoundError):
            found[f"version.{package}"] = metadata.version(package)
    return {
        **found,
        "machine.processor": _processor(),
        "machine.memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "date": datetime.now(UTC).date().isoformat(),
    }


def machine_line(found: Mapping[str, str]) -> str:
    """The same as one line of a page, from what `machine` gave."""
    packages = ", ".join(f"{k.removeprefix('version.')} {v}" for k, v in found.items() if k.startswith("version."))
    return (
        f"{found['date']}, {found['machine.processor']}, {found['machine.cpus']} cores "
        f"({found['machine.threads']} thread(s) used), {found['machine.memory']}; {packages}"
    )


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or "unknown"
