"""How the threads of numeric libraries wait; this must be set before the libraries load."""

from __future__ import annotations

import os

DECIDES_RESULTS = False


def set_thread_defaults() -> None:
    """Sets environment variables that numeric libraries read when they load; variables that are set stay."""
    # OpenMP threads that spin for long slow down other processes on the machine; threads that never spin are slow to
    # wake. With a short spin (GNU's runtime only) a run is nearly as fast as with a long one, alone or with others.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    # If this is not set, tokenizers warns when a process is forked. Our forked processes do not tokenise.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
