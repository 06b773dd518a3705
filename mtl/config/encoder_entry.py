"""One entry of the catalogue of encoders: facts about a pretrained model, each with its source."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, StrictBool, StrictInt, StrictStr, model_validator

from mtl.config.encoder_terms import TERMS, UNKNOWN
from mtl.config.mixture import Section
from mtl.problems import did_you_mean, nearest

Unknown = Literal["unknown"]
Size = Annotated[StrictInt, Field(ge=1)] | Unknown


def _of(field: str) -> AfterValidator:
    """Accepts the terms of a field."""
    return AfterValidator(functools.partial(_checked_term, field))


def _checked_term(field: str, term: str) -> str:
    if term == UNKNOWN or term in TERMS[field]:
        return term
    meant = nearest(term, TERMS[field])
    hint = f"did you mean '{meant}'?" if meant else f"terms: {', '.join(TERMS[field])}"
    raise ValueError(f"must be a term of `{field}` or unknown ({hint})")


class EncoderVocabulary(Section):
    """The vocabulary of an encoder.

    Args:
        origin: Where it comes from.
        size: Number of tokens.
    """

    origin: Annotated[StrictStr, _of("vocabulary")]
    size: Size


class EncoderDefaults(Section):
    """Defaults of a mixture that names this encoder, in place of those for its size.

    Args:
        reason: Why they differ, with its source.
        learning_rate: Peak learning rate of the encoder.
        max_length: Maximum length of an input in tokens.
    """

    reason: StrictStr
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    max_length: Annotated[StrictInt, Field(ge=8)] | None = None


class FactSource(Section):
    """Where facts come from.

    Args:
        of: The fields that it supports.
        at: An address, or a citation.
    """

    of: tuple[StrictStr, ...] = Field(min_length=1)
    at: StrictStr


class EncoderEntry(Section):
    """A pretrained model. The terms of fields are those of `mtl.config.encoder_terms`; any fact may be `unknown`.

    Args:
        name: Its name in a mixture, which is that of its file.
        aliases: Further names.
        hub: Its name on the Hugging Face hub.
        revision: A commit on the hub, which a mixture that names the entry loads; otherwise it loads `main`.
        package: The Python package that it comes in; None downloads it from the hub.
        family: The `model_type` of transformers.
        architecture: What a token sees.
        pretraining: What its weights started from.
        parent: The entry or the hub name of the model that it started from; None if it started from scratch.
        objectives: What it was trained to do after that start.
        knowledge: Knowledge besides running text that it was trained on.
        vocabulary: Its vocabulary.
        corpora: The corpora it was trained on after that start, with their sizes as the source gives them.
        domains: The kinds of text in these corpora.
        languages: Their languages.
        cased: Whether it distinguishes upper and lower case.
        max_length: Maximum length of an input in tokens.
        parameters: Number of parameters in millions.
        licence: The licence of the weights.
        weights: Formats of the weights in its repository.
        mlm_head: Whether the weights include a head for masked language modelling.
        defaults: Defaults of a mixture that names this encoder.
        notes: What else a user should know.
        sources: Where the facts come from.
    """

    name: Annotated[StrictStr, Field(pattern=r"^[a-z0-9][a-z0-9.+-]*$")]
    aliases: tuple[StrictStr, ...] = ()
    hub: Annotated[StrictStr, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: Annotated[StrictStr, Field(pattern=r"^([0-9a-f]{40}|unknown)$")]
    package: StrictStr | None = None
    family: StrictStr
    architecture: Annotated[StrictStr, _of("architecture")]
    pretraining: Annotated[StrictStr, _of("pretraining")]
    parent: StrictStr | None = None
    objectives: tuple[Annotated[StrictStr, _of("objectives")], ...] | Unknown
    knowledge: tuple[Annotated[StrictStr, _of("knowledge")], ...] = ()
    vocabulary: EncoderVocabulary
    corpora: dict[Annotated[StrictStr, _of("corpora")], StrictStr] | Unknown
    domains: tuple[Annotated[StrictStr, _of("domains")], ...] | Unknown
    languages: tuple[Annotated[StrictStr, _of("languages")], ...] | Unknown
    cased: StrictBool | Unknown
    max_length: Size
    parameters: Annotated[float, Field(gt=0)] | Unknown
    licence: Annotated[StrictStr, _of("licence")]
    weights: tuple[Annotated[StrictStr, _of("weights")], ...] | Unknown
    mlm_head: StrictBool | Unknown
    defaults: EncoderDefaults | None = None
    notes: StrictStr = ""
    sources: tuple[FactSource, ...]

    @property
    def unknown(self) -> list[str]:
        """The facts that are unknown, but not a parent or knowledge that it does not have."""
        facts = ((field, getattr(self, field)) for field in FACTS)
        return [field for field, fact in facts if not is_known(fact) and fact not in (None, ())]

    @model_validator(mode="after")
    def _is_consistent(self) -> EncoderEntry:
        problems = list(self._problems())
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _problems(self) -> Iterator[str]:
        starts_from_parent = self.pretraining in ("continued", "adapted")
        if starts_from_parent != (self.parent is not None):
            yield "must have a parent if, and only if, its pretraining is continued or adapted"
        named = {field for source in self.sources for field in source.of}
        for field in sorted(named - set(FACTS)):
            yield f"sources.of has no fact '{field}'. {did_you_mean(field, FACTS).rstrip('.')}"
        known = {field for field in FACTS if is_known(getattr(self, field))}
        if known - named:
            yield f"must name a source of {', '.join(sorted(known - named))}, or say unknown"
        if named & set(FACTS) - known:
            yield f"must not name a source of what is unknown ({', '.join(sorted(named & set(FACTS) - known))})"


_NO_FACTS = ("name", "aliases", "package", "defaults", "notes", "sources")

FACTS = tuple(field for field in EncoderEntry.model_fields if field not in _NO_FACTS)
"""The fields that need a source."""


def is_known(value: Any) -> bool:
    """Whether a fact is stated.

    >>> [is_known(value) for value in ("unknown", False, (), EncoderVocabulary(origin="unknown", size="unknown"))]
    [False, True, False, False]
    """
    if isinstance(value, BaseModel):
        return any(is_known(part) for part in dict(value).values())
    return value not in (UNKNOWN, None, (), {})


def shown(fact: Any) -> str:
    """A fact as text.

    >>> shown({"pubmed": "unknown", "mimic_iii": "880 M words"}), shown(True), shown(("a", "b"))
    ('pubmed, mimic_iii (880 M words)', 'yes', 'a, b')
    """
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    if isinstance(fact, EncoderVocabulary):
        return f"{fact.origin}, {fact.size}" if is_known(fact.size) else str(fact.origin)
    if isinstance(fact, dict):
        return ", ".join(f"{name} ({size})" if is_known(size) else name for name, size in fact.items())
    if isinstance(fact, tuple):
        return ", ".join(fact)
    return f"{fact:g}" if isinstance(fact, float) else str(fact)
