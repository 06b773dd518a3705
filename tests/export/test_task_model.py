from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Callable, Mapping
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    pipeline,
)

from heads import Entity, SpanRow, TextRow
from heads.multilabel import Multilabel
from mtl.commands import run as run_mtl
from mtl.config.loading import load_mixture
from mtl.config.mixture import Mixture
from mtl.encoder.packing import Layout
from mtl.export.agreement import compare
from mtl.export.task_forms import TaskForm, calibrated
from mtl.export.task_model import export_tasks
from mtl.prediction.predicting import predict
from mtl.problems import InputError
from mtl.tracking.checkpoint_file import checksum
from mtl.training.checkpoints import TrainedRows
from tests.causal_models import causal_folder, causal_tokenizer
from tests.conftest import FAMILIES
from tests.tiny_sizes import SIZES
from tests.trained_runs import saved_run

Tiny = Callable[[str], Path]
Options = dict[str, Any]
DATA = {"reader": "jsonl", "path": "secret/rows"}
MAX_LENGTH = 48


def task(head: str, *labels: str, **options: Any) -> Options:
    named = {"labels": list(labels)} if labels else {}
    return {"head": head, "data": DATA, "options": options, **named}


def pooled(head: str, *labels: str, **options: Any) -> Options:
    return task(head, *labels, pooling="pooler", **options)


TASKS = {
    "kind": pooled("classification", "yes", "no", "maybe"),
    "topics": pooled("multilabel", "heart", "skin", threshold=0.492),
    "score": pooled("regression", range=[1, 5]),
    "link": pooled("relation", "up", "down", "none", negative="none", pairs=[["Drug", "Event"]], input="markers"),
    "asserted": pooled("mention_classification", "absent", "present", attribute="assertion", entity_types=["Event"]),
    "drugs": task("token_classification", "Drug", "Event", spans="lenient"),
}
TEXTS = ("kind", "topics", "score")
MARKED = {"link": "[E1] {} [/E1] reduces [E2] fever [/E2]", "asserted": "not {} [E1] fever [/E1]"}
WORDS = re.findall(r"\S+", "the patient was not with aspirin ibuprofen fever headache ( cox - 2 ) , . reduces 13 xyz")


def mixture(folder: Path, tasks: Mapping[str, Any], **changes: Any) -> Mixture:
    fields = {"name": "m", "encoder": {"name": str(folder), "max_length": MAX_LENGTH}, "tasks": dict(tasks)}
    return load_mixture(fields | changes)


def texts(number: int = 50, longest: int = 18) -> list[str]:
    """Texts of words; those of up to 18 words are within the maximum length, also as pairs."""
    rng = random.Random(5)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, longest))) for _ in range(number)]


def our_logits(module: Any, name: str, examples: list[Any]) -> list[torch.Tensor]:
    """The logits of a head for each example; those of a regression in the units of its labels."""
    head, found = module.head(name), []
    for example in examples:
        ids = torch.tensor(example["input_ids"])
        types = torch.tensor(example["token_type_ids"]) if "token_type_ids" in example else None
        mask = torch.ones(1, len(ids), dtype=torch.bool)
        fields = head.collate([example], len(ids)) if name == "drugs" else {}
        with torch.no_grad():
            logits = head(module.encoder(ids, Layout([len(ids)]), types), mask, fields)
        found.append(head.outputs(logits, mask, fields)[0] if name == "score" else logits[0])
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_class_of_transformers_has_the_logits_of_the_run(tmp_path: Path, tiny_encoder: Tiny, family: str) -> None:
    is_common = family in ("bert", "roberta", "distilbert", "electra")
    tasks = TASKS if is_common else {name: TASKS[name] for name in ("kind", "drugs")}
    run, module = saved_run(tmp_path / "runs", mixture(tiny_encoder(family), tasks))
    found = export_tasks(run.path, tmp_path / "out")
    holds_tokens = family != "modernbert"  # whose class has a layer before the tags
    assert [one.task for one in found.written] == [name for name in tasks if name != "drugs" or holds_tokens]
    assert [problem.key for problem in found.left_out] == ([] if holds_tokens else ["tasks.drugs"])
    for name in tasks.keys() - {"drugs"}:
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            tmp_path / "out" / name, output_loading_info=True
        )
        assert not loading["missing_keys"] | loading["unexpected_keys"]
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out" / name)
        read = [MARKED.get(name, "{}").format(text) for text in texts(50)]
        others = texts(50, longest=80) if name in ("topics", "score") else None  # pairs, some of which are cut
        rows = [TextRow("1", "1", *pair) for pair in (zip(read, others, strict=True) if others else zip(read))]
        ours = our_logits(module, name, module.head("kind").encode(rows, tokenizer, MAX_LENGTH, training=False))
        with torch.no_grad():
            theirs = model.eval()(**tokenizer(read, others, truncation=True, padding=True, return_tensors="pt")).logits
        torch.testing.assert_close(theirs, torch.stack(ours), atol=1e-5, rtol=1e-5)
        assert theirs.std() > 0.002
    if holds_tokens:
        tagger = AutoModelForTokenClassification.from_pretrained(tmp_path / "out" / "drugs").eval()
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out" / "drugs")
        for text in texts(50):
            examples = module.head("drugs").encode([SpanRow("1", "1", text)], tokenizer, 130, training=False)
            with torch.no_grad():
                logits = tagger(**tokenizer(text, return_tensors="pt")).logits[0]
            (expected,) = our_logits(module, "drugs", examples)
            torch.testing.assert_close(logits[examples[0]["positions"]], expected, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module", params=[1.0, 0.4], ids=["as trained", "calibrated"])
def exported(
    tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Tiny, request: pytest.FixtureRequest
) -> tuple[Path, Path]:
    """The folder of a run and that of its tasks, with thresholds between the probabilities."""
    folder = tmp_path_factory.mktemp("exported")
    tasks = TASKS | {
        "acute": pooled("classification", "yes", "no", "maybe", positive="no", threshold=0.331),
        "tuned": pooled("multilabel", "heart", "skin", threshold="tuned"),
    }
    run, _ = saved_run(folder / "runs", mixture(tiny_encoder("bert"), tasks))
    if request.param != 1:
        calibration = {name: {"temperature": request.param} for name in tasks.keys() - {"score"}}
        path = run.resolve_checkpoint("best")
        run.write_json("calibration.json", {"checksum": checksum(path), "tasks": calibration})
    export_tasks(run.path, folder / "out")
    return run.path, folder / "out"


def test_thresholds_that_cannot_be_told_from_1_leave_an_output_as_trained() -> None:
    head = Multilabel(["heart", "skin"], 8, threshold=0.95)
    weights = {"out.weight": torch.ones(2, 8), "out.bias": torch.ones(2)}
    form = TaskForm(
        "Auto", ("heart", "skin"), None, weights, lambda states, mask: states, head.calibrated_thresholds(1)
    )
    assert calibrated(form, head, 0.05) is None
    found = calibrated(form, head, 0.5)
    assert found is not None
    assert found.weights["out.bias"].tolist() == [2.0, 2.0]
    assert found.thresholds["heart"] == pytest.approx(0.95**2 / (0.95**2 + 0.05**2))


def printed(folder: Path, text: str) -> str:
    """What the code of a README prints for a text in place of its own."""
    readme = (folder / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    output = io.StringIO()
    with chdir(folder), redirect_stdout(output):
        exec(code.replace('"Aspirin reduced the fever."', repr(text)), {})  # our own code
    return output.getvalue().strip()


def test_the_code_of_a_readme_gives_what_mtl_predict_gives(exported: tuple[Path, Path]) -> None:
    run, folder = exported
    predicted = predict(run, texts(6)) or []
    for text, record in zip(texts(6), (record["predictions"] for record in predicted), strict=True):
        assert printed(folder / "acute", text) == record["acute"]["label"]
        for name in ("topics", "tuned"):
            assert sorted(json.loads(printed(folder / name, text).replace("'", '"'))) == sorted(record[name]["labels"])
        (kind,) = json.loads(printed(folder / "kind", text).replace("'", '"'))
        assert kind == {"label": record["kind"]["label"], "score": pytest.approx(record["kind"]["score"], abs=1e-5)}
        (score,) = json.loads(printed(folder / "score", text).replace("'", '"'))
        assert score["score"] == pytest.approx(record["score"]["value"], abs=1e-4)
        lines = [line.split()[:3] for line in printed(folder / "drugs", text).splitlines()]
        assert lines == [[e["type"], str(e["start"]), str(e["end"])] for e in record["drugs"]["entities"]]
    assert {len(record["predictions"]["topics"]["labels"]) for record in predicted} == {0, 1}
    is_calibrated = (run / "calibration.json").exists()
    for name in ("kind", "tuned", "drugs", "acute", "score"):
        readme = (folder / name / "README.md").read_text(encoding="utf-8")
        # No threshold of three classes gives the decisions at another temperature.
        assert ("temperature 0.400" in readme) == (is_calibrated and name not in ("acute", "score"))
        assert ("becomes the geometric mean" in readme) == (name == "drugs" and not is_calibrated)
    labels = [record["predictions"]["acute"] for record in predicted]
    assert {one["label"] == max(one["scores"], key=one["scores"].get) for one in labels} == {True, False}


def test_the_code_of_a_readme_reads_pairs(tmp_path: Path, tiny_encoder: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = saved_run(tmp_path / "runs", mixture(tiny_encoder("bert"), {"kind": TASKS["kind"]}))
    monkeypatch.setattr("mtl.prediction.trained_model.trained_rows", lambda content: TrainedRows({}, {"kind": 2}))
    export_tasks(run.path, tmp_path / "out", ["kind"])
    found = json.loads(printed(tmp_path / "out", "no fever").replace("'", '"'))
    (record,) = predict(run.path, [{"text": "no fever", "text_pair": "The fever fell."}]) or []
    assert found["label"] == record["predictions"]["kind"]["label"]
    assert found["score"] == pytest.approx(record["predictions"]["kind"]["score"], abs=1e-5)


@pytest.mark.parametrize("name", [*TEXTS, "acute", "tuned", "drugs"])
def test_pipeline_and_predict_agree_within_the_maximum_length(exported: tuple[Path, Path], name: str) -> None:
    run, folder = exported
    read = [{"id": str(n), "text": text} for n, text in enumerate([*texts(20), *texts(4, longest=120)])]
    found = compare(run, name, folder / name, read)
    assert found is not None
    assert found.within.num_texts >= 20
    assert found.longer.num_texts >= 1
    assert found.within.equal == found.within.either > 0
    if name != "drugs":
        assert found.longer.equal == found.longer.either  # both cut the text at the same place
    else:
        assert 0.5 < found.longer.equal / found.longer.either <= 1


def test_the_command_writes_what_is_asked_for_and_compares_it(
    exported: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = exported
    file = tmp_path / "texts.txt"
    file.write_text("\n".join([*texts(5), " ".join(["fever"] * 60)]), encoding="utf-8")
    words = ["export", str(run), "--task", "kind", "link", "--to", str(tmp_path / "out"), "--compare", str(file)]
    assert run_mtl(words) == 0
    output = capsys.readouterr().out
    assert "5 of 5 equal (100.0%) in 5 texts" in output
    assert "1 of 1 equal (100.0%) in 1 texts" in output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"kind", "link"}
    for options in (
        ["--all", "--encoder"],
        ["--all", "--repo", "owner/name"],
        ["--encoder", "--compare", "test"],
        ["--task", "kind", "--compare", "absent.txt"],
        ["--task", "absent", "--compare", str(file)],
        [],
    ):
        assert run_mtl(["export", str(run), "--to", str(tmp_path / "more"), *options]) == 2
    assert not (tmp_path / "more").exists()


def test_marked_mentions_are_not_compared(exported: tuple[Path, Path]) -> None:
    run, folder = exported
    assert compare(run, "link", folder / "link", [{"text": "fever"}]) is None


@pytest.mark.parametrize("reads", ["markers", "typed"])
def test_a_relation_reads_text_that_is_marked_as_the_readme_says(
    tmp_path: Path, tiny_encoder: Tiny, reads: str
) -> None:
    options = {"negative": "none", "pairs": [["Chemical", "Gene"]], "input": reads}
    run, module = saved_run(
        tmp_path / "runs", mixture(tiny_encoder("bert"), {"link": pooled("relation", "up", "none", **options)})
    )
    export_tasks(run.path, tmp_path / "out", ["link"])
    readme = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    (marked,) = re.findall(r'^text = "(.*)"$', readme, re.MULTILINE)
    entities = (Entity("T1", "Gene", ((0, 5),)), Entity("T2", "Chemical", ((22, 29),)))
    row = SpanRow("1", "1", "COX-2 is inhibited by aspirin.", entities=entities)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    (example,) = module.head("link").encode([row], tokenizer, MAX_LENGTH, training=False)
    assert tokenizer(marked)["input_ids"] == example["input_ids"]
    assert set(module.head("link").special_tokens()) <= set(tokenizer.tokenize(marked)) | {"@CHEMICAL-GENE$"}


def test_tags_of_bioul_are_grouped_by_pipeline(tmp_path: Path, tiny_encoder: Tiny) -> None:
    tags = {"tags": task("token_classification", "Drug", "Event", scheme="BIOUL")}
    run, module = saved_run(tmp_path / "runs", mixture(tiny_encoder("bert"), tags))
    export_tasks(run.path, tmp_path / "out", ["tags"])
    find: Any = pipeline("token-classification", model=str(tmp_path / "out"), aggregation_strategy="first")
    names = ["U-Drug", "B-Drug", "I-Drug", "L-Drug", "O", "U-Event"]
    labels = [find.model.config.id2label[module.head("tags").tags.index(name)] for name in names]
    tagged = [{"entity": own, "score": 1.0, "word": "x", "start": n, "end": n + 1} for n, own in enumerate(labels)]
    groups = [(one["entity_group"], one["start"], one["end"]) for one in find.group_entities(tagged)]
    assert groups == [("Drug", 0, 1), ("Drug", 1, 4), ("O", 4, 5), ("Event", 5, 6)]
    assert find.model.config.label2id["B-Drug"] == module.head("tags").tags.index("B-Drug")


def test_a_tokenizer_without_a_prefix_of_words_gets_the_strategy_for_tokens(tmp_path: Path) -> None:
    tokenizer = causal_tokenizer(["fever", "aspirin"])
    config = AutoConfig.for_model("roberta", **SIZES, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(tmp_path / "bytes")
    tokenizer.save_pretrained(tmp_path / "bytes")
    run, _ = saved_run(tmp_path / "runs", mixture(tmp_path / "bytes", {"drugs": TASKS["drugs"]}))
    export_tasks(run.path, tmp_path / "out", ["drugs"])
    settings = AutoConfig.from_pretrained(tmp_path / "out").biomtl
    assert settings["aggregation_strategy"] == "simple"
    found = compare(run.path, "drugs", tmp_path / "out", [{"text": "fever,aspirin,fever"}])  # a token for each word
    assert found is not None
    assert found.within.equal == found.within.either > 0


REFUSED: dict[str, tuple[Options, set[str]]] = {
    "crf": (task("token_classification", "Drug", decoder="crf", hidden_layer=8), {"decoder", "hidden_layer"}),
    "cls": (task("classification", "a", "b", hidden_layer=8, long="windows"), {"pooling", "hidden_layer", "long"}),
    "mean": (task("multilabel", "a", pooling="mean"), {"pooling"}),
    "apart": (task("regression", range=[0, 1], pair="apart", pooling="mean"), {"pair", "pooling"}),
    "mentions": (
        task("relation", "up", "none", negative="none", entity_types=["Drug"], pooling="entity_start"),
        {"pooling"},
    ),
    "attribute": (task("mention_classification", "a", "b", attribute="x", pooling="mention_max"), {"pooling"}),
}


def test_what_no_class_can_hold_is_refused_with_all_reasons(tmp_path: Path, tiny_encoder: Tiny) -> None:
    tasks = {name: fields for name, (fields, _) in REFUSED.items()}
    tasks["mlm"] = {"head": "masked_lm", "data": {"reader": "text", "path": "corpus"}}
    run, _ = saved_run(tmp_path / "runs", mixture(tiny_encoder("bert"), tasks))
    expected = {f"tasks.{name}.options.{option}" for name, (_, options) in REFUSED.items() for option in options}
    for asked in ([], list(tasks)):
        with pytest.raises(InputError) as caught:
            export_tasks(run.path, tmp_path / "out", asked)
        problems = {problem.key: problem for problem in caught.value.problems}
        assert problems.keys() == expected | {"tasks.mlm.head"}
        assert all(problem.suggestion for problem in problems.values())
        assert "--encoder" in problems["tasks.mlm.head"].suggestion
    assert not (tmp_path / "out").exists()


def test_tasks_of_a_causal_model_are_refused(tmp_path: Path) -> None:
    encoder = {"name": str(causal_folder(tmp_path / "model", "gpt2")), "kind": "causal", "max_length": MAX_LENGTH}
    tasks = {
        "kind": task("classification", "a", "b"),
        "answer": task("generation", "yes", "no", kind="answer"),
    }
    run, _ = saved_run(tmp_path / "runs", mixture(tmp_path, tasks, encoder=encoder))
    with pytest.raises(InputError) as caught:
        export_tasks(run.path, tmp_path / "out", ["kind", "answer"])
    assert [problem.key for problem in caught.value.problems] == ["encoder.kind", "tasks.answer.head"]


def test_a_class_that_computes_something_else_is_refused(
    tmp_path: Path, tiny_encoder: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = saved_run(tmp_path / "runs", mixture(tiny_encoder("electra"), {"kind": TASKS["kind"]}))
    monkeypatch.setattr("transformers.models.electra.modeling_electra.get_activation", lambda name: torch.nn.Tanh())
    with pytest.raises(InputError) as caught:
        export_tasks(run.path, tmp_path / "out", ["kind"])
    assert [problem.key for problem in caught.value.problems] == ["tasks.kind"]
    assert not (tmp_path / "out").exists()


def test_invalid_runs_tasks_and_folders_are_refused(tmp_path: Path, tiny_encoder: Tiny) -> None:
    run, _ = saved_run(tmp_path / "runs", mixture(tiny_encoder("bert"), {"kind": TASKS["kind"]}))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for folder, tasks, key in (("full", ["kind"], "--to"), ("out", ["knd", "other"], "--task")):
        with pytest.raises(InputError) as caught:
            export_tasks(run.path, tmp_path / folder, tasks)
        assert {problem.key for problem in caught.value.problems} == {key}
        assert len(caught.value.problems) == len(tasks)
    for path in run.checkpoints.iterdir():
        path.unlink()
    with pytest.raises(InputError):
        export_tasks(run.path, tmp_path / "out", ["kind"])
    assert not (tmp_path / "out").exists()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["file"]
