"""Messages when MLflow is unreachable, reachable again, or refuses a request."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence

from mtl.tracking.mlflow_client import DeletedExperimentError, without_password

LISTED = 3
"""Maximum number of names that a message lists; further ones are counted."""


class Outages:
    """Reports problems on stderr, once for each outage and once for each reason of a refusal.

    Args:
        area: Start of each message: ``mtl: <area>: ...``.
        uri: Address of MLflow; its password is never shown.
        kept: Sentence that says where to find everything that MLflow lacks.
        note: Called with values to record: ``state`` (ok, lost or incomplete), ``error`` and ``refused``.
    """

    def __init__(self, area: str, uri: str, kept: str, note: Callable[..., None] = lambda **_: None) -> None:
        self.place = without_password(uri)
        self._area, self._kept, self._note = area, kept, note
        self._is_lost = False
        self._refusals: set[str] = set()

    def lost(self, error: Exception) -> None:
        """Reports that MLflow did not answer, once for each outage."""
        why = reason(error)
        self._note(state="lost", error=why)
        if not self._is_lost:
            self._is_lost = True
            if isinstance(error, DeletedExperimentError):
                self.say(f"{error} Sending starts when this is done. {self._kept}")
            else:
                self.say(
                    f"MLflow at {self.place} is unreachable ({why}); sending resumes when it is back. {self._kept}"
                )

    def over(self) -> None:
        """Reports the end of an outage: MLflow has received everything so far."""
        if self._is_lost:
            self._is_lost = False
            self._note(state="ok")
            self.say(f"MLflow at {self.place} is reachable again.")

    def refused(self, what: str, error: Exception) -> None:
        """Reports that MLflow rejected something permanently, once for each reason."""
        why = reason(error)
        self._note(refused=why)
        if why not in self._refusals:
            self._refusals.add(why)
            self.say(f"MLflow at {self.place} refused: {what} ({why}). {self._kept}")

    def unsent(self, names: Sequence[str]) -> None:
        """Reports what was not sent before the end."""
        self._note(state="incomplete")
        names = list(dict.fromkeys(names))
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        self.say(f"Still missing in MLflow at {self.place}: {', '.join(names[:LISTED])}{more}. {self._kept}")

    def say(self, message: str) -> None:
        """Writes a message to stderr."""
        sys.stderr.write(f"mtl: {self._area}: {message}\n")


def is_refusal(error: Exception) -> bool:
    """Returns whether retrying cannot help. Stores raise different errors."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, MlflowException):
        return error.error_code in {
            "INVALID_PARAMETER_VALUE",
            "BAD_REQUEST",
            "MALFORMED_REQUEST",
            "RESOURCE_ALREADY_EXISTS",
            "RESOURCE_DOES_NOT_EXIST",
            "INVALID_STATE",
        }
    return isinstance(error, FileNotFoundError) or not isinstance(error, OSError | SQLAlchemyError)


def reason(error: Exception) -> str:
    """Returns the message of an error in one line, without user and password of an address.

    >>> reason(OSError("no route to postgresql://me:secret@host/db"))
    'no route to postgresql://host/db'
    """
    return re.sub(r"//[^/@\s]+@", "//", " ".join(str(error).split()))[:200] or type(error).__name__
