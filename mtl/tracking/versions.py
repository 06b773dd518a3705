"""Versions and hardware, which affect the last digits of a result."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path

PACKAGES = ("biomtl", "torch", "pytorch-lightning", "transformers", "torchmetrics", "datasets", "numpy", "mlflow")


def versions(device: str = "") -> dict[str, str]:
    """Returns package versions, git commits, device and threads, by name.

    Args:
        device: Name of the device, such as cpu; "cuda" or empty takes the name of the GPU if there is one.
    """
    import torch

    if device in ("", "cuda"):
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    found = {"version.python": platform.python_version()}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[f"version.{package}"] = metadata.version(package)
    found |= {
        "machine.system": f"{platform.system()} {platform.machine()}",
        "machine.cpus": str(os.cpu_count()),
        "machine.device": device,
        "machine.threads": str(torch.get_num_threads()),
    }
    found |= {f"git.{key}": value for key, value in _git(Path.cwd()).items()}
    return found | {f"git.biomtl.{key}": value for key, value in _git(Path(__file__).parent).items()}


def _git(folder: Path) -> dict[str, str]:
    """The commit of the repository of a folder, and whether its code differs from that commit (is dirty).

    Code differs if tracked files were changed, or if Python files were added, such as a new head.
    """
    git = shutil.which("git")
    if git is None:
        return {}

    def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [git, "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603  # our own

    with suppress(OSError, subprocess.TimeoutExpired):
        commit = ask("rev-parse", "HEAD")
        # Packages of an environment inside a repository are ignored by it, and are not part of its commit.
        if commit.returncode == 0 and ask("check-ignore", "-q", ".").returncode == 1:
            changed = ask("status", "--porcelain", "--untracked-files=no").stdout.strip()
            added = ask("ls-files", "--others", "--exclude-standard", "--full-name", ":/*.py").stdout.strip()
            dirty = bool(changed or added)
            return {"commit": commit.stdout.strip(), "dirty": str(dirty).lower()}
    return {}
