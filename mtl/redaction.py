"""Shows names, ids and errors without text of the data.

What a file contains is shown only if it looks like a name or an id; otherwise its length is. The message of an error is
shown only if code that follows this rule wrote it: a `ValueError` of a user's head, or of `int(cell)`, may quote text.
"""

from __future__ import annotations

import dis
import os
import re
import traceback
from collections.abc import Iterable, Iterator, Sequence

DECIDES_RESULTS = False

SHOW_VARIABLE = "MTL_SHOW_MESSAGES"
"""Variable that shows the messages of all errors, for whoever may see the data."""

LONGEST_NAME, LONGEST_ID = 32, 64
"""Maximum number of characters of a name and of an id that is shown."""

_NAME = re.compile(r"[A-Za-z_À-ÖØ-öø-ɏ][\wÀ-ÖØ-öø-ɏ.\-/:#@+()$%]*", re.ASCII)  # Latin letters: a word is a name
_ID = re.compile(r"[\w.\-/:#@+|=()\[\]~]+", re.ASCII)  # no blanks, and so no sentence in most languages

_TRUSTED = frozenset(
    {"mtl", "heads", "torch", "pytorch_lightning", "lightning_fabric", "transformers", "huggingface_hub", "safetensors"}
    | {"datasets.builder", "datasets.data_files", "datasets.load"}  # not its readers of files
    | {"importlib", "_frozen_importlib", "re", "sre_parse", "zipfile", "tarfile", "gzip"}
)
"""Packages and modules whose own errors quote settings, names and sizes, but no text of the data."""

_WITHOUT_VALUES = (
    ArithmeticError,
    AttributeError,
    ImportError,
    IndexError,
    MemoryError,
    NameError,
    RuntimeError,
    TypeError,
)
"""Errors of Python and of extensions written in C that quote names, types and sizes; others, such as `ValueError` and
`KeyError`, quote values."""


def is_name(text: str) -> bool:
    """Whether a text looks like the name of a column, a key, a type or a class.

    >>> is_name("text_pair"), is_name("Süd"), is_name("Fever was high."), is_name("72")
    (True, True, False, False)
    """
    return len(text) <= LONGEST_NAME and _NAME.fullmatch(text) is not None


def is_id(text: str) -> bool:
    """Whether a text looks like an id.

    >>> is_id("DDI-DrugBank.d0.s0"), is_id("Fever was high.")
    (True, False)
    """
    return len(text) <= LONGEST_ID and _ID.fullmatch(text) is not None


def shown(text: str, what: str = "a text") -> str:
    """A name; of any other text the length.

    >>> shown("Drug"), shown("Fever was high.", "a type")
    ('Drug', 'a type of 15 characters')
    """
    return text if is_name(text) else f"{what} of {len(text)} characters"


def quoted(text: object, what: str = "a text") -> str:
    """A name in quotes; of any other text the length.

    >>> quoted("text_pair"), quoted("Fever was high."), quoted("Fever was high.", "a key")
    ("'text_pair'", 'a text of 15 characters', 'a key of 15 characters')
    """
    written = str(text)
    return f"'{written}'" if is_name(written) else f"{what} of {len(written)} characters"


def quoted_code(text: str) -> str:
    """An id of a mention or a concept in quotes; of any other text the length.

    >>> quoted_code("T7"), quoted_code("Fever was high.")
    ("'T7'", 'a text of 15 characters')
    """
    return f"'{text}'" if is_id(text) else f"a text of {len(text)} characters"


def shown_key(key: str) -> str:
    """A dotted key of a configuration; of any other text the length.

    >>> shown_key("tasks.gad.labels"), shown_key("Fever was high")
    ('tasks.gad.labels', '(a key of 14 characters)')
    """
    return key if _ID.fullmatch(key) else f"(a key of {len(key)} characters)"


def without_quotes(message: str) -> str:
    """A message in which everything in single quotes that does not look like an id is replaced by its length.

    >>> without_quotes("no key 'patient was' in 'x'"), without_quotes("found ',' for '<scalar>'")
    ("no key a text of 11 characters in 'x'", "found ',' for '<scalar>'")
    """
    parts = message.split("'")
    inside = parts[1::2]
    if len(parts) % 2 == 0:  # an apostrophe inside the quotes, so that their ends are not clear
        length = message.rindex("'") - message.index("'") - 1
        return f"{parts[0]}a text of {max(length, 0)} characters{parts[-1] if len(parts) > 2 else ''}"
    hidden = [not is_id(part) and any(character.isalnum() for character in part.strip("<>")) for part in inside]
    shown_parts = [
        f"a text of {len(part)} characters" if is_hidden and not re.fullmatch(r"<[a-z ]+>", part) else f"'{part}'"
        for part, is_hidden in zip(inside, hidden, strict=True)
    ]
    return "".join(part for pair in zip(parts[::2], [*shown_parts, ""], strict=True) for part in pair)


def listed(names: Iterable[str], what: str = "name") -> str:
    """The names that look like names, in quotes, and the number of the others.

    >>> listed(["label", "Fever was high."])
    "'label' and 1 other"
    >>> listed(["Fever was high."], "key")
    '1 key that is not shown'
    """
    names = list(names)
    known = [f"'{name}'" for name in names if is_name(name)]
    hidden = len(names) - len(known)
    if not hidden:
        return ", ".join(known)
    if known:
        return f"{', '.join(known)} and {hidden} other{'s' * (hidden > 1)}"
    return f"{hidden} {what}{'s that are' if hidden > 1 else ' that is'} not shown"


def without(message: str, texts: Iterable[str]) -> str:
    """A message in which texts that do not look like ids are replaced by their lengths.

    Texts without a letter or digit, such as a delimiter, say nothing, and are in most messages.

    >>> without("must be a number, got 'Fever was high.'", ["Fever was high.", ","])
    'must be a number, got a text of 15 characters'
    """
    said = {text for text in texts if any(map(str.isalnum, text)) and not is_id(text)}
    for text in sorted(said, key=len, reverse=True):
        length = f"a text of {len(text)} characters"
        for written in (repr(text), f"'{text}'", f'"{text}"', f"`{text}`", text):
            message = message.replace(written, length)
    return message


def repeats(message: str, text: str, run: int = 16) -> bool:
    """Whether a message repeats a run of characters of a text.

    >>> repeats("no drug in 'fever was very high'", "The fever was very high."), repeats("no drug", "no drugs")
    (True, False)
    """
    return any(message[start : start + run] in text for start in range(len(message) - run + 1))


# --- errors -----------------------------------------------------------------------------------------------------------


def reason(error: BaseException) -> str:
    """The message of an error if it cannot contain text of the data; otherwise its type, its place and its length.

    >>> try:
    ...     int("Fever was high.")
    ... except ValueError as error:
    ...     "Fever" in reason(error)
    False
    """
    message = " ".join(str(error).split())
    if not message:
        return type(error).__name__
    if is_harmless(error):
        return message
    if isinstance(error, OSError) and error.errno is not None:
        where = f": {error.filename}" if isinstance(error.filename, str) else ""
        return f"{os.strerror(error.errno)}{where}"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place} ({_hidden(message)})"


def is_harmless(error: BaseException) -> bool:
    """Whether the message of an error cannot contain text of the data, or the user has asked to see all messages."""
    if os.environ.get(SHOW_VARIABLE) == "1":
        return True
    trace = error.__traceback__
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code.co_code
    was_raised = dis.opname[code[trace.tb_lasti]] in ("RAISE_VARARGS", "RERAISE")
    module = str(trace.tb_frame.f_globals.get("__name__", ""))
    is_trusted = module.partition(".")[0] in _TRUSTED or module in _TRUSTED
    if was_raised:
        return is_trusted
    # Python or an extension raised it, on behalf of this frame. It quotes names, which other code may take from data.
    return isinstance(error, _WITHOUT_VALUES) and (is_trusted or without_quotes(str(error)) == str(error))


def crash_report(error: BaseException) -> str:
    """A traceback like Python's, without messages that may contain text of the data."""
    return "".join(_report(error, set()))


def _report(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _report(before, seen)
        how = "The above exception was the direct cause of" if error.__cause__ else "During its handling, there was"
        yield f"\n{how} the following exception:\n\n"
    yield "Traceback (most recent call last):\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__module__}.{type(error).__qualname__}: {_message(error)}\n".removeprefix("builtins.")


def _message(error: BaseException) -> str:
    message = str(error)
    if not message or is_harmless(error):
        return message
    if isinstance(error, OSError) and error.errno is not None:
        return reason(error)
    return f"({_hidden(message)})"


def _hidden(message: str) -> str:
    return (
        f"its message of {len(message)} characters may contain text of the data; "
        f"set {SHOW_VARIABLE}=1 to see the whole message"
    )


def strings(value: object) -> Sequence[str]:
    """All strings in nested mappings and lists, keys included.

    >>> strings({"a": ["b", {"c": 1}]})
    ['a', 'b', 'c']
    """
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in strings(part)]
    if isinstance(value, list | tuple):
        return [text for part in value for text in strings(part)]
    return []
