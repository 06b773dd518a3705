"""What docs/mixtures says is so: its mixtures pass `mtl check`, and its tables are those of the code."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pydantic import BaseModel

from heads import Head
from heads._text import TextHead
from mtl.config import mixture as specs
from mtl.config.components import choices, find
from mtl.config.loading import load_mixture
from mtl.planning.mixture_check import check
from mtl.readers import Reader
from mtl.samplers import RandomSampler, TaskSize
from mtl.samplers.temperature import Temperature
from mtl.tuning.tuning_file import TuningSpec

FOLDER = Path(__file__).parents[2] / "docs" / "mixtures"
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.md"))}
EXAMPLES = PAGES["README"]
HEADINGS: dict[type[BaseModel], str] = {
    specs.Mixture: "The mixture",
    specs.EncoderSpec: "`encoder`",
    specs.InitSpec: "`init`",
    specs.TaskSpec: "`tasks.NAME`",
    specs.DataSpec: "`tasks.NAME.data`",
    specs.LabelSourceSpec: "`tasks.NAME.data.sources.SOURCE`",
    specs.SplitSpec: "`tasks.NAME.data.split`",
    specs.LimitSpec: "`tasks.NAME.data.limit`",
    specs.PermuteSpec: "`tasks.NAME.data.permute`",
    specs.SamplerSpec: "`sampler`",
    specs.BalancingSpec: "`balancing`",
    specs.PhaseSpec: "`curriculum`",
    specs.EvaluationSpec: "`evaluation`",
    specs.LeakageSpec: "`leakage`",
    specs.PrivacySpec: "`privacy`",
    TuningSpec: "Searching settings",
}
COMPONENTS = [(kind, name) for kind in ("head", "reader", "sampler", "balancing") for name in choices(kind)]
MIXTURES = ["entities", "abstracts", "texts", "notes", "several"]


def blocks() -> dict[str, str]:
    """The YAML blocks, by the file name in their first line."""
    found = re.findall(r"^```yaml\n(# (\S+)\n.*?)^```$", EXAMPLES, re.MULTILINE | re.DOTALL)
    return {name: text for text, name in found}


def section(title: str) -> str:
    """What stands under a heading, which only one page has, up to the next heading of any level."""
    heading = re.compile(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", re.MULTILINE | re.DOTALL)
    found: list[str] = [text for page in PAGES.values() for text in heading.findall(page)]
    assert len(found) == 1, f"there are {len(found)} sections '{title}'"
    return found[0]


def options(title: str) -> dict[str, str]:
    """The options in the tables of a section, each with its default as written."""
    return dict(re.findall(r"^\| `(\w+)` \| (required|`[^`]*`) \|", section(title), re.MULTILINE))


def default(written: str) -> Any:
    """A default in Python's types."""
    return inspect.Parameter.empty if written == "required" else plain(yaml.safe_load(written.strip("`")))


def plain(value: Any) -> Any:
    """A default as YAML can write it, what a model holds by default as nothing."""
    if isinstance(value, BaseModel):
        return {}
    return list(value) if isinstance(value, tuple) else value


def signature(cls: type[Any]) -> dict[str, Any]:
    """The options of a component with their defaults."""
    parameters = inspect.signature(cls).parameters
    options = {name: plain(p.default) for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    options.pop("primary_metric", None)  # which is a key of the task
    return options


def write_data(folder: Path) -> None:
    """A few rows in every file that the mixtures of the examples read."""
    for split in ("train", "dev", "test"):
        tagged = "Aspirin\tB-Drug\ncaused\tO\nlow\tB-Sign\nfever\tI-Sign\nat\tO\nhome\tB-Place\n"
        write(folder / "findings" / f"{split}.tsv", f"-DOCSTART-\tO\n\n{tagged}\n{tagged}\n")
        mentions = "{0}\t0\t7\tAspirin\tChemical\tD1\n{0}\t16\t20\trash\tDisease\tD2\n{0}\t21\t26\tGenes\tGene\tG1\n"
        document = "{0}|t|Aspirin induces.\n{0}|a|rash Genes\n".replace("induces.", "induced") + mentions
        document += "{0}\tCID\tD1\tD2\n\n"
        write(folder / "abstracts" / f"{split}.txt", "".join(document.format(f"{split}{n}") for n in range(2)))
        notes = [{"note": "Heart failure.", "topics": ["heart"]}, {"note": "A rash.", "topics": ["skin", "kidney"]}]
        write(folder / "topics" / f"{split}.jsonl", "".join(json.dumps(note) + "\n" for note in notes))
        write(folder / "pairs" / f"{split}.csv", "sentence1,sentence2,score\nA rash.,A skin rash.,3.5\nOne.,Two.,0\n")
        write(folder / "agreement" / f"{split}.csv", "claim,evidence,label\nA helps.,It did.,agrees\nB.,C.,differs\n")
        if split != "test":
            name = {"train": "train", "dev": "validation"}[split]
            (folder / "answers").mkdir(exist_ok=True)
            rows = pa.table({"question": ["Does it help?", "Is it safe?", "Why?"], "label": ["yes", "no", "maybe"]})
            pq.write_table(rows, folder / "answers" / f"{name}-00000-of-00001.parquet")
    visits = "".join(f"p{n // 4}\tvisit {n}\t{n % 2}\n" for n in range(20))
    write(folder / "visits.tsv", f"patient\ttext\tlabel\n{visits}")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_every_block_of_yaml_names_its_file_and_is_seen() -> None:
    assert {name: page.count("```yaml") for name, page in PAGES.items() if "```yaml" in page} == {"README": 6}
    assert sorted(blocks()) == sorted([*(f"{name}.yaml" for name in MIXTURES), "agreement.yaml"])
    assert [name for name, text in blocks().items() if not re.search("^name:", text, re.MULTILINE)] == [
        "agreement.yaml"
    ]


@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_of_the_examples_would_run_on_data_as_it_describes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    write_data(tmp_path)
    for file, text in blocks().items():
        write(tmp_path / file, text)
    problems, plan = check(tmp_path / f"{name}.yaml")
    assert [str(problem) for problem in problems] == []
    assert (
        set(plan["tasks"])
        == {
            "entities": {"findings"},
            "abstracts": {"chemical", "disease", "induces"},
            "texts": {"topics", "similarity"},
            "notes": {"answer", "admitted"},
            "several": {"agreement", "similarity"},
        }[name]
    )
    used = {task: found["splits"]["train"]["used"] for task, found in plan["tasks"].items()}
    assert used == {task: 12 if task == "admitted" else 3 if task == "answer" else 2 for task in used}


def test_the_overrides_of_the_page_change_the_mixture_that_they_are_given(tmp_path: Path) -> None:
    text = section("Include, only, override, interpolate")
    overrides = [found for found in re.findall(r"([\w.]+=[\w\[\]]+)`", text) if found != "key=value"]
    assert len(overrides) == 3
    write(tmp_path / "texts.yaml", blocks()["texts.yaml"])
    mixture = load_mixture(tmp_path / "texts.yaml", overrides)
    assert list(mixture.tasks) == ["similarity"]
    assert mixture.tasks["similarity"].rate == 3
    assert mixture.sampler.options == {"temperature": 5, "max_examples": 20000}


def test_every_key_of_a_mixture_is_on_the_page_with_its_default() -> None:
    there = {
        value
        for name, value in vars(specs).items()
        if inspect.isclass(value) and issubclass(value, BaseModel) and name[0] != "_"
        if value not in (BaseModel, specs.Section)  # the base of all sections
    }
    assert set(HEADINGS) == there | {TuningSpec}
    for spec, heading in HEADINGS.items():
        fields = {
            name: inspect.Parameter.empty
            if field.is_required()
            else plain(field.get_default(call_default_factory=True))
            for name, field in spec.model_fields.items()
        }
        assert {name: default(written) for name, written in options(heading).items()} == fields, heading


@pytest.mark.parametrize(("kind", "name"), COMPONENTS, ids=[name for _, name in COMPONENTS])
def test_every_component_is_on_the_page_with_its_options_and_their_defaults(kind: Any, name: str) -> None:
    cls = find(kind, name, kind)
    common = options({"head": "Heads", "reader": "Readers", "sampler": "Samplers", "balancing": "Balancing"}[kind])
    if issubclass(cls, TextHead):
        common |= options("How texts are read")
    written = {option: default(text) for option, text in (common | options(f"`{name}`")).items()}
    own = signature(cls)
    # What is common to most is not repeated, and the few that lack it are named in the text.
    assert {option: written[option] for option in own} == own
    assert set(written) - set(own) <= set(common)
    lacking = set(common) - set(own)
    if lacking:
        assert (name, lacking) in (
            ("regression", {"metrics"}),
            ("masked_lm", {"dropout", "hidden_layer", "metrics"}),
            ("generation", {"dropout", "hidden_layer", "metrics"}),
            ("hub", {"files", "encoding"}),
            ("pubmedqa", {"files", "encoding"}),
            ("ebm_nlp", {"files", "encoding"}),
            ("bioasq", {"encoding"}),
            ("ddi2013", {"encoding"}),
            ("tac2017", {"encoding"}),
            ("hoc", {"encoding"}),
            ("proportional", {"steps_per_epoch"}),
            ("anchored", {"steps_per_epoch"}),
            ("quota", {"steps_per_epoch"}),
        )


@pytest.mark.parametrize("name", choices("head"))
def test_the_metrics_of_a_head_are_on_the_page_and_its_primary_one_is_marked(name: str) -> None:
    needed: dict[str, Any] = {"labels": ["a", "b"]}
    required: dict[str, dict[str, Any]] = {
        "relation": {"negative": "b", "entity_types": ["d"]},
        "classification": {"positive": "a"},
        "mention_classification": {"attribute": "a"},
        "regression": {"labels": [], "range": (0, 1)},
        "masked_lm": {"labels": []},
        "generation": {"kind": "answer"},
    }
    needed |= required.get(name, {})
    head: Head = find("head", name, "head")(hidden_size=8, **needed)
    text = " ".join(section(f"`{name}`").split()).partition("etrics")[2]
    assert re.findall(r"`(\w+)` \(primary", text) == [head.primary_metric]
    assert [metric for metric in head.metrics if f"`{metric}`" not in text] == []


def test_the_options_that_can_change_during_a_training_are_on_the_page() -> None:
    listed = re.findall(r"^  - `(\w+)`: (.*)$", section("`curriculum`"), re.MULTILINE)
    heads = {name: find("head", name, "head").changeable for name in choices("head")}
    assert {name: tuple(re.findall(r"`(\w+)`", line)) for name, line in listed} == {
        name: changeable for name, changeable in heads.items() if changeable
    }


def test_every_reader_is_told_with_the_suffixes_it_looks_for() -> None:
    for name in choices("reader"):
        reader: type[Reader] = find("reader", name, "reader")
        assert [suffix for suffix in reader.suffixes if suffix and f"`{suffix}`" not in section(f"`{name}`")] == []


def test_the_page_says_which_samplers_use_rates_and_what_their_epochs_are() -> None:
    text = " ".join(section("Samplers").split())
    listed = re.search(r"Only (.*?) use rates", text)
    assert listed is not None
    using = {name for name in choices("sampler") if find("sampler", name, "").uses_rates}
    assert set(re.findall(r"`(\w+)`", listed[1])) == using
    assert re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", section("Samplers"), re.MULTILINE)[1:] == [
        "proportional",
        "temperature",
        "uniform",
        "weighted",
        "annealed",
        "round_robin",
        "anchored",
        "quota",
    ]
    sizes = {"a": TaskSize(64, 2), "b": TaskSize(96, 3)}
    for name in choices("sampler"):
        arguments: dict[str, Any] = {"anchored": {"main": "a"}, "quota": {"batches": {"a": 1, "b": 4}}}.get(name, {})
        sampler = find("sampler", name, "")(sizes, 0, 1, **arguments)
        assert sampler.steps_per_epoch(0) == 5
        assert ("steps_per_epoch" in signature(type(sampler))) == (name not in ("proportional", "anchored", "quota"))
        assert isinstance(sampler, RandomSampler) or name in ("proportional", "anchored", "quota", "round_robin")


def test_a_written_rate_stands_beside_the_computed_ones_as_the_page_says() -> None:
    def share(rate: float | None) -> float:
        sizes = {"large": TaskSize(10_000, 100), "small": TaskSize(400, 4, rate)}
        return Temperature(sizes, 0, 1, temperature=2.0).rates()["small"]

    assert share(None) == pytest.approx(20 / 120)
    assert share(100) == pytest.approx(1 / 2)
    assert share(1) == pytest.approx(1 / 101)


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_to_a_file_and_a_heading_in_it(name: str) -> None:
    links = [link.partition("#") for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[name]) if "://" not in link]
    assert links
    assert [file for file, _, _ in links if not (FOLDER / file).exists()] == []
    for file, _, anchor in links:
        path = FOLDER / (file or f"{name}.md")
        assert not anchor or anchor in headings(path.read_text(encoding="utf-8")), (file, anchor)


def headings(page: str) -> set[str]:
    """The anchors of a page."""
    found = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in found}


def test_the_first_page_lists_the_others() -> None:
    assert set(re.findall(r"\]\((\w+)\.md\)", EXAMPLES.partition("## ")[0])) == set(PAGES) - {"README"}
