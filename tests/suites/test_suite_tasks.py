"""Tasks of suites by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl.config.mixture import TaskSpec
from mtl.suites.suite_file import known_suites, load_suite
from mtl.suites.suite_tasks import suite_task, variants_of_task
from tests.suites.toy import write_suite


@pytest.mark.parametrize("suite", sorted(known_suites()))
def test_every_task_of_a_suite_is_found_by_its_name(suite: str) -> None:
    tasks = load_suite(suite).spec.task_fields()
    assert tasks
    for name, fields in tasks.items():
        found = suite_task(name)
        assert found is not None, name
        assert (found.head, list(found.labels)) == (fields["head"], list(fields["labels"]))


@pytest.mark.parametrize("name", ["", "blurb", "blurb_", "blurb_no_such_task", "hoc", "nosuite_hoc"])
def test_other_names_are_those_of_no_task(name: str) -> None:
    assert suite_task(name) is None


def test_a_task_of_a_suite_has_the_variant_that_the_suite_declares(tmp_path: Path) -> None:
    spec = load_suite(str(write_suite(tmp_path))).spec
    for name, metric, variant in (
        ("toy_risk", "micro_f1", "micro_f1_without_negative"),
        ("toy_drugs", "f1", "strict_entity_f1"),
    ):
        task = TaskSpec(**spec.task_fields()[name])
        assert variants_of_task(task, [metric, "no_such_metric"]) == {metric: variant}
        assert variants_of_task(task, []) == {}
