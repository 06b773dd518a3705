"""The page of invented studies: what it claims, what it doesn't, and every number beside that of the findings."""

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
from mtl.study.report.page import gains_columns, gains_text, heat_map_page, report_page
from mtl.study.report.presentation import p_value, points, span
from mtl.study.statistics.findings import Family, Findings, Gain, TrainedOn
from mtl.study.statistics.significance import Interval
from tests.study import simulated

VOID = {"meta", "img", "br", "link", "input", "hr", "wbr"}


class Node:
    """An element with its children; enough of a document to ask what it says."""

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
    """Builds the tree, and refuses tags that are opened and not closed."""

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


def rows(table: Node) -> list[list[str]]:
    return [
        [cell.text for cell in line.children if isinstance(cell, Node)]
        for body in table.find("tbody")
        for line in body.find("tr")
    ]


def changed(findings: Findings, design: str, number: int, **cell: object) -> Findings:
    """The findings with another cell in one gain of a design."""
    families = []
    for family in findings.families:
        gains = list(family.gains)
        if family.design == design:
            gains[number] = dataclasses.replace(gains[number], cell=gains[number].cell._replace(**cell))  # type: ignore[arg-type]
        families.append(dataclasses.replace(family, gains=tuple(gains)))
    return dataclasses.replace(findings, families=tuple(families))


# --- what it claims ---------------------------------------------------------------------------------------------------


def test_claims_are_those_of_the_verdicts_and_no_others() -> None:
    short = section(page(simulated.study()), "short")
    claims = [item.text for item in short.find("ul", "claims")[0].find("li")]
    assert len(claims) == 2
    assert claims[0].startswith("▲ gad gains 3.00 points of f1 with hoc (95% interval ")
    assert claims[1].startswith("▼ hoc loses 2.00 points of pearson with biosses (95% interval ")
    assert "Of 6 gains that were asked for, 1 may be claimed to help and 1 to hurt" in short.text
    assert "3 gains are undecided: neither an effect nor its absence is shown." in short.text
    assert "1 gain is missing" in short.text


def test_that_nothing_could_be_claimed_is_said_plainly() -> None:
    short = section(page(simulated.study(planted={}, missing=[])), "short")
    assert short.find("p", "headline")[0].text.startswith("No pair could be claimed to help or hurt")
    assert short.find("ul", "claims") == []


def test_three_seeds_claim_nothing_recommend_nothing_and_say_how_many_are_needed() -> None:
    root = page(simulated.study(num_seeds=3))
    short = section(root, "short").text
    assert "No pair could be claimed to help or hurt" in short
    assert "5 gains can't be resolved: with 3 seeds the smallest p is 0.250, above 0.05. At least 6 seeds" in short
    assert "undecided" not in short
    assert {row[1] for row in rows(root.find("table", "partners")[0])} == {"none that the evidence supports"}
    verdicts = [row[-1] for row in rows(root.find("table", "gains")[0])]
    assert verdicts.count("? unresolvable (n=3, floor 0.250)") == 5
    p_values = [row[5:7] for row in rows(root.find("table", "gains")[0])]
    assert p_values == [["–", "–"]] * 6  # unresolvable stands in place of p
    assert {row.text for row in root.find("td", "extra")} == {"none"}


def test_a_claim_inside_the_noise_floor_or_open_over_documents_is_cautioned() -> None:
    plain = section(page(simulated.study()), "short").find("span", "caution")
    assert [caution.text for caution in plain] == [
        "By itself the task is not better than the trivial tfidf (0.750)."  # of hoc, whose baseline is planted above
    ]
    noisy = changed(simulated.study(), "replicate", 0, interval=Interval(-0.01, 0.04))
    family = noisy.families[0]
    gain = dataclasses.replace(family.gains[0], documents=Interval(-0.01, 0.07))
    family = dataclasses.replace(family, gains=(gain, *family.gains[1:]))
    noisy = dataclasses.replace(noisy, families=(family, *noisy.families[1:]))
    cautions = [
        c.text for c in section(page(noisy), "short").find("ul", "claims")[0].find("li")[0].find("span", "caution")
    ]
    assert cautions == [
        "It lies inside the noise floor (−4.00 to +4.00): a second set of seeds may differ by as much.",
        "It holds for this test set; other test documents leave it open (−1.00 to +7.00).",
    ]


def test_a_gain_that_lacks_a_seed_is_described_and_told_to_stand_outside_the_claims() -> None:
    findings = changed(simulated.study(), "pairwise", 1, n=7, adjusted_p=math.nan)
    short = section(page(findings), "short").text
    assert "1 gain lacks a seed: it stands outside the matrix that claims are made from." in short
    assert "2 gains are undecided" in short


def test_recommended_partners_are_claimed_and_candidates_are_called_candidates() -> None:
    findings = changed(simulated.study(), "pairwise", 1, q=0.08)
    findings = changed(findings, "pairwise", 2, q=0.11)
    table = page(findings).find("table", "partners")[0]
    weak = "By itself the task is not better than the trivial tfidf (0.750)."
    assert rows(table) == [
        ["gad", "▲ hoc (pairwise, +3.00)", "–", "–", "biosses (pairwise, +0.10, q 0.080)"],
        ["hoc", "none that the evidence supports", "–", f"▼ biosses (pairwise, −2.00). {weak}", "–"],
        ["biosses", "none that the evidence supports", "–", "–", "–"],
    ]
    assert "Candidates are no claims" in table.find("caption")[0].text


def test_a_control_recommends_and_claims_nothing_however_clear_its_gain() -> None:
    findings = changed(
        simulated.study(planted={}, missing=[]), "shuffled_partner", 0, mean=0.09, q=0.01, verdict="helps"
    )
    root = page(findings)
    assert section(root, "short").find("p", "headline")[0].text.startswith("No pair could be claimed")
    assert {row[1] for row in rows(root.find("table", "partners")[0])} == {"none that the evidence supports"}
    assert not re.search("helps|hurts|undecided", section(root, "controls").text)
    assert set(gains_columns(findings)["verdict"][6:]) == {"control"}


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
    ]


def test_tables_of_gains_have_the_numbers_of_the_findings() -> None:
    findings = simulated.study(designs=("pairwise", "sequential"))
    tables = page(findings).find("table", "gains")
    assert len(tables) == len(findings.families) == 4
    for table, family in zip(tables, findings.families, strict=True):
        shown = rows(table)
        assert [row[:-1] for row in shown] == [expected_row(gain, family) for gain in family.gains]
    assert [row[-1] for row in rows(tables[0])][:2] == ["▲ helps", "· undecided"]
    assert {row[-1] for row in rows(tables[2])} == {"yes"}  # the interval of a replicate holds 0
    assert rows(tables[0])[0][2] == "+3.00"


def test_a_cell_of_the_map_has_its_mark_its_mean_and_its_details_by_seed() -> None:
    findings = simulated.study()
    root = page(findings)
    matrix = root.find("table", "matrix")[0]
    lines = [line for line in matrix.find("tbody")[0].children if isinstance(line, Node)]
    assert [len(line.find("button", "cell")) for line in lines] == [2, 2, 2]
    button = matrix.find("button", "is-helps")[0]
    gain = findings.families[0].gains[0]
    assert button.text == f"▲ +3.0 {span(gain.cell.interval, 1)}"
    assert button.attributes["aria-label"].startswith("gad with hoc: helps. Mean gain +3.00 points of f1, 95% interval")
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


def test_every_button_has_its_details_and_no_two_have_the_same_name() -> None:
    root = page(simulated.study(designs=("pairwise", "sequential")))
    named = [node.attributes["data-details"] for node in root.find("button", "cell")]
    assert len(named) == len(set(named)) == 12
    assert set(named) == {node.attributes["id"] for node in root.find("template")}
    identities = [node.attributes["id"] for node in root.walk() if "id" in node.attributes]
    assert len(identities) == len(set(identities))


def test_single_task_scores_stand_beside_trivial_predictors() -> None:
    table = page(simulated.study()).find("table", "scores")[0]
    shown = {row[0]: row[1:] for row in rows(table)}
    assert shown["gad"] == ["f1", "0.7035", "0.0024", "8", "majority", "0.5000", "yes", "100 documents", "2000", "240"]
    assert shown["hoc"][4:7] == ["tfidf", "0.7500", "no"]
    assert shown["biosses"][7] == "102 rows"


def test_relative_change_is_a_mean_over_seeds_in_percent() -> None:
    findings = simulated.study()
    family = dataclasses.replace(findings.families[0], relative_change={"gad + hoc": (0.01, 0.03, math.nan)})
    table = page(dataclasses.replace(findings, families=(family,))).find("table", "changes")[0]
    design, company, mean, interval, n = rows(table)[0]
    assert (design, company, mean, n) == ("pairwise", "gad + hoc", "+2.00", "2")
    half = 12.706 * 1.0  # t of 1 degree of freedom times the standard error, in percent
    assert [float(end.replace("−", "-")) for end in interval.split(" to ")] == pytest.approx(
        [2 - half, 2 + half], abs=0.01
    )


def test_a_grouping_is_a_prediction_until_it_is_measured() -> None:
    tasks = ("gad", "hoc", "biosses")
    findings = simulated.study(tasks)
    predicted = section(
        page(dataclasses.replace(findings, grouping=simulated.grouping(tasks, is_measured=False))), "grouping"
    )
    assert "a prediction" in predicted.find("h2")[0].text
    assert "No run has checked it" in predicted.text
    assert rows(predicted.find("table")[0]) == [["1", "gad", "+1.00"], ["1", "hoc", "+2.00"], ["2", "biosses", "+3.00"]]
    verified = dataclasses.replace(findings, grouping=simulated.grouping(tasks, is_measured=True))
    measured = section(page(verified), "grouping")
    assert "No run has checked it" not in measured.text
    assert rows(measured.find("table")[0])[0] == ["1", "gad", "+1.00", "+0.50", "−1.50 to +2.50"]
    assert [cell.text for cell in measured.find("tfoot")[0].find("td")] == ["+6.00", "+3.00", ""]
    assert verified.grouping is not None
    part = dataclasses.replace(verified.grouping, measured={"gad": 0.01})
    table = section(page(dataclasses.replace(findings, grouping=part)), "grouping").find("table")[0]
    assert [row[3] for row in rows(table)] == ["+1.00", "–", "–"]
    assert [cell.text for cell in table.find("tfoot")[0].find("td")] == ["+6.00", "incomplete", ""]


def test_the_commits_and_machines_of_the_runs_are_told() -> None:
    found = (
        TrainedOn("0.1.0", "0123456789", True, "cpu", "4", 3),
        TrainedOn("0.1.0", "", False, "a GPU", "1", 1),
        TrainedOn("", "", False, "", "", 2),
    )
    told = section(page(dataclasses.replace(simulated.study(), trained_on=found)), "setup").text
    assert "3 runs: trained by biomtl 0.1.0 at commit 0123456 with changes, on cpu with 4 thread(s)." in told
    assert "1 run: trained by biomtl 0.1.0, on a GPU with 1 thread(s)." in told
    assert "2 runs: trained before runs noted their commit and machine." in told


def test_costs_are_summed_over_designs_and_listed_by_run() -> None:
    root = page(simulated.study())
    costs = section(root, "costs")
    assert "24 runs took 40 min together; 3 of them were there before this study. 8% of the time" in costs.text
    assert rows(costs.find("table", "costs")[0]) == [
        ["pairwise", "24", "40 min", "32 min", "5 min", "184,320", "7,200,000"]
    ]
    assert len(rows(costs.find("table", "runs")[0])) == 24
    assert "once more" not in costs.text
    again = page(dataclasses.replace(simulated.study(), repeat_seconds=600.0))
    assert "were trained once more for encoders that had been dropped: 10 min." in section(again, "costs").text


def test_missing_runs_and_deviations_are_named_and_announced_in_short() -> None:
    root = page(simulated.study())
    assert "biosses + gad, seed 2: the run failed." in section(root, "missing").text
    assert "12 training documents of gad" in section(root, "deviations").text
    assert "Before believing, read what is missing (1) and the deviations (1)" in section(root, "short").text
    whole = dataclasses.replace(simulated.study(), missing=(), deviations=())
    assert "Before believing" not in section(page(whole), "short").text
    assert "Nothing: every run" in section(page(whole), "missing").text


# --- the file ---------------------------------------------------------------------------------------------------------


def urls(root: Node) -> list[str]:
    found = [
        value for node in root.walk() for key, value in node.attributes.items() if key in ("src", "href", "action")
    ]
    return [url for url in found if not url.startswith(("#", "data:image/"))]


def test_the_page_and_the_map_fetch_nothing() -> None:
    findings = simulated.study()
    for html in (report_page(findings), heat_map_page(findings, "pairwise")):
        root = read(html)
        assert urls(root) == []
        assert root.find("link") == []
        rest = re.sub(r"data:image/[^\"]*", "", html)
        assert not re.search(r"https?:|//[a-z]|url\(|@import|fetch\(|XMLHttp", rest)


def test_links_of_the_page_lead_to_sections_that_are_there() -> None:
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


def test_tables_have_captions_and_headings_and_pictures_have_alternatives() -> None:
    root = read(report_page(simulated.study()))
    tables = root.find("table")
    assert len(tables) > 10
    for table in tables:
        assert table.find("caption")[0].text
        assert table.find("th")
        assert all(cell.attributes.get("scope") in ("col", "row") for cell in table.find("th"))
    pictures = root.find("img")
    assert len(pictures) == 6
    assert all(picture.attributes["alt"] for picture in pictures)
    assert root.find("html")[0].attributes["lang"] == "en"
    assert [node.tag for node in root.walk() if node.tag in ("h1", "h2")][:2] == ["h1", "h2"]


def test_given_pictures_are_inline_and_the_same_findings_give_the_same_file() -> None:
    figure = Figure()
    figure.add_subplot().plot([0, 1])
    root = page(simulated.study(), {"forest_gad": figure, "heat_map_pairwise": Figure()})
    sources = [picture.attributes["src"] for picture in root.find("img")]
    assert len(sources) == 1
    kind, _, content = sources[0].partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert b"<svg" in base64.b64decode(content)
    again = Figure()
    again.add_subplot().plot([0, 1])
    assert report_page(simulated.study(), {"forest_gad": again}) == report_page(
        simulated.study(), {"forest_gad": figure}
    )


def test_a_study_without_any_gain_still_has_a_page() -> None:
    findings = dataclasses.replace(simulated.study(), families=(), curves=(), costs=())
    root = read(report_page(findings))
    assert "no design whose gains could be claimed" in section(root, "short").text
    assert root.find("section", id="costs") == root.find("section", id="controls") == []


def test_the_map_alone_is_that_of_the_design_and_an_unknown_one_is_refused() -> None:
    findings = simulated.study(designs=("pairwise", "sequential"))
    root = read(heat_map_page(findings, "sequential"))
    assert root.find("h1")[0].text == "simulated: sequential"
    assert len(root.find("table", "matrix")) == 1
    gains = findings.families[1].gains
    assert [row[2] for row in rows(root.find("table", "gains")[0])] == [points(gain.cell.mean) for gain in gains]
    assert "1 of 6 gains may be claimed to help, 1 to hurt." in root.text
    with pytest.raises(InputError, match="no design or control 'x'"):
        heat_map_page(findings, "x")


# --- columns and terminal ---------------------------------------------------------------------------------------------


def test_columns_have_a_line_for_every_gain_and_are_json() -> None:
    findings = simulated.study(num_seeds=3)
    columns = gains_columns(findings)
    names = "design target partner metric n mean sd low high documents_low documents_high p adjusted_p q verdict"
    assert " ".join(columns) == f"{names} single_mean baseline baseline_score smallest_gain"
    gains = [gain for family in findings.families for gain in family.gains]
    assert {len(values) for values in columns.values()} == {len(gains)}
    known = [i for i, gain in enumerate(gains) if gain.cell.n]
    assert [columns["mean"][i] for i in known] == [gains[i].cell.mean for i in known]
    assert [columns["documents_high"][i] for i in known] == [gains[i].documents.high for i in known]  # type: ignore[union-attr]
    missing = gains.index(next(gain for gain in gains if not gain.cell.n))
    assert (columns["verdict"][missing], columns["mean"][missing], columns["n"][missing]) == ("missing", None, 0)
    assert columns["smallest_gain"][0] is None  # none could be claimed with three seeds
    assert gains_columns(simulated.study())["smallest_gain"] == [0.012] * 6 + [None] * 6  # nor from a control
    assert columns["single_mean"][0] == pytest.approx(0.701)
    json.dumps(columns, allow_nan=False)


def shown(findings: Findings) -> str:
    out = io.StringIO()
    for part in gains_text(findings):
        Console(file=out, width=110).print(part)
    return out.getvalue()


def test_the_terminal_has_a_table_for_each_family_with_claims_first() -> None:
    text = shown(simulated.study())
    assert "1 may be claimed to help and 1 to hurt" in " ".join(text.split())
    lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if "│" in line]
    assert [line[-1] for line in lines[:3]] == ["▲ helps", "▼ hurts", "missing"]
    assert lines[0][:3] == ["gad", "hoc", "+3.00"]
    assert len(lines) == 12
    assert [line[-1] for line in lines[6:]] == ["control"] * 6


def test_the_terminal_keeps_a_large_matrix_short_and_says_what_it_leaves_out() -> None:
    tasks = [f"t{i}" for i in range(8)]
    text = shown(simulated.study(tasks, with_controls=False))
    assert text.count("│\n") == 20
    assert "36 more in the report" in text
    assert "▲ helps" in text
    assert "▼ hurts" in text


def test_a_name_that_looks_like_markup_is_shown_in_the_terminal_as_it_is() -> None:
    assert "[bold]x" in shown(simulated.study(("[bold]x", "hoc", "biosses")))
