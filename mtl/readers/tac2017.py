"""The drug labels of TAC 2017's adverse reaction track: XML with sections, mentions and relations."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from heads.rows import Entity, Relation, Span, SpanRow
from mtl.readers import OFFSET, OnBadRow, Reader
from mtl.readers._columns import MalformedError
from mtl.readers._members import ARCHIVES, members
from mtl.readers._mentions import Offsets, between, checked_spans, renamed, same_mention
from mtl.readers._parts import Discontinuous
from mtl.readers._xml import XmlError, parse_xml
from mtl.redaction import quoted_code

if TYPE_CHECKING:
    from xml.etree import ElementTree

REACTION = "AdverseReaction"

STATUSES = {"Negated": "negated", "Hypothetical": "hypothetical"}
"""Relations of a reaction that decide its attribute `status`; the first one wins."""

AFFIRMED = "affirmed"

_BOTH = "reaction both negated and hypothetical, read as negated"
_Value = TypeVar("_Value")
_OFFSETS = re.compile(rf"{OFFSET}(?:,{OFFSET})*")


class TAC2017(Reader):
    r"""Sections of drug labels with mentions and the relations between them, one row per section.

    The layout is that of TAC 2017 (Roberts et al. 2017): one XML file per label. Offsets count the characters of the
    section as it is written, with all blanks. The document of a row is its label, by which data must be split.

    An AdverseReaction has the attribute `status`: `negated` or `hypothetical` if it has such a relation (to a negation,
    or to a factor, an animal or a drug class), else `affirmed`. The list of a label's reactions with their MedDRA codes
    is not read, and counted in `left_out`.

    A label and its row::

        <Label drug="zinx"><Text><Section id="S1" name="…">No rash.</Section></Text><Mentions>
          <Mention id="M1" section="S1" type="AdverseReaction" start="3" len="4" str="rash"/>
          <Mention id="M2" section="S1" type="Negation" start="0" len="2" str="No"/></Mentions><Relations>
          <Relation id="RL1" type="Negated" arg1="M1" arg2="M2"/></Relations></Label>
        SpanRow("zinx.S1", "zinx", "No rash.", relations=(Relation("M1", "M2", "Negated"),),
                entities=(Entity("M1", "AdverseReaction", ((3, 7),), attributes={"status": "negated"}), …))

    A bad mention or relation makes the whole label a bad row. Mentions in several parts (7%) are read as the option
    `discontinuous` says; overlapping mentions are all kept and counted.

    Args:
        path: Folder with a folder or archive of labels for each split, or one archive.
        types: Entity type in the file -> type in the row; several may be merged. Mentions of types that are not listed,
            and their relations, are left out and counted in `left_out`. The default keeps all types.
        offsets: What happens to mentions whose text differs from the text at their offsets, apart from blanks. With
            `check`, their label is a bad row; with `trust`, only the offsets count, and the mentions are counted in
            `adjusted`.
        discontinuous: How mentions in several parts are read: `keep`, `outer`, `split` or `refuse`; see
            `mtl.readers._parts`.
        files: See `Reader`.
        on_bad_row: See `Reader`.
    """

    suffixes: ClassVar[tuple[str, ...]] = ARCHIVES

    def __init__(
        self,
        path: str,
        *,
        types: Mapping[str, str] | None = None,
        offsets: Offsets = "check",
        discontinuous: Discontinuous = "keep",
        files: Mapping[str, str] | None = None,
        on_bad_row: OnBadRow = "error",
    ) -> None:
        super().__init__(path, files=files, on_bad_row=on_bad_row)
        self.types = types
        self.offsets: Offsets = offsets
        self.discontinuous = discontinuous

    def rows(self, source: Path, split: str) -> Iterator[SpanRow]:
        found = members(self, source, lambda path: path.suffix == ".xml")
        if not found:
            self.bad(source, None, "there must be XML files", "none")
        for name in sorted(found):
            text = self.decode(found[name], source / name)
            if text is not None:
                try:
                    yield from self._label(text, (source / name).stem)
                except XmlError as error:
                    self.bad(source / name, error.line, error.rule, error.found)
                except MalformedError as error:
                    self.bad(source / name, None, error.rule, error.found)

    def _label(self, text: str, stem: str) -> list[SpanRow]:
        """The rows of a label."""
        root = parse_xml(text)[0]
        document = root.get("drug") or stem
        texts: dict[str, str] = {}
        for section in root.iter("Section"):
            _add(texts, _attribute(section, "id"), "".join(section.itertext()), "sections")
        adjusted: Counter[str] = Counter()
        entities: dict[str, Entity] = {}
        section_of: dict[str, str] = {}
        for mention in root.iter("Mention"):
            name, section_id = _attribute(mention, "id"), _attribute(mention, "section")
            if section_id not in texts:
                raise MalformedError("a mention must be in a section of its label", quoted_code(section_id))
            section_of[name] = section_id
            _add(entities, name, self._entity(mention, texts[section_id], adjusted), "mentions")
        relations = [_relation(element, section_of) for element in root.iter("Relation")]
        status = _statuses(relations, adjusted)
        self.adjusted.update(adjusted)
        self.left_out.update("Reaction" for _ in root.iter("Reaction"))
        rows = []
        for section_id, section_text in texts.items():
            own = [_with_status(entities[name], status) for name in entities if section_of[name] == section_id]
            inside = [relation for relation in relations if section_of[relation.head] == section_id]
            rows += self._row(document, section_id, section_text, own, inside)
        return rows

    def _row(
        self, document: str, section: str, text: str, entities: list[Entity], relations: list[Relation]
    ) -> list[SpanRow]:
        """The row of a section, or nothing if it is empty."""
        if not text.strip():
            self.left_out["empty section"] += 1
            return []
        kept = renamed(entities, self.types, self.left_out)
        inside = between(relations, kept, self.left_out)
        return [SpanRow(f"{document}.{section}", document, text, entities=kept, relations=inside)]

    def _entity(self, mention: ElementTree.Element, text: str, adjusted: Counter[str]) -> Entity:
        name, kind, written = (_attribute(mention, key) for key in ("id", "type", "str"))
        starts, lengths = _attribute(mention, "start"), _attribute(mention, "len")
        if not (_OFFSETS.fullmatch(starts) and _OFFSETS.fullmatch(lengths)) or starts.count(",") != lengths.count(","):
            found = f"{len(starts)} and {len(lengths)} characters in mention {quoted_code(name)}"
            raise MalformedError("start and len must be as many integers, separated by commas", found)
        pairs = zip(starts.split(","), lengths.split(","), strict=True)
        spans: list[Span] = sorted((int(start), int(start) + int(length)) for start, length in pairs)
        try:
            mention_text = same_mention(text, spans, written, _blanks_as_one)
            return Entity(name, kind, checked_spans(text, spans, mention_text, self.offsets, adjusted))
        except MalformedError as error:
            raise MalformedError(error.rule, f"{error.found} in mention {quoted_code(name)}") from None


def _attribute(element: ElementTree.Element, name: str) -> str:
    value = element.get(name)
    if not value:
        raise MalformedError(f"<{element.tag}> must have the attribute '{name}'", "none")
    return value


def _add(found: dict[str, _Value], name: str, value: _Value, what: str) -> None:
    if name in found:
        raise MalformedError(f"ids of {what} must be unique within a label", f"{quoted_code(name)} again")
    found[name] = value


def _relation(element: ElementTree.Element, section_of: Mapping[str, str]) -> Relation:
    kind, head, tail = (_attribute(element, name) for name in ("type", "arg1", "arg2"))
    unknown = [end for end in (head, tail) if end not in section_of]
    if unknown:
        raise MalformedError("a relation must join mentions of its label", quoted_code(unknown[0]))
    if section_of[head] != section_of[tail]:
        raise MalformedError("a relation must join mentions of one section", f"two for {quoted_code(head)}")
    return Relation(head, tail, kind)


def _statuses(relations: Iterable[Relation], adjusted: Counter[str]) -> dict[str, str]:
    """The status of the mentions that are not affirmed."""
    kinds: dict[str, set[str]] = {}
    for head, _, kind in relations:
        if kind in STATUSES:
            kinds.setdefault(head, set()).add(kind)
    adjusted[_BOTH] += sum(len(own) > 1 for own in kinds.values())
    return {name: next(STATUSES[kind] for kind in STATUSES if kind in own) for name, own in kinds.items()}


def _with_status(entity: Entity, status: Mapping[str, str]) -> Entity:
    is_reaction = entity.type == REACTION
    return entity._replace(attributes={"status": status.get(entity.id, AFFIRMED)}) if is_reaction else entity


def _blanks_as_one(text: str) -> str:
    return " ".join(text.split())
