from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heads.rows import TextRow
from mtl.problems import InputError
from mtl.readers.hub import Hub
from tests.readers import properties as has
from tests.readers.properties import Sample

COLUMNS = {"text": "question", "label": "answer"}


def store(file: Path, num_rows: int = 3) -> None:
    """A data set as `datasets` writes it, classes as integers and one row without a class."""
    from datasets import ClassLabel, Dataset, Features, List, Value

    features = Features(
        {
            "question": Value("string"),
            "answer": ClassLabel(names=["no", "yes"]),
            "topics": List(ClassLabel(names=["heart", "lung"])),
            "score": Value("float32"),
        }
    )
    columns = {
        "question": ["a", "b", "c"],
        "answer": [1, 0, -1],
        "topics": [[0, 1], [], [1]],
        "score": [0.5, 1.0, 2.0],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_dict({name: values[:num_rows] for name, values in columns.items()}, features).to_parquet(file)


def parquet() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.table({"text": ["Zaphod a", "Zaphod b", "Zaphod c"], "label": ["yes", "no", None]}), file)
    return file.getvalue()


SAMPLE = Sample(Hub, files={"train.parquet": parquet()}, rows=("yes", "no", None))


@pytest.mark.parametrize("has_property", [*has.EVERY_READER, has.assert_an_empty_file_is_an_error])
def test_property(has_property: Callable[..., None], tmp_path: Path) -> None:
    has_property(SAMPLE, tmp_path)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of `datasets` of our own, without its progress bars."""
    import datasets

    folder = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    datasets.disable_progress_bars()
    return folder


def test_a_local_folder_gives_rows_with_the_names_of_classes(tmp_path: Path) -> None:
    store(tmp_path / "data" / "train.parquet")
    rows = list(Hub(str(tmp_path / "data"), columns=COLUMNS, meta=["score"]).read("train"))
    assert rows == [
        TextRow("train-1", "train-1", "a", label="yes", meta={"score": "0.5"}),
        TextRow("train-2", "train-2", "b", label="no", meta={"score": "1.0"}),
        TextRow("train-3", "train-3", "c", label=None, meta={"score": "2.0"}),
    ]


def test_a_local_folder_is_not_copied_into_the_cache(tmp_path: Path, cache: Path) -> None:
    store(tmp_path / "data" / "train.parquet")
    assert len(list(Hub(str(tmp_path / "data"), columns=COLUMNS).read("train"))) == 3
    assert [file for file in cache.rglob("*") if file.suffix in (".arrow", ".parquet")] == []


def test_a_list_of_classes_is_a_list_of_names(tmp_path: Path) -> None:
    store(tmp_path / "data" / "train.parquet")
    columns = {"text": "question", "label": "topics"}
    rows = list(Hub(str(tmp_path / "data"), columns=columns, label_type="list").read("train"))
    assert [row.label for row in rows] == [("heart", "lung"), (), ("lung",)]


def test_a_number_stays_a_number(tmp_path: Path) -> None:
    store(tmp_path / "data" / "train.parquet")
    columns = {"text": "question", "label": "score"}
    rows = list(Hub(str(tmp_path / "data"), columns=columns, label_type="number").read("train"))
    assert [row.label for row in rows] == [0.5, 1.0, 2.0]


def test_validation_is_dev(tmp_path: Path) -> None:
    store(tmp_path / "data" / "train.parquet")
    store(tmp_path / "data" / "validation.parquet", num_rows=1)
    reader = Hub(str(tmp_path / "data"), columns=COLUMNS)
    assert {split: source.name for split, source in reader.sources().items()} == {"train": "train", "dev": "validation"}
    assert [row.id for row in reader.read("dev")] == ["dev-1"]


def test_splits_can_be_named(tmp_path: Path) -> None:
    store(tmp_path / "data" / "train.parquet")
    store(tmp_path / "data" / "test.parquet", num_rows=1)
    reader = Hub(str(tmp_path / "data"), columns=COLUMNS, split_names={"dev": "test"})
    assert list(reader.sources()) == ["dev"]
    assert [row.id for row in reader.read("dev")] == ["dev-1"]


def test_a_data_set_whose_splits_have_other_names_asks_for_them(tmp_path: Path) -> None:
    store(tmp_path / "data" / "train.parquet")
    files = "configs:\n- config_name: default\n  data_files:\n  - split: everything\n    path: train.parquet\n"
    (tmp_path / "data" / "README.md").write_text(f"---\n{files}---\n")
    with pytest.raises(InputError) as raised:
        Hub(str(tmp_path / "data"), columns=COLUMNS).sources()
    (problem,) = raised.value.problems
    assert (problem.key, "everything" in problem.message, "split_names" in problem.suggestion) == ("path", True, True)


def test_all_splits_that_are_not_there_are_named_with_those_that_are(tmp_path: Path) -> None:
    store(tmp_path / "data" / "train.parquet")
    with pytest.raises(InputError) as raised:
        Hub(str(tmp_path / "data"), split_names={"train": "trian", "dev": "dev"}).sources()
    assert [problem.key for problem in raised.value.problems] == ["split_names.train", "split_names.dev"]
    assert raised.value.problems[0].suggestion == "Did you mean 'train'? Choices: train."


def test_a_missing_column_lists_the_others(tmp_path: Path) -> None:
    store(tmp_path / "data" / "train.parquet")
    with pytest.raises(InputError, match=r"columns\.label.*Did you mean 'answer'"):
        list(Hub(str(tmp_path / "data"), columns={"text": "question", "label": "answers"}).read("train"))


def test_a_malformed_row_is_refused_and_listed_by_its_number(tmp_path: Path) -> None:
    store(tmp_path / "data" / "train.parquet")
    columns = {"text": "question", "label": "score"}
    reader = Hub(str(tmp_path / "data"), columns=columns, on_bad_row="skip")
    assert list(reader.read("train")) == []
    assert [(bad.line, bad.found) for bad in reader.bad_rows] == [(1, "a number"), (2, "a number"), (3, "a number")]


def test_files_that_do_not_fit_together_or_are_damaged_show_no_text(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other, bad = f"text,{has.CANARY}\nx,{has.CANARY}\n", f'text,label\n"{has.CANARY}\n{has.CANARY},2,3,4\n'
    folders: dict[str, dict[str, str | bytes]] = {
        "columns": {"train.parquet": parquet(), "test.csv": other, "validation.csv": "text,label\nx,y\n"},
        "csv": {"train.csv": "text,label\nx,y\n", "test.csv": bad},
        "types": {"train.csv": "text,label\nx,1\n", "test.csv": f"text,label\nx,{has.CANARY}\n"},
        "json": {"train.jsonl": '{"text": "x"}\n', "test.jsonl": f'{{"text": "{has.CANARY}\n'},
        "keys": {"train.jsonl": '{"text": "x"}\n', "test.jsonl": f'{{"text": "x", "{has.CANARY}": 1}}\n'},
        "nested": {"train.jsonl": '{"text": "x"}\n', "test.jsonl": f'{{"text": {{"a": "{has.CANARY}"}}}}\n'},
        "text": {"train.txt": f"{has.CANARY}\n"},
    }
    stopped = 0
    for name, files in folders.items():
        (tmp_path / name).mkdir()
        for file, content in files.items():
            (tmp_path / name / file).write_bytes(content if isinstance(content, bytes) else content.encode())
        for split in ("train", "test"):
            reader = Hub(str(tmp_path / name), on_bad_row="skip")
            found = []
            try:
                list(reader.read(split))
            except InputError as error:
                stopped += 1
                found = error.problems
            assert [line for line in map(str, [*found, *reader.bad_rows]) if has.CANARY.split()[0] in line] == [], name
    assert stopped
    assert [line for line in "".join(capfd.readouterr()).splitlines() if has.CANARY.split()[0] in line] == []


def test_a_class_without_a_name_is_malformed(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = tmp_path / "data" / "train.parquet"
    store(file)
    stored = pq.read_table(file)
    index = stored.schema.get_field_index("answer")
    pq.write_table(stored.set_column(index, stored.schema.field(index), pa.array([1, 0, 2])), file)
    reader = Hub(str(tmp_path / "data"), columns=COLUMNS, on_bad_row="skip")
    assert [row.label for row in reader.read("train")] == ["yes", "no"]
    assert [(bad.line, "below 2" in bad.rule, bad.found) for bad in reader.bad_rows] == [(3, True, "2")]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"path": "nobody/nothing"}, "'nobody/nothing'"),
        ({"path": "{folder}/empty"}, "doesn't contain any data files"),
        ({"path": "{folder}/data", "config": "large"}, "BuilderConfig 'large' not found"),
        ({"path": "{folder}/garbage"}, "ArrowInvalid"),
    ],
)
def test_a_data_set_that_cannot_be_loaded_is_reported_without_network_access(
    options: dict[str, Any], found: str, tmp_path: Path
) -> None:
    store(tmp_path / "data" / "train.parquet")
    (tmp_path / "empty").mkdir()
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage" / "train.parquet").write_bytes(b"garbage")
    with pytest.raises(InputError, match=found) as raised:
        Hub(**{**options, "path": options["path"].format(folder=tmp_path)}).sources()
    assert "local folder" in raised.value.problems[0].suggestion
