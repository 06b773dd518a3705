"""Data sets of the Hugging Face hub, or local folders of parquet files, read with `datasets`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heads.rows import TextRow
from mtl.problems import InputError, Problem, did_you_mean
from mtl.readers import SPLIT_NAMES, OnBadRow, Reader
from mtl.readers._columns import Columns, LabelType, MalformedError
from mtl.redaction import reason

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict


class Hub(Reader):
    """`TextRow`s from the columns of a data set; class indices are replaced by the names of the classes.

    Local folders are read in place. Data sets of the hub are downloaded once to the cache of `datasets` and then read
    without network access.

    Args:
        path: Name of the data set on the hub, `owner/name`, or a folder.
        config: Name of the configuration, if the data set has several.
        split_names: Split of a task (train, dev, test) -> split of the data set. By default, `validation`, `devel` and
            `valid` are also accepted for dev.
        revision: Branch, tag or commit on the hub. Set a commit if results must be reproducible.
        columns: Field of the row -> column; see `mtl.readers.table.Table`.
        meta: Columns copied to `meta`.
        label_type: Type of the labels: `text` (or classes), finite `number`, or `list` of names.
        label_separator: Separator of the names in a list that is written as one string.
        on_bad_row: See `Reader`.
    """

    other_names = ("huggingface", "hf", "datasets", "huggingface_hub")

    def __init__(
        self,
        path: str,
        *,
        config: str | None = None,
        split_names: Mapping[str, str] | None = None,
        revision: str | None = None,
        columns: Mapping[str, str] | None = None,
        meta: Sequence[str] = (),
        label_type: LabelType = "text",
        label_separator: str = ",",
        on_bad_row: OnBadRow = "error",
    ) -> None:
        super().__init__(path, on_bad_row=on_bad_row)
        self.config = config
        self.split_names = split_names
        self.revision = revision
        self.columns = Columns(columns or {}, meta, label_type, label_separator)
        self._loaded: DatasetDict | IterableDatasetDict | None = None

    def sources(self) -> dict[str, Path]:
        """The source of each split as `<path>/<name of the split>`, which is a name for errors and not a file.

        Raises:
            InputError: The data set cannot be loaded, or does not have one of the splits.
        """
        return {split: self.path / name for split, name in self._split_names().items()}

    def rows(self, source: Path, split: str) -> Iterator[TextRow]:
        data = self._data()[source.name]
        features: Mapping[str, Any] = data.features or {}
        columns = self.columns.within(list(features), str(source))
        records = self._records(data.select_columns(columns.used()), source)
        for number, record in enumerate(records, start=1):
            try:
                cells = {name: _named(value, features[name]) for name, value in record.items()}
                row = columns.row(cells, default_id=f"{split}-{number}")
            except MalformedError as error:
                self.bad(source, number, error.rule, error.found)
            else:
                yield row

    def _records(self, data: Dataset | IterableDataset, source: Path) -> Iterator[Mapping[str, Any]]:
        try:
            yield from data
        except Exception as error:  # streaming reads a folder only here, so this is where damage is detected
            message = f"The rows cannot be read ({type(error).__name__})."
            raise InputError(Problem(str(source), message, "Check that the files are intact.")) from error

    def _split_names(self) -> dict[str, str]:
        available = list(self._data())
        if self.split_names is None:
            named = {split: [name for name in names if name in available] for split, names in SPLIT_NAMES.items()}
            found = {split: names[0] for split, names in named.items() if names}
            if not found:
                message = f"'{self.path}' has no train, dev or test, only {', '.join(available)}."
                raise InputError(Problem("path", message, "List the splits to use under `split_names`."))
            return found
        problems = [
            Problem(f"split_names.{split}", f"'{self.path}' has no split '{name}'.", did_you_mean(name, available))
            for split, name in self.split_names.items()
            if name not in available
        ]
        if problems:
            raise InputError(problems)
        return dict(self.split_names)

    def _data(self) -> DatasetDict | IterableDatasetDict:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def _load(self) -> DatasetDict | IterableDatasetDict:
        from datasets import load_dataset

        local = self.path.is_dir()
        # Streaming reads local folders in place, so that clinical text is not copied to the user's cache.
        options: dict[str, Any] = {"streaming": True} if local else {"revision": self.revision}
        try:
            return load_dataset(str(self.path), self.config, **options)
        except Exception as error:  # `datasets` has no common error class for wrong names and network problems
            why = reason(error)[:200].rstrip(".")
            raise InputError(
                Problem(
                    "path",
                    f"The data set '{self.path}' cannot be loaded: {type(error).__name__}: {why}.",
                    "Check the name and the config. Without network access, use a local folder or a cached data set.",
                )
            ) from error


def _named(value: Any, feature: Any) -> Any:
    """A value with class indices replaced by the names of the classes; -1 means no label."""
    from datasets import ClassLabel, LargeList
    from datasets import List as ListFeature

    if isinstance(feature, ListFeature | LargeList) and isinstance(value, list):
        return [_named(item, feature.feature) for item in value]
    if not isinstance(feature, ClassLabel) or not isinstance(value, int):
        return value
    if value >= len(feature.names):
        raise MalformedError(f"a class index must be below {len(feature.names)}", str(value))
    return feature.names[value] if value >= 0 else None
