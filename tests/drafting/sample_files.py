"""Small data files of the formats that readers know, each with the heads of the tasks that fit them."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

REPOSITORY = Path(__file__).parents[2]
SECRET = "Xylophonia"


def notes(number: int = 30) -> list[str]:
    return [f"Patient {index} was seen on day {index * 7}, {SECRET} suspected." for index in range(number)]


def write_csv(path: Path, header: str | None, rows: list[str]) -> Path:
    path.write_text("\n".join([*([header] if header else []), *rows]) + "\n")
    return path


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def a_csv(folder: Path) -> tuple[Path, dict[str, str]]:
    rows = [f'{index},"{note}",{"sick" if index % 3 else "well"}' for index, note in enumerate(notes())]
    return write_csv(folder / "notes.csv", "nr,note,status", rows), {"notes": "classification"}


def a_csv_from_excel(folder: Path) -> tuple[Path, dict[str, str]]:
    rows = [f"{note.replace(',', '')};{index / 7:.2f}" for index, note in enumerate(notes())]
    return write_csv(folder / "Scores 2026.csv", "note;score", rows), {"scores_2026": "regression"}


def a_table_without_header(folder: Path) -> tuple[Path, dict[str, str]]:
    rows = [f"{note}\t{'ab'[index % 2]}" for index, note in enumerate(notes())]
    return write_csv(folder / "plain.txt", None, rows), {"plain": "classification"}


def lists_in_a_table(folder: Path) -> tuple[Path, dict[str, str]]:
    kinds = ["heart", "heart|lung", "lung", "lung|skin", "skin|heart"]
    rows = [f'"{note}",{kinds[index % 5]}' for index, note in enumerate(notes())]
    return write_csv(folder / "topics.csv", "text,labels", rows), {"topics": "multilabel"}


def tabs_with_quotes(folder: Path) -> tuple[Path, dict[str, str]]:
    rows = [f'{n}\t"{note}\nNo ""other"" complaint."\t{"sick" if n % 3 else "well"}' for n, note in enumerate(notes())]
    return write_csv(folder / "quoted.tsv", "nr\tnote\tstatus", rows), {"quoted": "classification"}


def json_lines(folder: Path) -> tuple[Path, dict[str, str]]:
    rows = [{"sentence": f"Again: {note}", "gold": "yn"[index % 2], "nurse": "A"} for index, note in enumerate(notes())]
    return write_jsonl(folder / "rows.jsonl", rows), {"rows": "classification"}


def json_mentions(folder: Path) -> tuple[Path, dict[str, str]]:
    rows = []
    for index, note in enumerate(notes()):
        start = note.index(SECRET)
        entities = [
            {"id": "T1", "type": "Finding", "spans": [[start, start + len(SECRET)]]},
            {"id": "T2", "type": "Person", "spans": [[0, 7]]},
        ]
        relations = [{"head": "T1", "tail": "T2", "type": "of"}] if index % 2 else []
        rows.append({"id": str(index), "text": note, "entities": entities, "relations": relations})
    return write_jsonl(folder / "found.jsonl", rows), {"found": "token_classification", "found_relations": "relation"}


def mentions_with_attributes(folder: Path) -> tuple[Path, dict[str, str]]:
    rows = []
    for index, note in enumerate(notes()):
        start = note.index(SECRET)
        grade = {"grade": ("high", "low")[index % 2]} | ({"is negated": "true"} if index % 3 else {})
        found = {"id": "T1", "type": "Finding", "spans": [[start, start + len(SECRET)]], "attributes": grade}
        rows.append({"id": str(index), "text": note, "entities": [found, {"id": "T2", "type": "P", "spans": [[0, 7]]}]})
    head = "mention_classification"
    expected = {"graded": "token_classification", "graded_grade": head, "graded_is_negated": head}
    return write_jsonl(folder / "graded.jsonl", rows), expected


def tagged_words(folder: Path) -> tuple[Path, dict[str, str]]:
    lines = [f"Day O\n{index} O\n{SECRET} B-Finding\n" for index in range(30)]
    (folder / "words.conll").write_text("\n".join(lines))
    return folder / "words.conll", {"words": "token_classification"}


def brat_files(folder: Path) -> tuple[Path, dict[str, str]]:
    (folder / "annotated").mkdir()
    for index, note in enumerate(notes()):
        start = note.index(SECRET)
        (folder / "annotated" / f"{index}.txt").write_text(note)
        mention = f"T1\tFinding {start} {start + len(SECRET)}\t{SECRET}\n"
        (folder / "annotated" / f"{index}.ann").write_text(mention)
    return folder / "annotated", {"annotated": "token_classification"}


def pubtator_file(folder: Path) -> tuple[Path, dict[str, str]]:
    blocks = [
        f"{index}|t|{SECRET} today.\n{index}|a|None.\n{index}\t0\t10\t{SECRET}\tDisease\tD1\n" for index in range(30)
    ]
    (folder / "abstracts.PubTator").write_text("\n".join(blocks))
    return folder / "abstracts.PubTator", {"abstracts": "token_classification"}


def a_folder_of_splits(folder: Path) -> tuple[Path, dict[str, str]]:
    (folder / "triage").mkdir()
    for split, number in (("train", 20), ("test", 8)):
        rows = [f'"{split} {note}",{"ab"[index % 2]}' for index, note in enumerate(notes(number))]
        write_csv(folder / "triage" / f"{split}.csv", "text,label", rows)
    return folder / "triage", {"triage": "classification"}


# --- mentions and relations -------------------------------------------------------------------------------------------

ABSTRACT = "Aspirin induced rash."
CHEMICAL = {"id": "1", "type": "Chemical", "spans": [[0, 7]], "concepts": ["D1"]}
DISEASE = {"id": "2", "type": "Disease", "spans": [[16, 20]], "concepts": ["D2"]}


def both_tasks(name: str) -> dict[str, str]:
    return {name: "token_classification", f"{name}_relations": "relation"}


def pubtator_of_the_guide(folder: Path) -> tuple[Path, dict[str, str]]:
    guide = (REPOSITORY / "docs" / "own_data.md").read_text(encoding="utf-8")
    sample = re.search(r"^```text\n(1\|t\|.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    assert sample is not None
    assert "|a|A case." in sample[1]
    blocks = [re.sub(r"^1\b", str(n), sample[1], flags=re.MULTILINE).replace("A case.", f"Case {n}.") for n in range(9)]
    (folder / "cases.txt").write_text("\n".join(blocks))
    return folder / "cases.txt", both_tasks("cases")


def json_relations_of_concepts(folder: Path) -> tuple[Path, dict[str, str]]:
    relation = {"head": "D1", "tail": "D2", "type": "CID"}
    entities = [CHEMICAL, DISEASE]
    rows: list[dict[str, Any]] = [
        {"id": str(n), "text": f"{ABSTRACT} Case {n}.", "entities": entities, "relations": [relation][: n % 2]}
        for n in range(20)
    ]
    return write_jsonl(folder / "induced.jsonl", rows), both_tasks("induced")


def json_relations_of_both_kinds(folder: Path) -> tuple[Path, dict[str, str]]:
    def ends(n: int) -> dict[str, str]:
        return {"head": "1", "tail": "2"} if n % 5 == 0 else {"head": "D1", "tail": "D2"}

    rows = [
        {
            "id": str(n),
            "text": f"{ABSTRACT} Case {n}.",
            "entities": [CHEMICAL, DISEASE],
            "relations": [ends(n) | {"type": "CID"}],
            "label": "urgent",
        }
        for n in range(40)
    ]
    return write_jsonl(folder / "mixed.jsonl", rows), both_tasks("mixed")


def bioc_in_xml(folder: Path) -> tuple[Path, dict[str, str]]:
    def annotation(number: int, kind: str, concept: str, offset: int, text: str) -> str:
        return (
            f'<annotation id="{number}"><infon key="type">{kind}</infon><infon key="identifier">{concept}</infon>'
            f'<location offset="{offset}" length="{len(text)}"/><text>{text}</text></annotation>'
        )

    mentions = annotation(0, "Chemical", "D1", 0, "Aspirin") + annotation(1, "Disease", "D2", 16, "rash")
    relation = (
        '<relation id="R1"><infon key="relation">CID</infon><infon key="Chemical">D1</infon>'
        '<infon key="Disease">D2</infon></relation>'
    )
    documents = [
        f"<document><id>{n}</id><passage><offset>0</offset><text>{ABSTRACT} Case {n}.</text>{mentions}</passage>"
        f"{relation}</document>\n"
        for n in range(12)
    ]
    (folder / "corpus.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE collection SYSTEM "BioC.dtd">\n'
        f"<collection><source>PubTator</source>{''.join(documents)}</collection>\n"
    )
    return folder / "corpus.xml", both_tasks("corpus")


def bioc_in_json(folder: Path) -> tuple[Path, dict[str, str]]:
    def annotation(number: int, kind: str, offset: int, text: str) -> dict[str, Any]:
        location = {"offset": offset, "length": len(text)}
        return {"id": str(number), "infons": {"type": kind}, "text": text, "locations": [location]}

    mentions = [annotation(0, "Chemical", 0, "Aspirin"), annotation(1, "Disease", 16, "rash")]
    nodes = [{"refid": "0", "role": "cause"}, {"refid": "1", "role": "effect"}]
    relations = [{"id": "R1", "infons": {"type": "induces"}, "nodes": nodes}]
    documents = [
        {
            "id": str(n),
            "passages": [
                {"offset": 0, "text": f"{ABSTRACT} Case {n}.", "annotations": mentions, "relations": relations}
            ],
        }
        for n in range(12)
    ]
    collection = {"source": "PubTator", "infons": {}, "documents": documents}
    (folder / "export.json").write_text(json.dumps(collection, indent=2))
    return folder / "export.json", both_tasks("export")


def an_archive_of_ddi(folder: Path) -> tuple[Path, dict[str, str]]:
    with zipfile.ZipFile(folder / "ddi.zip", "w") as archive:
        for n in range(12):
            name = f"d{n}.s0"
            inside = (
                f'<entity id="{name}.e0" charOffset="0-6" type="brand" text="Aspirin"/>'
                f'<entity id="{name}.e1" charOffset="12-19" type="drug" text="warfarin"/>'
                f'<pair id="{name}.p0" e1="{name}.e0" e2="{name}.e1" ddi="true" type="effect"/>'
            )
            sentence = f'<sentence id="{name}" text="Aspirin and warfarin, case {n}.">{inside}</sentence>'
            text = f'<?xml version="1.0"?>\n<document id="d{n}">{sentence}</document>'
            archive.writestr(f"DDICorpus/Train/DrugBank/{n}.xml", text)
    return folder / "ddi.zip", both_tasks("ddi")


def a_folder_of_drug_labels(folder: Path) -> tuple[Path, dict[str, str]]:
    (folder / "drugs").mkdir()
    for n in range(12):
        mentions = (
            '<Mention id="M1" section="S1" type="AdverseReaction" start="3" len="4" str="rash"/>'
            '<Mention id="M2" section="S1" type="Negation" start="0" len="2" str="No"/>'
        )
        relations = '<Relation id="RL1" type="Negated" arg1="M1" arg2="M2"/>' * (n % 2)
        (folder / "drugs" / f"{n}.xml").write_text(
            f'<?xml version="1.0"?>\n<Label drug="drug{n}"><Text><Section id="S1">No rash in case {n}.</Section></Text>'
            f"<Mentions>{mentions}</Mentions><Relations>{relations}</Relations></Label>"
        )
    return folder / "drugs", both_tasks("drugs") | {"drugs_status": "mention_classification"}


# --- tagged words -----------------------------------------------------------------------------------------------------


def words_in_iob1_with_comments(folder: Path) -> tuple[Path, dict[str, str]]:
    blocks = [f"# sent_id = {n}\nLow I-Finding\nfever I-Finding\nrash B-Finding\nin O\n{n} O\n" for n in range(30)]
    (folder / "iob1.txt").write_text("\n".join(blocks))
    return folder / "iob1.txt", {"iob1": "token_classification"}


def words_in_bilou(folder: Path) -> tuple[Path, dict[str, str]]:
    blocks = [f"Low\tB-Finding\nfever\tL-Finding\nday\tO\n{n}\tO\n{SECRET}\tU-Drug\n" for n in range(30)]
    (folder / "bilou.tsv").write_text("\n".join(blocks))
    return folder / "bilou.tsv", {"bilou": "token_classification"}


def words_from_windows(folder: Path) -> tuple[Path, dict[str, str]]:
    blocks = [f"Übelkeit\tB-Finding\nam\tO\nTag\tO\n{n}\tO\n" for n in range(30)]
    (folder / "german.conll").write_bytes("\n".join(blocks).encode("cp1252"))
    return folder / "german.conll", {"german": "token_classification"}


# --- texts with labels ------------------------------------------------------------------------------------------------


def a_csv_from_windows(folder: Path) -> tuple[Path, dict[str, str]]:
    rows = [f"Fieber über 39 °C am Tag {n};{'ja' if n % 3 else 'nein'}" for n in range(30)]
    (folder / "windows.csv").write_bytes("\r\n".join(["text;label", *rows, ""]).encode("cp1252"))
    return folder / "windows.csv", {"windows": "classification"}


def splits_of_which_one_is_from_windows(folder: Path) -> tuple[Path, dict[str, str]]:
    (folder / "wards").mkdir()
    for split, word in (("train", "fever"), ("dev", "fever"), ("test", "Übelkeit")):
        rows = [f"{split}: {word} on day {n};{'yes' if n % 3 else 'no'}" for n in range(9)]
        (folder / "wards" / f"{split}.txt").write_bytes("\n".join(["text;label", *rows, ""]).encode("cp1252"))
    return folder / "wards", {"wards": "classification"}


def five_rows(folder: Path) -> tuple[Path, dict[str, str]]:
    rows = [{"text": note, "label": "yn"[index % 2]} for index, note in enumerate(notes(5))]
    return write_jsonl(folder / "five.jsonl", rows), {"five": "classification"}


def two_rows(folder: Path) -> tuple[Path, dict[str, str]]:
    rows = [{"text": note, "label": "yn"[index % 2]} for index, note in enumerate(notes(2))]
    return write_jsonl(folder / "two.jsonl", rows), {"two": "classification"}


def several_columns_of_labels(folder: Path) -> tuple[Path, dict[str, str]]:
    kinds = ["heart", "heart;lung", "lung", "lung;skin", "skin;heart"]
    rows = [
        f'{n},"{note}",{"sick" if n % 3 else "well"},{kinds[n % 5]},{n % 7 / 2},{40 + n % 9}'
        for n, note in enumerate(notes())
    ]
    heads = {"ward_score": "regression", "ward_status": "classification", "ward_topics": "multilabel"}
    return write_csv(folder / "ward.csv", "nr,note,status,topics,score,age", rows), heads


def several_keys_of_labels(folder: Path) -> tuple[Path, dict[str, str]]:
    rows = [
        {"sentence": note, "gold": "yn"[n % 2], "severity": ["low", "high", "none"][n % 3], "nurse": "A", "seen": n > 3}
        for n, note in enumerate(notes())
    ]
    return write_jsonl(folder / "visits.jsonl", rows), {
        "visits_gold": "classification",
        "visits_severity": "classification",
    }


def several_columns_of_parquet(folder: Path) -> tuple[Path, dict[str, str]]:
    codes = [[["I50"], ["I50", "N18"], ["L30"]][n % 3] for n in range(30)]
    table = pa.table({"text": notes(), "codes": codes, "label": ["yn"[n % 2] for n in range(30)]})
    pq.write_table(table, folder / "coded.parquet")
    return folder / "coded.parquet", {"coded_label": "classification", "coded_codes": "multilabel"}


def questions_in_xml(folder: Path) -> tuple[Path, dict[str, str]]:
    pairs = [
        f'<pair pid="{n}" value="{["true", "false"][n % 2]}"><chq>How is case {n}?</chq><faq>What is it?</faq></pair>'
        for n in range(20)
    ]
    (folder / "entailed.xml").write_text(f'<?xml version="1.0"?>\n<RQE>{"".join(pairs)}</RQE>\n')
    return folder / "entailed.xml", {"entailed": "classification"}


def questions_in_json(folder: Path) -> tuple[Path, dict[str, str]]:
    questions = [
        {
            "id": f"5c{n}",
            "type": "yesno",
            "body": f"Is case {n} right?",
            "snippets": [{"text": f"Part {n}."}],
            "exact_answer": ["yes", "no"][n % 2],
        }
        for n in range(20)
    ]
    (folder / "asked.json").write_text(json.dumps({"questions": questions}, indent=1))
    return folder / "asked.json", {"asked": "classification"}


FILES = [
    a_csv,
    a_csv_from_excel,
    tabs_with_quotes,
    a_table_without_header,
    lists_in_a_table,
    json_lines,
    json_mentions,
    mentions_with_attributes,
    tagged_words,
    brat_files,
    pubtator_file,
    a_folder_of_splits,
    pubtator_of_the_guide,
    json_relations_of_concepts,
    json_relations_of_both_kinds,
    bioc_in_xml,
    bioc_in_json,
    an_archive_of_ddi,
    a_folder_of_drug_labels,
    words_in_iob1_with_comments,
    words_in_bilou,
    words_from_windows,
    a_csv_from_windows,
    splits_of_which_one_is_from_windows,
    five_rows,
    two_rows,
    several_columns_of_labels,
    several_keys_of_labels,
    several_columns_of_parquet,
    questions_in_xml,
    questions_in_json,
]
