"""`python -m tests.distribution dist`: proves a wheel and a source distribution, after `make dist` has built them.

The wheel runs the three steps of docs/start.md in an environment that has nothing else of this repository, and the
source distribution runs `make demo`. `--check quick` takes the packages of the present environment instead of
installing them, and checks the demo instead of training it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

from tests.start_page import REPOSITORY, commands, write_files

THREE_STEPS = ("check", "fit", "test")


def main(arguments: Sequence[str] | None = None) -> None:
    """Proves both files of a folder; the first command that fails ends it."""
    parser = argparse.ArgumentParser("python -m tests.distribution", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with one wheel and one source distribution")
    parser.add_argument("--check", choices=["full", "quick"], default="full")
    options = parser.parse_args(arguments)
    (wheel,), (source,) = options.folder.glob("biomtl-*.whl"), options.folder.glob("biomtl-*.tar.gz")
    with tempfile.TemporaryDirectory() as place:
        bin_folder = installed(wheel, Path(place) / "env", is_quick=options.check == "quick")
        prove_wheel(bin_folder, Path(place) / "wheel")
        prove_source(source, Path(place) / "source", bin_folder if options.check == "quick" else None)


def installed(wheel: Path, folder: Path, *, is_quick: bool) -> Path:
    """Installs a wheel into a new environment, and returns the folder of its commands.

    Args:
        wheel: The wheel.
        folder: Folder of the environment.
        is_quick: Whether everything but the wheel is taken from the present environment.
    """
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    if is_quick:
        run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel])
        packages = next(folder.glob("lib/python*/site-packages"))
        # A plain path: the files in it that would show this repository are not read, and the wheel comes first.
        (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    else:
        constraints = REPOSITORY / "constraints.txt"
        run([python, "-m", "pip", "install", "--quiet", "-c", constraints, f"{wheel.resolve()}[demo]"])
    return folder / "bin"


def prove_wheel(bin_folder: Path, folder: Path) -> None:
    """Runs the three steps in an empty folder with an installed wheel."""
    folder.mkdir()
    write_files(folder)
    where = [bin_folder / "python", "-c", "import mtl; print(mtl.__file__)"]
    found = subprocess.run(where, cwd=folder, env=clean(folder), capture_output=True, text=True, check=True).stdout
    if bin_folder.parent not in Path(found.strip()).parents:
        raise SystemExit(f"mtl is not that of the wheel, but {found.strip()}")
    steps = [words for words in map(shlex.split, commands()) if words[0] == "mtl" and words[1] in THREE_STEPS]
    for words in steps:
        run([bin_folder / words[0], *words[1:]], folder)
    print(f"The wheel ran {len(steps)} steps of docs/start.md.")


def prove_source(source: Path, folder: Path, bin_folder: Path | None) -> None:
    """Runs `make demo` in an unpacked source distribution.

    Args:
        source: The source distribution.
        folder: Where to unpack it.
        bin_folder: Commands to check the demo's mixture with, instead of training it in an environment of its own.
    """
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    (top,) = folder.iterdir()
    if bin_folder is None:
        run(["make", "demo", f"PYTHON={sys.executable}"], top)
    else:
        run(["make", "-n", "demo"], top)
        run([bin_folder / "mtl", "check", "experiments/mixtures/demo.yaml"], top)
    print(f"The source distribution ran the demo{' (checked only)' if bin_folder else ''}.")


def run(command: Sequence[str | Path], folder: Path = REPOSITORY) -> None:
    """Runs a command without the settings of this environment; one that fails ends the proof with its exit code."""
    print("$", shlex.join(map(str, command)), flush=True)
    done = subprocess.run([str(word) for word in command], cwd=folder, env=clean(folder), check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def clean(folder: Path) -> dict[str, str]:
    """The environment's variables without those that would lead to this repository, MLflow or the user's cache."""
    unset = ("PYTHONPATH", "VIRTUAL_ENV", "MTL_RUN_FOLDER", "MAKEFLAGS", "MAKELEVEL")
    kept = {name: value for name, value in os.environ.items() if name not in unset and not name.startswith("MLFLOW_")}
    return {**kept, "MTL_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}


if __name__ == "__main__":
    main()
