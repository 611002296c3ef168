"""A log as a flat table: a row for each face or each frame, as CSV or Parquet."""

import contextlib
import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from streamer.errors import ConfigError, OutputError
from streamer.log.files import appearing
from streamer.log.flat import FACE_COLUMNS, FRAME_COLUMNS, Kind, decode_frame, face_rows, frame_row
from streamer.log.reading import chosen, selected
from streamer.log.times import Span

if TYPE_CHECKING:
    import pyarrow as pa

_ROW_GROUP = 20_000  # rows that are in memory
Row = list[Any]


class Sheet(Protocol):
    """Takes rows. Raises OSError."""

    def add(self, row: Row) -> None: ...


def export_log(
    where: Path, wanted: tuple[str, ...], span: Span, target: Path, *, of_frames: bool = False, force: bool = False
) -> int:
    """Write the table of the streams `wanted`, or of all; how many rows it has.

    Raises ConfigError, LogError, and OutputError if it cannot be written.
    """
    columns = FRAME_COLUMNS if of_frames else FACE_COLUMNS
    sheet = {".csv": _csv, ".parquet": _parquet}.get(target.suffix.lower())
    if sheet is None:
        raise ConfigError(f"{target}: what kind of file is that?", "choose a name that ends in .csv or .parquet")
    count = 0
    with appearing(target, force) as part, sheet(part, columns) as open_sheet:
        for _, frame in selected(chosen(where, wanted, span), wanted, span, decode_frame):
            if frame.type != "frame":
                continue
            for row in [frame_row(frame)] if of_frames else face_rows(frame):
                open_sheet.add(row)
                count += 1
    return count


class _CsvSheet:
    def __init__(self, write: Callable[[Row], object], columns: dict[str, Kind]) -> None:
        self._write = write
        self._times = [n for n, kind in enumerate(columns.values()) if kind == "time"]

    def add(self, row: Row) -> None:
        for n in self._times:
            row[n] = row[n].isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._write(row)


@contextlib.contextmanager
def _csv(path: Path, columns: dict[str, Kind]) -> Iterator[Sheet]:
    """As RFC 4180 has it; what is not known is empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        yield _CsvSheet(writer.writerow, columns)


class _ParquetSheet:
    def __init__(self, schema: "pa.Schema", write: Callable[["pa.RecordBatch"], None]) -> None:
        self._schema, self._write = schema, write
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) >= _ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        import pyarrow as pa

        columns = zip(*self._rows, strict=True)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, self._schema, strict=True)]
        self._write(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._rows.clear()


@contextlib.contextmanager
def _parquet(path: Path, columns: dict[str, Kind]) -> Iterator[Sheet]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise OutputError(
            "Parquet files need pyarrow, which is not installed",
            "pip install 'facestreamer[parquet]', or export to .csv",
        ) from None
    types = {
        "text": pa.string(),
        "name": pa.dictionary(pa.int32(), pa.string()),
        "integer": pa.int64(),
        "number": pa.float64(),
        "time": pa.timestamp("ms", tz="UTC"),
    }
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        sheet = _ParquetSheet(schema, writer.write_batch)
        yield sheet
        sheet.flush()
