"""A finished study in a real browser: its run and its heat map in the MLflow UI, and its interactive report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mtl.commands import run as run_mtl
from mtl.study.report.presentation import MARKS, points
from tests.mlflow_server import Server

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 30_000
"""Timeout for MLflow's pages in milliseconds; their scripts take a while on a busy machine."""


@contextmanager
def browser() -> Iterator[Any]:
    """A page in a real Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))
        page = chromium.new_page(viewport={"width": 1500, "height": 950})
        page.set_default_timeout(PATIENCE)
        yield page
        chromium.close()


@pytest.mark.slow
def test_a_study_and_its_report_can_be_viewed_in_mlflow(toy_study: Callable[..., Path], tmp_path: Path) -> None:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed: apt-get install chromium")
    pytest.importorskip("playwright.sync_api", reason="playwright is part of the extra dev")
    toy_study(tasks=["cause", "risk"], controls=["replicate"])
    assert run_mtl(["study", "run", "study.yaml"]) == 0
    folder = tmp_path / "runs" / "studies" / "toy_study" / "report"
    findings = json.loads((folder / "findings.json").read_text(encoding="utf-8"))
    with Server(tmp_path) as server, browser() as page:
        _open_study(page, server.url, tmp_path)
        _see_nested_runs(page, findings, tmp_path)
        _see_heat_map(page, tmp_path)
        page.get_by_text("report.html", exact=True).click()
        report = page.frame_locator("iframe")
        _read_report(report, findings)
        page.screenshot(path=tmp_path / "4_report.png")


def _open_study(page: Any, url: str, folder: Path) -> None:
    from mlflow import MlflowClient

    found = MlflowClient(url).get_experiment_by_name("biomtl-studies")
    assert found is not None
    page.goto(f"{url}/#/experiments/{found.experiment_id}/runs")
    page.get_by_role("link", name="toy_study").wait_for()
    page.screenshot(path=folder / "1_runs.png")


def _see_nested_runs(page: Any, findings: dict[str, Any], folder: Path) -> None:
    study = page.get_by_role("link", name="toy_study")
    assert page.get_by_role("link", name="cause + risk, seed 1").count() == 0
    page.locator("div[role=row]").filter(has=study).locator("button").first.click()
    for cost in findings["costs"]:
        page.get_by_role("link", name=cost["run"], exact=True).wait_for()
    page.screenshot(path=folder / "2_nested.png")
    study.click()
    page.get_by_text("Child runs", exact=True).wait_for()


def _see_heat_map(page: Any, folder: Path) -> None:
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("heat_map_pairwise.png", exact=True).first.click()
    page.wait_for_function("() => [...document.images].some((image) => image.naturalWidth > 600)")
    page.screenshot(path=folder / "3_heat_map.png")


def _read_report(report: Any, findings: dict[str, Any]) -> None:
    report.locator("h1").wait_for()
    assert report.locator("h1").inner_text() == "toy_study"
    assert report.locator(".headline").inner_text().startswith("No gain is significant")
    limit = report.locator("ul.limits li").first.inner_text()
    assert limit.startswith("2 gains are unresolvable")
    assert all(part in limit for part in ("2 seeds", "0.500"))
    pairs = next(family for family in findings["families"] if family["design"] == "pairwise")
    for gain in pairs["gains"]:
        cell = report.locator(f'button.cell[aria-label^="{gain["target"]} with {gain["partner"]}:"]')
        assert cell.locator("b").inner_text() == f"{MARKS['unresolvable']} {points(gain['cell']['mean'], 1)}"
        cell.hover()
        tip = report.locator(".has-tip .tip")
        tip.wait_for(state="visible")
        assert f" {points(gain['cell']['mean'])} points" in tip.inner_text()
        cell.click()
        assert cell.get_attribute("aria-pressed") == "true"
        details = report.locator(".details").first
        assert details.locator("h4").inner_text().startswith(f"{gain['target']} with {gain['partner']}")
        shown = details.locator("tbody tr td:last-child").all_inner_texts()
        assert shown == [points(difference) for difference in gain["differences"]]
