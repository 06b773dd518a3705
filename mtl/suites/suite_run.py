"""Trains the models of a suite, study by study, and gathers the results of all models."""

from __future__ import annotations

import sys
from pathlib import Path

from mtl.problems import InputError, Problem
from mtl.study.running.completion import complete
from mtl.study.running.session import Session
from mtl.suites.checking import SuiteCheck
from mtl.suites.model_results import ModelResults, collect, keep, models_folder, read_models
from mtl.suites.suite_file import Suite
from mtl.suites.suite_studies import SuiteOrder, suite_studies
from mtl.suites.suite_tracker import SuiteTracker


def run_suite(suite: Suite, published: Suite, check: SuiteCheck, order: SuiteOrder, root: Path) -> int:
    """Trains the missing runs of a model, and keeps the results after each study.

    Args:
        suite: The suite with the user's overrides.
        published: The suite without them.
        check: Its data.
        order: What is trained.
        root: Folder of all results.

    Returns:
        The number of scores that are missing, because their runs failed.

    Raises:
        InputError: The suite cannot be trained in this way, or the data of a task are invalid.
        StoppedError: The command was interrupted.
    """
    num_missing = 0
    for study in suite_studies(suite.spec, order):
        session = Session(study, root)
        findings = complete(session, session.folder / "report")
        keep(collect(session, check, published.spec, order), root)
        for sentence in findings.missing:
            sys.stderr.write(f"mtl: suite: {sentence}\n")
        num_missing += len(findings.missing)
    return num_missing


def known_models(suite: Suite, root: Path, tracker: SuiteTracker) -> list[ModelResults]:
    """The results of all models on a revision of a suite, on disk or in MLflow.

    Args:
        suite: The suite.
        root: Folder of all results.
        tracker: The suite in MLflow.

    Raises:
        InputError: There are no results.
    """
    found = {one.file_name: one for one in (*tracker.models(), *read_models(models_folder(root, suite.spec.name)))}
    models = [one for _, one in sorted(found.items()) if one.revision == suite.spec.revision]
    if not models:
        message = f"There are no results of the suite '{suite.spec.name}', revision {suite.spec.revision}."
        raise InputError(Problem("suite", message, f"Run `mtl suite run {suite.spec.name}` first."))
    return models
