"""Data sets of the Hugging Face hub, or a local folder of parquet files, through `datasets`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heads.rows import TextRow
from mtl.problems import InputError, Problem, did_you_mean
from mtl.readers import SPLIT_NAMES, OnBadRow, Reader
from mtl.readers._columns import Columns, LabelType, MalformedError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict


class Hub(Reader):
    """`TextRow`s from the columns of a data set; an integer that stands for a class becomes the class's name.

    A local folder is read where it lies. A data set of the hub is downloaded once into the cache of `datasets`,
    from where it is read without a network.

    Args:
        path: The data set's name on the hub, `owner/name`, or a folder.
        config: The name of a configuration, where the data set has several.
        split_names: Our split (train, dev, test) -> the data set's. The default takes `validation`, `devel` and
            `valid` for dev.
        revision: A branch, tag or commit on the hub. Name a commit where results must be repeatable.
        columns: Field of the row -> column; see `mtl.readers.table.Table`.
        meta: Columns copied to `meta`.
        label_type: A label is a `text` (or a class), a finite `number`, or a `list` of names.
        label_separator: What stands between the names of a list that is a text.
        on_bad_row: See `Reader`.
    """

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
        """Where each split comes from, as `<path>/<name of the split>`: a name for messages, not a file.

        Raises:
            InputError: The data set isn't there, or has no split of that name.
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
            except MalformedError as mismatch:
                self.bad(source, number, mismatch.rule, mismatch.found)
            else:
                yield row

    def _records(self, data: Dataset | IterableDataset, source: Path) -> Iterator[Mapping[str, Any]]:
        try:
            yield from data
        except Exception as error:  # a folder is read as it is streamed, so that damage shows here
            message = f"Row by row it can't be read ({type(error).__name__})."
            raise InputError(Problem(str(source), message, "Check that its files are whole.")) from error

    def _split_names(self) -> dict[str, str]:
        there = list(self._data())
        if self.split_names is None:
            named = {split: [name for name in names if name in there] for split, names in SPLIT_NAMES.items()}
            found = {split: names[0] for split, names in named.items() if names}
            if not found:
                message = f"'{self.path}' has no train, dev or test, but {', '.join(there)}."
                raise InputError(Problem("path", message, "Name them under `split_names`."))
            return found
        problems = [
            Problem(f"split_names.{split}", f"'{self.path}' has no split '{name}'.", did_you_mean(name, there))
            for split, name in self.split_names.items()
            if name not in there
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
        # Streaming reads a local folder in place: no copy of what may be clinical text in the user's cache.
        options: dict[str, Any] = {"streaming": True} if local else {"revision": self.revision}
        try:
            return load_dataset(str(self.path), self.config, **options)
        except Exception as error:  # `datasets` has no common class for what can go wrong with a name or a network
            reason = next(iter(str(error).splitlines()), "")[:200]
            raise InputError(
                Problem(
                    "path",
                    f"The data set '{self.path}' can't be loaded: {type(error).__name__}: {reason.rstrip('.')}.",
                    "Check the name and the config; with no network, name a local folder or fill the cache before.",
                )
            ) from error


def _named(value: Any, feature: Any) -> Any:
    """A value in which the integers of classes are their names; a class of -1 is no label."""
    from datasets import ClassLabel, LargeList
    from datasets import List as ListFeature

    if isinstance(feature, ListFeature | LargeList) and isinstance(value, list):
        return [_named(item, feature.feature) for item in value]
    if not isinstance(feature, ClassLabel) or not isinstance(value, int):
        return value
    if value >= len(feature.names):
        raise MalformedError(f"A class must be one of {len(feature.names)}", str(value))
    return feature.names[value] if value >= 0 else None
