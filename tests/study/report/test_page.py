"""The report page of simulated studies: its conclusions, its numbers, and its structure."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import math
import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from mtl.problems import InputError
from mtl.study.report.conclusions import design_summary, partners, summary
from mtl.study.report.page import gains_columns, gains_text, heat_map_page, report_page
from mtl.study.report.presentation import p_value, points, span
from mtl.study.statistics.findings import ArmScores, Family, Findings, Gain, RunNote, StageScores, TrainedOn
from mtl.study.statistics.significance import Interval
from tests.study import simulated

VOID = {"meta", "img", "br", "link", "input", "hr", "wbr"}
NO_PARTNER = "none supported by the evidence"


class Node:
    """An element with its children and its text."""

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag, self.attributes = tag, attributes
        self.children: list[Node | str] = []

    def walk(self) -> Iterator[Node]:
        yield self
        for child in self.children:
            if isinstance(child, Node):
                yield from child.walk()

    def find(self, tag: str, css: str = "", **attributes: str) -> list[Node]:
        return [
            node
            for node in self.walk()
            if node.tag == tag
            and (not css or css in node.attributes.get("class", "").split())
            and all(node.attributes.get(key) == value for key, value in attributes.items())
        ]

    @property
    def text(self) -> str:
        return " ".join(" ".join(c if isinstance(c, str) else c.text for c in self.children).split())


class Reader(HTMLParser):
    """Builds the tree and fails on tags that are not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Node("document", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {key: value or "" for key, value in attrs})
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read(html: str) -> Node:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == [reader.root]
    return reader.root


def page(findings: Findings, figures: dict[str, Figure] | None = None) -> Node:
    return read(report_page(findings, figures or {}))


def section(root: Node, name: str) -> Node:
    return root.find("section", id=name)[0]


def design_limits(root: Node) -> list[str]:
    """The limitations of the first design, without those of the whole study."""
    root = section(root, "conclusions")
    return [item.text for item in root.find("ul", "limits")[0].find("li")]


def rows(table: Node) -> list[list[str]]:
    return [
        [cell.text for cell in line.children if isinstance(cell, Node)]
        for body in table.find("tbody")
        for line in body.find("tr")
    ]


def changed(findings: Findings, design: str, number: int, **cell: object) -> Findings:
    """The findings with fields of one gain's cell changed."""
    families = []
    for family in findings.families:
        gains = list(family.gains)
        if family.design == design:
            gains[number] = dataclasses.replace(gains[number], cell=gains[number].cell._replace(**cell))  # type: ignore[arg-type]
        families.append(dataclasses.replace(family, gains=tuple(gains)))
    return dataclasses.replace(findings, families=tuple(families))


# --- conclusions ------------------------------------------------------------------------------------------------------


def test_the_summary_lists_the_significant_gains_and_no_others() -> None:
    findings = simulated.study()
    root = page(findings)
    shown_summary = section(root, "conclusions")
    significant = [item.text for item in shown_summary.find("ul", "significant")[0].find("li")]
    expected = design_summary(findings, findings.families[0]).significant
    assert [gain.verdict for gain in expected] == ["helps", "hurts"]
    assert significant == [" ".join((gain.mark, gain.text, *gain.caveats)) for gain in expected]
    uncompared, *others = design_limits(root)
    assert uncompared.startswith("1 significant positive gain")
    assert "`continued`" in uncompared
    assert [limit[: limit.index(":")] for limit in others] == ["3 gains are undecided", "1 gain is missing"]


def test_the_table_of_the_stages_and_absent_data_are_shown_if_there_are_any() -> None:
    stages = (StageScores("gad", *(tuple(0.1 * n + 0.01 * seed for seed in range(8)) for n in range(5))),)
    findings = dataclasses.replace(simulated.study(), stages=stages, left_out={"mednli": "<PhysioNet>"})
    root = page(findings)
    (line,) = rows(section(root, "stages"))
    assert line == ["gad", "f1", *(f"{0.1 * n + 0.035:.4f} (0.0245)" for n in range(5)), "8"]
    assert root.find("ul", "left-out")[0].text == "mednli: its data comes from <PhysioNet>."
    assert page(simulated.study()).find("section", id="stages") == []
    assert "0.1350 (0.0245)" in shown(findings)


def test_the_table_of_the_arms_is_shown_if_there_is_one() -> None:
    gain = simulated.family("arms", [("gad", "markers")], {("gad", "markers"): 0.03}, 8)
    scores = (ArmScores("gad", "typed", (0.5,) * 8, 50.0, "<A>"), ArmScores("gad", "markers", (0.53,) * 8, 60.0, "<A>"))
    findings = dataclasses.replace(simulated.study(), arms=scores, families=(gain,))
    first, second = rows(section(page(findings), "arms"))
    assert first == ["gad", "typed", "0.5000", "0.0000", "8", "2", "", "", "50.00", "2", "<A>"]
    assert second[:7] == ["gad", "markers", "0.5300", "0.0000", "8", "1", "+3.00"]
    assert second[8:] == ["60.00", "1", "<A>"]
    assert page(findings).find("section", id="partners") == []
    assert "0.5300 (0.0000)" in shown(findings)


def test_the_headline_says_that_no_gain_is_significant() -> None:
    root = page(simulated.study(planted={}, missing=[]))
    assert section(root, "summary").find("p", "headline")[0].text.startswith("No gain is significant")
    assert root.find("ul", "significant") == []


def test_with_three_seeds_all_gains_are_unresolvable_and_the_page_says_how_many_seeds_are_needed() -> None:
    root = page(simulated.study(num_seeds=3))
    shown_summary = section(root, "summary")
    assert "No gain is significant" in shown_summary.find("p", "headline")[0].text
    limit = design_limits(root)[0]
    assert limit.startswith("5 gains are unresolvable")
    assert all(part in limit for part in ("3 seeds", "0.250", "0.05", "At least 6 seeds"))
    assert not any("undecided" in text for text in design_limits(root))
    assert {row[1] for row in rows(root.find("table", "partners")[0])} == {NO_PARTNER}
    verdicts = [row[-1] for row in rows(root.find("table", "gains")[0])]
    assert verdicts.count("? unresolvable (n=3, smallest p 0.250)") == 5
    p_values = [row[5:7] for row in rows(root.find("table", "gains")[0])]
    assert p_values == [["–", "–"]] * 6  # a p value would suggest that they can be significant
    assert {row.text for row in root.find("td", "extra")} == {"none"}


def test_a_gain_has_a_caveat_for_the_noise_floor_for_the_test_set_and_for_a_weak_baseline() -> None:
    (weak,) = section(page(simulated.study()), "conclusions").find("span", "caveat")
    assert "tfidf (0.750)" in weak.text  # the simulated baseline of hoc is above its score
    noisy = changed(simulated.study(), "replicate", 0, interval=Interval(-0.01, 0.04))
    family = noisy.families[0]
    gain = dataclasses.replace(family.gains[0], documents=Interval(-0.01, 0.07))
    family = dataclasses.replace(family, gains=(gain, *family.gains[1:]))
    noisy = dataclasses.replace(noisy, families=(family, *noisy.families[1:]))
    first = section(page(noisy), "conclusions").find("ul", "significant")[0].find("li")[0]
    noise, documents = (caveat.text for caveat in first.find("span", "caveat"))
    assert "noise floor (−4.00 to +4.00)" in noise
    assert "documents (−1.00 to +7.00)" in documents


def test_a_gain_that_lacks_a_seed_is_listed_as_excluded_from_the_test() -> None:
    findings = changed(simulated.study(), "pairwise", 1, n=7, adjusted_p=math.nan)
    _, undecided, excluded, missing = design_limits(page(findings))
    assert undecided.startswith("2 gains are undecided")
    assert excluded.startswith("1 gain lacks at least one seed")
    assert missing.startswith("1 gain is missing")


def test_only_significant_gains_are_recommended_and_candidates_are_marked_as_not_significant() -> None:
    findings = changed(simulated.study(), "pairwise", 1, q=0.08)
    findings = changed(findings, "pairwise", 2, q=0.11)
    table = page(findings).find("table", "partners")[0]
    (weak,) = partners(findings)[1].avoided[0].caveats
    assert rows(table) == [
        ["gad", "▲ hoc (pairwise, +3.00)", "–", "–", "biosses (pairwise, +0.10, q 0.080)"],
        ["hoc", NO_PARTNER, "–", f"▼ biosses (pairwise, −2.00). {weak}", "–"],
        ["biosses", NO_PARTNER, "–", "–", "–"],
    ]
    assert "not significant" in table.find("th")[4].text


def test_a_control_recommends_nothing_and_has_no_verdict_however_clear_its_gain() -> None:
    findings = changed(
        simulated.study(planted={}, missing=[]), "shuffled_partner", 0, mean=0.09, q=0.01, verdict="helps"
    )
    root = page(findings)
    assert section(root, "summary").find("p", "headline")[0].text.startswith("No gain is significant")
    assert {row[1] for row in rows(root.find("table", "partners")[0])} == {NO_PARTNER}
    assert not re.search("helps|hurts|undecided", section(root, "controls").text)
    assert set(gains_columns(findings)["verdict"][6:]) == {"control"}


# --- further training, collapsed runs ---------------------------------------------------------------------------------


def test_a_gain_that_further_training_matches_is_in_no_headline_and_not_recommended() -> None:
    findings = simulated.with_training(simulated.study(missing=[]), 0.03)
    root = page(findings)
    headline = section(root, "summary").find("p", "headline")[0].text
    assert headline.startswith("No gain is more than further training brings")
    (matched, hurting) = section(root, "conclusions").find("ul", "significant")[0].find("li")
    assert matched.find("span", "matched")
    assert "a second round alone gains +3.00" in matched.find("span", "caveat")[0].text
    assert hurting.find("span", "hurts")
    recommended, with_caveats = rows(root.find("table", "partners")[0])[0][1:3]
    assert recommended == NO_PARTNER
    assert with_caveats.startswith("△ hoc (pairwise, +3.00). No more than further training")
    gains = rows(root.find("table", "gains")[0])
    assert gains[0][-1] == "△ matched"
    assert gains[0][-3].startswith("0.00 (")
    assert gains_columns(findings)["verdict"][0] == "matched"
    assert gains_columns(findings)["beyond_training"][0] == pytest.approx(0.0, abs=1e-9)
    assert "△ matched" in shown(findings)


def test_a_gain_beyond_further_training_is_in_the_headline() -> None:
    findings = simulated.with_training(simulated.study(missing=[]), 0.01)
    root = page(findings)
    headline = section(root, "summary").find("p", "headline")[0].text
    assert headline.startswith("1 of 6 gains is significant, positive and more than further training brings")
    helping = section(root, "conclusions").find("ul", "significant")[0].find("li")[0].text
    assert "2.00 points more than further training" in helping
    assert rows(root.find("table", "gains")[0])[0][-1] == "▲ helps"


def test_a_collapsed_run_is_named_and_its_cell_carries_a_caution() -> None:
    findings = simulated.with_collapse(simulated.study())
    root = page(findings)
    name = "gad + hoc, seed 3"
    assert rows(section(root, "care").find("table", "collapsed")[0]) == [[name, "gad", "0.4100", "0.5000"]]
    assert "1 run collapsed" in section(root, "summary").find("p", "headline")[0].text
    button = root.find("button", "is-helps")[0]
    assert button.text.startswith("▲ +3.0 !")
    assert name in button.attributes["aria-label"]
    assert name in rows(root.find("table", "gains")[0])[0][-1]
    first = root.find("span", "caveat")[0].text
    assert first.startswith(f"Caution: 1 run collapsed ({name})")
    recommended, with_caveats = rows(root.find("table", "partners")[0])[0][1:3]
    assert recommended == NO_PARTNER
    assert name in with_caveats
    assert gains_columns(findings)["collapsed_runs"][:2] == [1, 0]
    assert "! collapsed run" in shown(findings)
    without = page(simulated.study())
    assert not without.find("table", "collapsed")
    assert "!" not in without.find("table", "matrix")[0].text


def test_undertrained_runs_are_named_with_the_rise_at_their_end() -> None:
    note = RunNote("gad, seed 1", "gad", 0.8, 0.75)
    care = section(page(dataclasses.replace(simulated.study(), undertrained=(note,))), "care")
    assert rows(care.find("table", "undertrained")[0]) == [["gad, seed 1", "gad", "0.8000", "0.7500"]]


# --- structure --------------------------------------------------------------------------------------------------------


def test_the_matrix_comes_before_the_conclusions_and_the_methods() -> None:
    root = page(simulated.study())
    order = [node.attributes["id"] for node in root.find("section")]
    assert order[:4] == ["summary", "matrix", "conclusions", "setup"]
    shown_first = [node.attributes["href"][1:] for node in root.find("nav")[0].find("a")]
    assert shown_first == order


# --- numbers ----------------------------------------------------------------------------------------------------------


def expected_row(gain: Gain, family: Family) -> list[str]:
    cell = gain.cell
    numbers = [points(cell.mean), span(cell.interval), span(gain.documents)]
    return [
        gain.target,
        gain.partner,
        *numbers,
        p_value(cell.p),
        p_value(cell.adjusted_p),
        p_value(cell.q),
        str(cell.n),
        "–",  # the simulated gains do not say how their runs learned
    ]


def test_tables_of_gains_have_the_numbers_of_the_findings() -> None:
    findings = simulated.study(designs=("pairwise", "sequential"))
    tables = page(findings).find("table", "gains")
    assert len(tables) == len(findings.families) == 4
    for table, family in zip(tables, findings.families, strict=True):
        shown = rows(table)
        assert [row[:-1] for row in shown] == [expected_row(gain, family) for gain in family.gains]
    assert [row[-1] for row in rows(tables[0])][:2] == ["▲ helps", "· undecided"]
    assert {row[-1] for row in rows(tables[2])} == {"yes"}  # the interval of a replicate includes 0
    assert rows(tables[0])[0][2] == "+3.00"


def test_a_cell_of_the_heat_map_shows_its_mark_its_mean_and_its_details_by_seed() -> None:
    findings = simulated.study()
    root = page(findings)
    matrix = root.find("table", "matrix")[0]
    lines = [line for line in matrix.find("tbody")[0].children if isinstance(line, Node)]
    assert [len(line.find("button", "cell")) for line in lines] == [2, 2, 2]
    button = matrix.find("button", "is-helps")[0]
    gain = findings.families[0].gains[0]
    assert button.text == f"▲ +3.0 {span(gain.cell.interval, 1)}"
    label = button.attributes["aria-label"]
    assert label.startswith("gad with hoc: helps.")
    assert all(part in label for part in ("+3.00", " f1", f"95% interval {span(gain.cell.interval)}", "8 seeds"))
    details = root.find("template", id=button.attributes["data-details"])[0]
    values = [value.text for value in details.find("dd")]
    assert values[2:6] == [
        span(gain.cell.interval),
        span(gain.documents),
        p_value(gain.cell.p),
        p_value(gain.cell.adjusted_p),
    ]
    by_seed = rows(details.find("table")[0])
    assert [row[0] for row in by_seed] == [str(seed) for seed in findings.seeds]
    assert [row[3] for row in by_seed] == [points(value) for value in gain.differences]
    assert [row[1] for row in by_seed] == [f"{value:.4f}" for value in gain.reference]
    assert [row[2] for row in by_seed] == [f"{value:.4f}" for value in gain.treated]
    assert [cell.text for cell in matrix.find("button", "is-missing")] == ["missing"]
    assert [cell.text for cell in root.find("td", "extra")] == ["± 1.2"] * 3


def test_every_button_has_its_own_details() -> None:
    root = page(simulated.study(designs=("pairwise", "sequential")))
    named = [node.attributes["data-details"] for node in root.find("button", "cell")]
    assert len(named) == len(set(named)) == 12
    assert set(named) == {node.attributes["id"] for node in root.find("template")}
    identities = [node.attributes["id"] for node in root.walk() if "id" in node.attributes]
    assert len(identities) == len(set(identities))


def test_single_task_scores_are_shown_with_the_trivial_predictors() -> None:
    table = page(simulated.study()).find("table", "scores")[0]
    shown = {row[0]: row[1:] for row in rows(table)}
    assert shown["gad"][:8] == ["f1", "0.7035", "0.0024", "8", "majority", "0.5000", "yes", "100 documents"]
    assert shown["gad"][8:] == ["0.10", "2000", "240", "1 of 8", "7 of 8"]
    assert shown["hoc"][4:7] == ["tfidf", "0.7500", "no"]
    assert shown["biosses"][7] == "102 rows"


def test_relative_change_is_a_mean_over_seeds_in_percent() -> None:
    findings = simulated.study()
    family = dataclasses.replace(findings.families[0], relative_change={"gad + hoc": (0.01, 0.03, math.nan)})
    table = page(dataclasses.replace(findings, families=(family,))).find("table", "changes")[0]
    design, tasks, mean, interval, n = rows(table)[0]
    assert (design, tasks, mean, n) == ("pairwise", "gad + hoc", "+2.00", "2")
    half = 12.706 * 1.0  # t of 1 degree of freedom times the standard error, in percent
    assert [float(end.replace("−", "-")) for end in interval.split(" to ")] == pytest.approx(
        [2 - half, 2 + half], abs=0.01
    )


def test_a_grouping_is_shown_as_a_prediction_until_it_is_measured() -> None:
    tasks = ("gad", "hoc", "biosses")
    findings = simulated.study(tasks)
    predicted = section(
        page(dataclasses.replace(findings, grouping=simulated.grouping(tasks, is_measured=False))), "grouping"
    )
    assert "(predicted)" in predicted.find("h2")[0].text
    assert "not been verified" in predicted.text
    assert rows(predicted.find("table")[0]) == [["1", "gad", "+1.00"], ["1", "hoc", "+2.00"], ["2", "biosses", "+3.00"]]
    verified = dataclasses.replace(findings, grouping=simulated.grouping(tasks, is_measured=True))
    measured = section(page(verified), "grouping")
    assert "not been verified" not in measured.text
    assert rows(measured.find("table")[0])[0] == ["1", "gad", "+1.00", "+0.50", "−1.50 to +2.50"]
    assert [cell.text for cell in measured.find("tfoot")[0].find("td")] == ["+6.00", "+3.00", ""]
    assert verified.grouping is not None
    part = dataclasses.replace(verified.grouping, measured={"gad": 0.01})
    table = section(page(dataclasses.replace(findings, grouping=part)), "grouping").find("table")[0]
    assert [row[3] for row in rows(table)] == ["+1.00", "–", "–"]
    assert [cell.text for cell in table.find("tfoot")[0].find("td")] == ["+6.00", "incomplete", ""]


def test_the_commits_and_machines_of_the_runs_are_listed() -> None:
    found = (
        TrainedOn("0.1.0", "0123456789", True, "cpu", "4", 3),
        TrainedOn("0.1.0", "", False, "a GPU", "1", 1),
        TrainedOn("", "", False, "", "", 2),
    )
    setup = section(page(dataclasses.replace(simulated.study(), trained_on=found)), "setup")
    changed_code, no_commit, unknown = (item.text for item in setup.find("li")[-3:])
    assert changed_code.startswith("3 runs: ")
    assert all(part in changed_code for part in ("biomtl 0.1.0", "commit 0123456 with", "cpu", "4 threads"))
    assert no_commit.startswith("1 run: ")
    assert all(part in no_commit for part in ("biomtl 0.1.0", "a GPU", "1 thread."))
    assert "commit" not in no_commit
    assert unknown.startswith("2 runs: ")
    assert "biomtl" not in unknown


def test_costs_are_summed_over_designs_and_listed_by_run() -> None:
    root = page(simulated.study())
    costs = section(root, "costs")
    text = costs.find("p")[0].text
    assert all(part in text for part in ("24 runs", "40 min", "; 3 of them", "8% of the time"))
    assert rows(costs.find("table", "costs")[0]) == [
        ["pairwise", "24", "40 min", "32 min", "5 min", "184,320", "7,200,000"]
    ]
    assert len(rows(costs.find("table", "runs")[0])) == 24
    assert len(costs.find("p")) == 1
    repeated = page(dataclasses.replace(simulated.study(), repeat_seconds=600.0))
    assert "10 min" in section(repeated, "costs").find("p")[1].text


def test_missing_runs_and_deviations_are_listed_and_linked_from_the_summary() -> None:
    root = page(simulated.study())
    assert "biosses + gad, seed 2: the run failed." in section(root, "missing").text
    assert "12 training documents of gad" in section(root, "deviations").text
    links = {link.attributes["href"]: link.text for link in section(root, "summary").find("a")}
    assert set(links) == {"#missing", "#deviations"}
    assert all(text.endswith("(1)") for text in links.values())
    complete = page(dataclasses.replace(simulated.study(), missing=(), deviations=()))
    assert section(complete, "summary").find("a") == []
    assert section(complete, "missing").find("li") == []
    assert section(complete, "missing").find("p")[0].text.startswith("None")


# --- the file ---------------------------------------------------------------------------------------------------------


def urls(root: Node) -> list[str]:
    found = [
        value for node in root.walk() for key, value in node.attributes.items() if key in ("src", "href", "action")
    ]
    return [url for url in found if not url.startswith(("#", "data:image/"))]


def test_the_page_and_the_heat_map_load_nothing_from_the_network() -> None:
    findings = simulated.study()
    for html in (report_page(findings), heat_map_page(findings, "pairwise")):
        root = read(html)
        assert urls(root) == []
        assert root.find("link") == []
        rest = re.sub(r"data:image/[^\"]*", "", html)
        assert not re.search(r"https?:|//[a-z]|url\(|@import|fetch\(|XMLHttp", rest)


def test_links_of_the_page_lead_to_its_sections() -> None:
    root = page(simulated.study())
    targets = [link.attributes["href"][1:] for link in root.find("a")]
    assert len(targets) > 10
    assert set(targets) <= {node.attributes["id"] for node in root.find("section")}


def test_names_are_escaped_everywhere() -> None:
    evil = "<script>alert('x')</script>\"&"
    findings = simulated.study((evil, "hoc", "biosses"))
    findings = dataclasses.replace(
        findings,
        study=evil,
        question=evil,
        setup=(evil,),
        missing=(evil,),
        deviations=(evil,),
        versions={evil: evil},
        grouping=simulated.grouping((evil, "hoc", "biosses"), is_measured=True),
    )
    for html in (report_page(findings), heat_map_page(findings, "pairwise")):
        assert "<script>alert" not in html
        root = read(html)
        assert len(root.find("script")) == 1
        assert root.find("h1")[0].text.startswith(evil)
        assert root.find("button", "cell")[0].attributes["aria-label"].startswith(f"{evil} with hoc")


def test_tables_have_captions_and_headings_and_images_have_alternative_texts() -> None:
    root = read(report_page(simulated.study()))
    tables = root.find("table")
    assert len(tables) > 10
    for table in tables:
        assert table.find("caption")[0].text
        assert table.find("th")
        assert all(cell.attributes.get("scope") in ("col", "row") for cell in table.find("th"))
    images = root.find("img")
    assert len(images) == 6
    assert all(image.attributes["alt"] for image in images)
    assert root.find("html")[0].attributes["lang"] == "en"
    assert [node.tag for node in root.walk() if node.tag in ("h1", "h2")][:2] == ["h1", "h2"]


def test_figures_are_inline_and_the_same_findings_give_the_same_file() -> None:
    figure = Figure()
    figure.add_subplot().plot([0, 1])
    root = page(simulated.study(), {"forest_gad": figure, "heat_map_pairwise": Figure()})
    sources = [image.attributes["src"] for image in root.find("img")]
    assert len(sources) == 1
    kind, _, content = sources[0].partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert b"<svg" in base64.b64decode(content)
    same = Figure()
    same.add_subplot().plot([0, 1])
    assert report_page(simulated.study(), {"forest_gad": same}) == report_page(
        simulated.study(), {"forest_gad": figure}
    )


def test_a_study_without_gains_has_a_page() -> None:
    findings = dataclasses.replace(simulated.study(), families=(), curves=(), costs=())
    root = read(report_page(findings))
    assert "no design" in section(root, "summary").find("p", "headline")[0].text
    assert root.find("section", id="costs") == root.find("section", id="controls") == []


def test_the_heat_map_page_shows_one_design_and_an_unknown_design_is_an_error() -> None:
    findings = simulated.study(designs=("pairwise", "sequential"))
    root = read(heat_map_page(findings, "sequential"))
    assert root.find("h1")[0].text == "simulated: sequential"
    assert len(root.find("table", "matrix")) == 1
    gains = findings.families[1].gains
    assert [row[2] for row in rows(root.find("table", "gains")[0])] == [points(gain.cell.mean) for gain in gains]
    assert design_summary(findings, findings.families[1]).statement in root.text
    with pytest.raises(InputError) as caught:
        heat_map_page(findings, "x")
    assert [problem.key for problem in caught.value.problems] == ["design"]
    assert "'x'" in caught.value.problems[0].message


# --- columns and terminal ---------------------------------------------------------------------------------------------


def test_columns_have_a_value_for_every_gain_and_are_valid_json() -> None:
    findings = simulated.study(num_seeds=3)
    columns = gains_columns(findings)
    names = "design target partner metric n mean sd low high documents_low documents_high p adjusted_p q verdict"
    names += " single_mean baseline baseline_score smallest_gain beyond_training beyond_training_low"
    names += " beyond_training_high beyond_training_adjusted_p unit runs collapsed_runs undertrained_runs"
    assert " ".join(columns) == names
    gains = [gain for family in findings.families for gain in family.gains]
    assert {len(values) for values in columns.values()} == {len(gains)}
    known = [i for i, gain in enumerate(gains) if gain.cell.n]
    assert [columns["mean"][i] for i in known] == [gains[i].cell.mean for i in known]
    assert [columns["documents_high"][i] for i in known] == [gains[i].documents.high for i in known]  # type: ignore[union-attr]
    missing = gains.index(next(gain for gain in gains if not gain.cell.n))
    assert (columns["verdict"][missing], columns["mean"][missing], columns["n"][missing]) == ("missing", None, 0)
    assert columns["smallest_gain"][0] is None  # no gain can be significant with three seeds
    assert gains_columns(simulated.study())["smallest_gain"] == [0.012] * 6 + [None] * 6  # controls have none
    assert columns["single_mean"][0] == pytest.approx(0.701)
    json.dumps(columns, allow_nan=False)


def shown(findings: Findings) -> str:
    out = io.StringIO()
    for part in gains_text(findings):
        Console(file=out, width=110).print(part)
    return out.getvalue()


def test_the_terminal_shows_a_table_for_each_family_with_significant_gains_first() -> None:
    findings = simulated.study()
    text = shown(findings)
    assert summary(findings).headline in " ".join(text.split())
    lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if "│" in line]
    assert [line[-1] for line in lines[:3]] == ["▲ helps", "▼ hurts", "missing"]
    assert lines[0][:3] == ["gad", "hoc", "+3.00"]
    assert len(lines) == 12
    assert [line[-1] for line in lines[6:]] == ["control"] * 6


def test_the_terminal_cuts_a_large_table_and_says_how_many_gains_it_leaves_out() -> None:
    tasks = [f"t{i}" for i in range(8)]
    text = shown(simulated.study(tasks, with_controls=False))
    assert text.count("│\n") == 20
    assert "36 more gains" in text
    assert "▲ helps" in text
    assert "▼ hurts" in text


def test_a_name_that_looks_like_markup_is_shown_unchanged_in_the_terminal() -> None:
    assert "[bold]x" in shown(simulated.study(("[bold]x", "hoc", "biosses")))


def test_a_study_of_single_tasks_prints_their_scores() -> None:
    findings = dataclasses.replace(simulated.study(), families=(), curves=())
    lines = [
        [cell.strip() for cell in line.strip("│").split("│")] for line in shown(findings).splitlines() if "│" in line
    ]
    assert [line[0] for line in lines] == ["gad", "hoc", "biosses"]
    assert lines[0] == ["gad", "f1", "0.7035", "0.0024", "8", "majority 0.5000", "yes"]
