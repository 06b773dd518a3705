"""The README of an exported task: how to use it, what it was trained on, its scores and its limits.

It has no path, no id and no text of a row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from mtl.export.evaluation_results import hub_data
from mtl.export.model_card import hub_name, run_rows
from mtl.export.task_forms import TOKENS, TaskExport
from mtl.files import read_json
from mtl.markdown import MISSING, code, table
from mtl.prediction.trained_model import TrainedModel
from mtl.tracking.run_folder import RunFolder


def task_card(run: TrainedModel, export: TaskExport, model_class: str) -> str:
    """The README of a task, with metadata as the Hugging Face hub reads them.

    Args:
        run: The run.
        export: The task.
        model_class: Class of transformers that saved the model.
    """
    sections = {
        "Use": _usage(run, export),
        "Labels": _labels(export),
        "Scores": _scores(run, export.task),
        "Training": [
            *table(["", ""], run_rows(run).items()),
            *_mixture(run),
        ],
        "Data": _data(run),
        "Limits": [f"- {limit}" for limit in _limits(run, export)],
    }
    lines = [
        f"# {run.trained_mixture.name}: {export.task}",
        "",
        f"The task `{export.task}` ({export.head}) of a training with biomtl, as a {model_class} of transformers.",
    ]
    for title, content in sections.items():
        lines += ["", f"## {title}", "", *content]
    return "\n".join(["---", _metadata(run, export).strip(), "---", "", *lines, ""])


def _metadata(run: TrainedModel, export: TaskExport) -> str:
    from huggingface_hub import ModelCardData

    data = [hub_data(spec.data) for spec in run.trained_mixture.tasks.values()]
    datasets = list(dict.fromkeys(filter(None, data)))
    card = ModelCardData(
        library_name="transformers",
        pipeline_tag="token-classification" if export.form.auto_class == TOKENS else "text-classification",
        base_model=hub_name(run.trained_mixture.encoder),
        datasets=datasets or None,
        metrics=[run.module.head(export.task).primary_metric],
        tags=["biomtl"],
    )
    return card.to_yaml()


# --- use --------------------------------------------------------------------------------------------------------------


def _usage(run: TrainedModel, export: TaskExport) -> list[str]:
    note = [export.form.reads, ""] if export.form.reads else []
    code = _token_code(export) if export.form.auto_class == TOKENS else _text_code(run, export)
    return [*note, "```python", "from transformers import pipeline", "", *code, "```"]


_HERE = 'model = "."  # this folder, or its name on the hub'


def _token_code(export: TaskExport) -> list[str]:
    arguments = f'aggregation_strategy="{export.aggregation_strategy}", stride={export.stride}'
    return [
        _HERE,
        f'find = pipeline("token-classification", model=model, {arguments})',
        f"for entity in find({json.dumps(export.form.example)}):",
        '    print(entity["entity_group"], entity["start"], entity["end"], entity["score"])',
    ]


def _text_code(run: TrainedModel, export: TaskExport) -> list[str]:
    text = json.dumps(export.form.example)
    if run.rows.num_texts.get(export.task) == 2:
        text = f'{{"text": {text}, "text_pair": "The fever fell."}}'
    lines = [
        _HERE,
        'classify = pipeline("text-classification", model=model, truncation=True)',
        f"text = {text}",
    ]
    thresholds = export.form.thresholds
    if not thresholds:
        return [*lines, "print(classify(text))"]
    lines += [
        'thresholds = classify.model.config.biomtl["thresholds"]',
        'scores = {one["label"]: one["score"] for one in classify(text, top_k=None)}',
    ]
    if export.form.problem_type == "multi_label_classification":
        return [*lines, "print([label for label, score in scores.items() if score >= thresholds[label]])"]
    return [
        *lines,
        "[(positive, threshold)] = thresholds.items()",
        "others = {label: score for label, score in scores.items() if label != positive}",
        "print(positive if scores[positive] >= threshold else max(others, key=others.get))",
    ]


def _labels(export: TaskExport) -> list[str]:
    form = export.form
    if form.problem_type == "regression":
        return ["One number, `score`, in the units of the training data."]
    if not form.thresholds:
        return [", ".join(f"`{label}`" for label in dict.fromkeys(form.labels))]
    rows = [(code(label), _number(form.thresholds.get(label))) for label in form.labels]
    return list(table(["label", "predicted from this probability on"], rows))


# --- facts ------------------------------------------------------------------------------------------------------------


def _scores(run: TrainedModel, task: str) -> list[str]:
    """A line for each metric: dev, test, the interval of test, and the trivial predictors."""
    metrics = {split: run.folder.metrics.get(split, {}).get(task, {}) for split in ("dev", "test", "interval")}
    split = "test" if metrics["test"] else "dev"
    if not metrics[split]:
        return ["The run has no scores."]
    trivial = _trivial(run.folder).get(split, {}).get(task, {})
    names = [name for name, value in metrics[split].items() if isinstance(value, int | float)]
    rows = []
    for name in names:
        interval = metrics["interval"].get(name)
        shown = MISSING if interval is None else f"{_number(interval['low'])} to {_number(interval['high'])}"
        values = [_number(scores.get(name)) for scores in (metrics["dev"], metrics["test"])]
        values += [shown, *(_number(own.get(name)) for own in trivial.values())]
        rows.append([name, *values])
    tested = run.folder.info.get("evaluated", {}).get("test")
    explained = "Dev is the run's best evaluation, test its latest test" + (f", of {tested}" if tested else "")
    last = f"; the last columns are trivial predictors on {split}" if trivial else ""
    return [*table(["metric", "dev", "test", f"interval on {split}", *trivial], rows), f"{explained}{last}."]


def _trivial(folder: RunFolder) -> dict[str, Any]:
    """The scores of the trivial predictors, ``{split: {task: {predictor: {metric: value}}}}``."""
    file = folder.path / "baselines.json"
    return read_json(file) if file.is_file() else {}


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else MISSING


def _mixture(run: TrainedModel) -> Iterator[str]:
    """The tasks of the mixture, and the share of the steps that each had."""
    shares: dict[str, float] = {}
    for record in _records(run.folder, "metrics.jsonl"):
        for name, value in record["metrics"].items():
            if name.startswith("data/") and name.endswith("/rate"):
                shares[name.split("/")[1]] = value
    rows = []
    for name, spec in run.trained_mixture.tasks.items():
        rate = "by size" if spec.rate is None else f"{spec.rate:g}"
        rows.append((name, spec.head, rate, _number(shares.get(name)), f"{spec.loss_weight:g}"))
    yield from table(["task", "head", "rate", "share of the steps", "loss weight"], rows)


def _data(run: TrainedModel) -> list[str]:
    """A line for each task and split that the run has recorded: rows and fingerprint."""
    recorded: dict[str, dict[str, dict[str, Any]]] = {}
    for record in _records(run.folder, "datasets.jsonl"):
        recorded.setdefault(record["name"], {})[record["split"]] = record
    rows = []
    for name, spec in run.trained_mixture.tasks.items():
        about = (name, hub_data(spec.data) or spec.data.reader, spec.data.licence or "not stated")
        splits = recorded.get(name) or {MISSING: {"rows": MISSING, "fingerprint": MISSING}}
        rows += [(*about, split, record["rows"], record["fingerprint"][:16]) for split, record in splits.items()]
    header = ["task", "reader", "licence", "split", "rows", "fingerprint"]
    return [*table(header, rows), "A fingerprint is the start of a hash of all rows, as `mtl check` shows it."]


def _records(folder: RunFolder, name: str) -> Iterator[dict[str, Any]]:
    """The lines of a file of JSON lines of a run; none if there is no such file."""
    file = folder.path / name
    if file.is_file():
        with file.open(encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines if line.strip())


# --- limits -----------------------------------------------------------------------------------------------------------


def _limits(run: TrainedModel, export: TaskExport) -> Iterator[str]:
    if export.form.auto_class == TOKENS:
        yield from _token_limits(export)
    else:
        yield f"Texts above {export.max_length} tokens are cut at the end, with `truncation=True`."
        if export.form.reads:
            yield "`mtl predict` finds and marks mentions itself, and cuts a long text around them."
    if export.form.problem_type != "regression":
        yield _of_probabilities(export.temperature)
    precision = run.precision
    if precision not in ("32-true", "64-true"):
        yield f"The run computes in {precision} and this model in fp32, so numbers differ in the third digit."
    yield "Scores hold for texts like those of the data above. Test the model on your own texts before you rely on it."


def _of_probabilities(temperature: float) -> str:
    if temperature == 1:
        return "Probabilities are not calibrated: 0.9 need not be right nine times of ten."
    return f"Probabilities are calibrated on dev; the output layer is divided by the temperature {temperature:.3f}."


def _token_limits(export: TaskExport) -> Iterator[str]:
    yield (
        f"Texts above {export.max_length} tokens are read in windows that overlap by {export.stride} tokens. `mtl"
        " predict` takes each word from the window in which it has the most context; `pipeline` takes the entities of"
        " all windows, and the longer one of two that overlap, so some of them differ."
    )
    if export.aggregation_strategy == "first":
        yield (
            "`pipeline` takes the words of the tokenizer: a symbol such as ± may join what it stands between, where"
            " `mtl predict` sees three words."
        )
    else:
        yield (
            "The tokenizer does not mark where a word continues, so `pipeline` takes the tag of every token, where `mtl"
            " predict` takes that of the first token of each word: entities may end, or be split, inside a word, and"
            " begin with the blank before it."
        )
    yield (
        "The score of an entity is the mean probability of its tokens in `pipeline`, and the mean over its words in"
        " `mtl predict`, where it becomes the geometric mean once `mtl calibrate` has calibrated the task."
        if export.temperature == 1
        else "The score of an entity is the mean probability of its tokens in `pipeline`, and the geometric mean over"
        " its words in `mtl predict`, to which the calibration refers."
    )
    if export.form.strict:
        yield "A tag I- that follows no B- begins an entity in `pipeline`; `mtl predict` ignores it, as it was trained."
