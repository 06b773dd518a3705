"""The keys of a vocabulary file with their defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StrictInt, StrictStr

from mtl.config import components, schema
from mtl.config.loading import load_mixture
from mtl.config.mixture import Count, DataSpec, EncoderSpec, Section
from mtl.config.yaml_files import merge, parse_overrides, read_yaml, require_known_key, resolve
from mtl.problems import InputError, Problem

Action = Literal["train", "extend"]

_ONLY_FOR = {"size": "train", "add": "extend"}


class BaseSpec(Section):
    """The encoder to start from.

    Args:
        name: As `encoder.name` of a mixture.
        revision: Revision of a hub model; None means that of the catalogue, otherwise `main`.
        max_length: Maximum length in tokens of the texts that `context`, `distill` and the loss read.
    """

    name: StrictStr = "minilm-l6"
    revision: StrictStr | None = None
    max_length: Annotated[StrictInt, Field(ge=8)] = 128


class AddSpec(Section):
    """The words that `mtl vocabulary extend` adds.

    Args:
        max: Maximum number of words.
        min_pieces: Number of tokens from which a word is worth adding.
        min_documents: Number of documents of the corpus in which a word must occur; at least 2, so that a name in one
            document does not become an entry.
        words: A file with a word per line, to add these words in their order instead of words of the corpus.
    """

    max: Count = 10_000
    min_pieces: Annotated[StrictInt, Field(ge=2)] = 2
    min_documents: Annotated[StrictInt, Field(ge=2)] = 5
    words: StrictStr | None = None


class InitialiserSpec(Section):
    """How new rows get their values; options of the method are written next to it.

    Args:
        method: A file of `mtl/vocabulary/initialisers`.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    method: StrictStr = "pieces_mean"

    @property
    def options(self) -> dict[str, Any]:
        """Options of the method."""
        return dict(self.model_extra or {})


class VocabularySpec(Section):
    """A vocabulary file.

    Args:
        encoder: The encoder to start from.
        data: The corpus, as `data` of a task; its split train is read, and dev is the held-out text.
        size: Number of entries that `mtl vocabulary train` makes; None takes that of the encoder's vocabulary.
        add: The words that `mtl vocabulary extend` adds.
        init: The values of new rows of the embeddings.
        seed: Seed of all random draws.
    """

    encoder: BaseSpec = BaseSpec()
    data: DataSpec
    size: Annotated[StrictInt, Field(ge=1)] | None = None
    add: AddSpec = AddSpec()
    init: InitialiserSpec = InitialiserSpec()
    seed: StrictInt = 0

    @property
    def base(self) -> EncoderSpec:
        """The encoder as a mixture names it."""
        return EncoderSpec(**self.encoder.model_dump())


def load_vocabulary(path: Path, overrides: Sequence[str], action: Action) -> VocabularySpec:
    """Reads a vocabulary file. Paths are looked up in its folder, then in the working folder.

    Args:
        path: The file.
        overrides: ``key=value`` with dotted keys.
        action: What it is read for; a key that has no effect then is a problem.

    Raises:
        InputError: The file is missing or invalid; the error lists all problems.
    """
    fields = read_yaml(path)
    require_known_key(path, fields, schema.keys_of(VocabularySpec))
    fields = resolve(merge(fields, parse_overrides(overrides)))
    problems = [
        Problem(key, f"has no effect on `mtl vocabulary {action}`.", "Remove the key.")
        for key, only in _ONLY_FOR.items()
        if key in fields and only != action
    ]
    try:
        spec = schema.checked(VocabularySpec, fields, str(path))
    except InputError as error:
        raise InputError([*problems, *error.problems]) from None
    problems += _init_problems(spec.init)
    found: dict[str, Any] = {}
    settled: dict[str, Callable[[VocabularySpec, Path], Section]] = {"data": _settled, "add": _beside}
    for key, settle in settled.items():
        try:
            found[key] = settle(spec, path.parent)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return spec.model_copy(update=found)


def _init_problems(init: InitialiserSpec) -> list[Problem]:
    try:
        method = components.find("initialiser", init.method, "init.method")
    except InputError as error:
        return error.problems
    found = components.check_options(method, init.options, "init", frozenset())
    if not found:
        try:
            components.build(method, **init.options)
        except InputError as error:
            return error.problems
    return found


def _settled(spec: VocabularySpec, folder: Path) -> DataSpec:
    """The corpus with its paths found and its reader's options checked, as those of a task are."""
    fields: Mapping[str, Any] = {
        "name": "vocabulary",
        "encoder": {"name": spec.encoder.name, "max_length": spec.encoder.max_length},
        "tasks": {_TASK: {"head": "masked_lm", "data": spec.data.model_dump(exclude_defaults=True)}},
    }
    try:
        return load_mixture(fields, folder=folder).tasks[_TASK].data
    except InputError as error:
        prefix = f"tasks.{_TASK}."
        raise InputError(
            [Problem(one.key.removeprefix(prefix), one.message, one.suggestion) for one in error.problems]
        ) from None


_TASK = "corpus"


def _beside(spec: VocabularySpec, folder: Path) -> AddSpec:
    """The words with the path of their file, if they have one."""
    add = spec.add
    if add.words is None:
        return add
    for place in (folder / add.words, Path(add.words)):
        if place.is_file():
            return add.model_copy(update={"words": str(place)})
    raise InputError(Problem("add.words", f"The file '{add.words}' does not exist.", "Check the path."))
