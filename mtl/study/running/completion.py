"""One command on a study from its runs to its report, with a true status in MLflow however it ends."""

from __future__ import annotations

import uuid
from pathlib import Path

from mtl.study.report.outcome import outcome, write_report
from mtl.study.running.session import Session
from mtl.study.statistics.findings import Findings

DECIDES_RESULTS = False


class StoppedError(Exception):
    """The command was interrupted; the same command resumes.

    Args:
        done: Number of finished runs.
        total: Number of all runs.
    """

    def __init__(self, done: int, total: int) -> None:
        super().__init__(f"Stopped after {done} of {total} runs. Repeat the command to resume.")


def complete(session: Session, folder: Path, *, verify_old: int = 0) -> Findings:
    """Trains the missing runs of a study, and writes its report to a folder and to MLflow.

    Args:
        session: Session of the study.
        folder: Folder of the report.
        verify_old: See `Session.run`.

    Raises:
        StoppedError: The command was interrupted.
    """
    try:
        session.run(str(uuid.uuid4()), verify_old=verify_old)
        findings = session.findings()
        session.tracker.report(outcome(findings), write_report(findings, folder))
    except (KeyboardInterrupt, SystemExit):  # Lightning turns Ctrl-C into SystemExit
        session.tracker.end("KILLED")
        done = sum(session.is_done(run_spec) for run_spec in session.plan.run_specs)
        raise StoppedError(done, len(session.plan.run_specs)) from None
    except BaseException:
        session.tracker.end("FAILED")
        raise
    finally:
        session.tracker.close()
    return findings
