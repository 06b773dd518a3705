"""The errors of damaged archives, shared by the readers of archives."""

from __future__ import annotations

import tarfile
import zipfile
import zlib

# Besides its own errors, `zipfile` raises OSError for an offset outside the file, RuntimeError for a member that seems
# to be encrypted or compressed by an unknown method, and UnicodeDecodeError for the name of a member.
DAMAGED: tuple[type[Exception], ...] = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,
    UnicodeDecodeError,
)
"""The errors of `zipfile`, `tarfile` and `gzip` if bytes are missing or wrong."""
