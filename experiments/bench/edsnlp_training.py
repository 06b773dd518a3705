"""Trains NER tasks with the trainer of EDS-NLP and measures it.

    ENVIRONMENT/bin/python experiments/bench/edsnlp_training.py JOB figures.json

`contestants.py` starts this with the Python of an environment that has EDS-NLP and not `mtl`, whose packages it would
compete with. JOB is a `Job` as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from meter import Meter

PACKAGES = ("edsnlp", "spacy", "torch", "transformers", "accelerate")


@dataclass(frozen=True)
class Job:
    """What is to be trained, and how.

    Args:
        rows: Folder with the rows of each task, in our JSON lines.
        encoder: Folder of the encoder.
        out: Folder for what the trainer writes.
        updates: Timed updates of each task.
        labels: Entity types of each task.
        warmup: Updates of each task before its window.
        batch_size: Sentences per update.
        max_length: Maximum length in tokens, the two special ones included.
        learning_rate: Peak learning rate.
        seed: Seed of the trainer.
    """

    rows: str
    encoder: str
    out: str
    updates: Mapping[str, int]
    labels: Mapping[str, Sequence[str]]
    warmup: int
    batch_size: int
    max_length: int
    learning_rate: float
    seed: int


def main(arguments: Sequence[str]) -> None:
    """Trains one task after another and writes the figures of all."""
    job, out = Job(**json.loads(arguments[0])), Path(arguments[1])
    meter = Meter()
    for task in job.updates:
        train(job, task, meter)
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    figures = {
        "precision": "32-true",
        "optimizer": "AdamW, fused",
        "packages": packages,
        "threads": torch.get_num_threads(),
        "updates_of": dict(job.updates),
        **meter.figures(),
    }
    out.write_text(json.dumps(figures), encoding="utf-8")


def train(job: Job, task: str, meter: Meter) -> None:
    """Trains one task with a window of its own.

    The settings make EDS-NLP fast at the same work: eager attention, fused AdamW, a softmax over tags instead of
    its CRF, and sentences that are tokenised before the training, as its documentation advises. Both NER tasks in
    each update would take it an encoder pass per task.
    """
    import edsnlp
    from edsnlp.pipes import ner_crf, transformer
    from edsnlp.training import ScheduledOptimizer, TrainingData
    from edsnlp.training import train as edsnlp_train
    from edsnlp.training.optimizer import LinearSchedule

    class Tokenised(TrainingData):  # type: ignore[misc]  # edsnlp is not installed where types are checked
        def __call__(self, nlp: Any, device: Any) -> Any:
            with nlp.select_pipes(enable=self.pipe_names):
                examples = list(self.data.map(nlp.preprocess, kwargs={"supervision": True}))
            stream = edsnlp.data.from_iterable(examples, shuffle=self.shuffle, seed=job.seed, loop=True)
            return stream.batchify(batch_size=self.batch_size[0]).map(nlp.collate, kwargs={"device": device})

    nlp = edsnlp.blank("eds")
    embedding = transformer(model=job.encoder, window=job.max_length - 2, training_stride=False)
    tagger = ner_crf(
        embedding=embedding,
        mode="independent",
        target_span_getter="gold",
        span_setter="ents",
        labels=list(job.labels[task]),
        infer_span_setter=False,
    )
    nlp.add_pipe(tagger, name="ner")
    total = job.warmup + job.updates[task]
    rate = LinearSchedule(total_steps=total, max_value=job.learning_rate, warmup_rate=0.1)
    groups = [{"selector": "", "lr": rate}]
    optimizer = ScheduledOptimizer(optim="adamw", module=nlp, total_steps=total, groups=groups, fused=True)
    encoder = nlp.get_pipe("ner").embedding.transformer
    encoder.set_attn_implementation("eager")
    meter.watch(encoder)
    # The trainer initialises the optimiser by one update without a batch.
    meter.begin(job.warmup + 1, job.updates[task])
    optimizer.optim.register_step_post_hook(lambda *_: meter.update_done())
    docs = [as_doc(nlp, row) for row in read_rows(Path(job.rows) / task / "train.jsonl")]
    edsnlp_train(
        nlp=nlp,
        train_data=[Tokenised(data=edsnlp.data.from_iterable(docs), batch_size=job.batch_size, shuffle="dataset")],
        optimizer=optimizer,
        max_steps=total,
        validation_interval=total,
        grad_max_norm=1.0,
        seed=job.seed,
        cpu=True,
        save_model=False,
        logger=False,
        output_dir=Path(job.out),
    )


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def as_doc(nlp: Any, row: Mapping[str, Any]) -> Any:
    """The row's text in EDS-NLP's words, with its entities as the span group `gold`.

    Entities that end within a word are expanded to it, as EDS-NLP's own readers do.
    """
    doc = nlp.make_doc(row["text"])
    spans = (
        doc.char_span(start, end, label=entity["type"], alignment_mode="expand")
        for entity in row["entities"]
        for start, end in entity["spans"]
    )
    doc.spans["gold"] = [span for span in spans if span is not None]
    return doc


if __name__ == "__main__":
    main(sys.argv[1:])
