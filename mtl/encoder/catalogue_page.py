"""The catalogue of encoders as a page in Markdown, from its data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mtl.config.encoder_entry import EncoderEntry, is_known, shown
from mtl.config.encoder_terms import TERMS
from mtl.encoder.families import batching

DECIDES_RESULTS = False

COLUMNS = {
    "encoder": lambda entry: f"[{entry.name}](#{entry.name.replace('.', '').replace('+', '')})",
    "domains": lambda entry: shown(entry.domains),
    "pretraining": lambda entry: entry.pretraining,
    "vocabulary": lambda entry: shown(entry.vocabulary),
    "cased": lambda entry: shown(entry.cased),
    "tokens": lambda entry: shown(entry.max_length),
    "M parameters": lambda entry: shown(entry.parameters),
    "licence": lambda entry: entry.licence,
    "weights": lambda entry: shown(entry.weights),
    "MLM head": lambda entry: shown(entry.mlm_head),
    "batches": batching,
}

INTRODUCTION = """\
# Encoders

A mixture may name an encoder of this catalogue: `encoder: {name: pubmedbert}`. Names and aliases are read without
regard to case, hyphens, underscores and blanks. `mtl check` prints the model on the Hugging Face hub and the revision
that a name stands for, and the defaults that its entry sets. A folder, and a hub name such as `microsoft/biogpt`, are
used as they are.

```bash
mtl encoders --domain clinical --max-length 4096      # at least 4096 tokens
mtl encoders --pretraining scratch --vocabulary own --max-parameters 150
mtl encoders pubmedbert                               # one entry, with the source of each fact
```

A fact without a source is `unknown`, and a filter never selects it. A revision is a commit on the hub; an entry
without one loads `main`, which can change. Pickled weights are read with `weights_only=True`, which runs no code.
*Packed* batches have no padding; this depends on the model family and is asked of the installed version of
transformers. *Not loadable* means that the installed version lacks the family: a mixture that names the entry is
refused. The entries are the files of `experiments/encoders`, and this page is made from them by
`mtl encoders --markdown`.
"""


def page(entries: Sequence[EncoderEntry]) -> str:
    """The page with some entries: a table of all, each entry with its sources, and the terms."""
    parts = [INTRODUCTION, _table(entries), "## Entries\n", *map(_entry, entries), *_terms()]
    return "\n".join(parts)


def _table(entries: Sequence[EncoderEntry]) -> str:
    rows = [list(COLUMNS), ["---"] * len(COLUMNS)]
    rows += [[make(entry) for make in COLUMNS.values()] for entry in entries]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _entry(entry: EncoderEntry) -> str:
    return "\n".join([f"### {entry.name}\n", *_sentences(entry), ""])


def _sentences(entry: EncoderEntry) -> Iterator[str]:
    revision = f" at `{entry.revision[:12]}`" if is_known(entry.revision) else ""
    aliases = f" Also called {', '.join(f'`{name}`' for name in entry.aliases)}." if entry.aliases else ""
    yield f"[{entry.hub}](https://huggingface.co/{entry.hub}){revision}.{aliases} {entry.notes}".rstrip() + "\n"
    listed = ("family", "architecture", "parent", "objectives", "knowledge", "corpora", "languages")
    facts = [f"{field} {shown(fact)}" for field in listed if is_known(fact := getattr(entry, field))]
    facts += [f"unknown: {', '.join(entry.unknown)}"] if entry.unknown else []
    yield f"- {'; '.join(facts)}"
    if entry.defaults is not None:
        values = {name: value for name, value in dict(entry.defaults).items() if name != "reason" and value}
        chosen = ", ".join(f"`{name}` {value}" for name, value in values.items())
        yield f"- default {chosen}: {entry.defaults.reason}"
    for source in entry.sources:
        yield f"- {', '.join(source.of)}: {source.at}"


def _terms() -> Iterator[str]:
    yield "## Terms\n"
    yield (
        "The axes are those of the survey of biomedical language models of Wang et al."
        " ([ACM Computing Surveys 2023](https://arxiv.org/abs/2110.05006)). A term that is not listed is an error.\n"
    )
    yield "| field | term | meaning |\n|---|---|---|"
    for field, terms in TERMS.items():
        yield from (f"| {field} | `{term}` | {meaning} |" for term, meaning in terms.items())
    yield ""
