"""Measures what `torchmetrics` and `datasets` could replace here: the tables of `../results/dependencies.md`.

    python experiments/bench/dependencies.py             # all three parts, about two minutes
    python experiments/bench/dependencies.py scores      # or `store`, or `readers`

Prints Markdown. Compare times only within one run: the machine may be busy.
"""

from __future__ import annotations

import argparse
import importlib
import os
import tempfile

PARTS = ("scores", "store", "readers")


def main() -> None:
    """Runs the parts that are asked for and prints their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"any of {', '.join(PARTS)}; all by default")
    parts = parser.parse_args().parts or PARTS
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        parser.error(f"there is no part '{unknown[0]}'; the parts are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory() as folder:
        # Read when `datasets` is imported, here and in child processes.
        os.environ |= {"HF_HOME": folder, "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
        from machine import machine, machine_line

        print(machine_line(machine()), end="\n\n")
        for part in parts:
            tables = importlib.import_module(f"dependency_{part}").tables()
            print(*tables, sep="\n\n", end="\n\n", flush=True)


if __name__ == "__main__":
    main()
