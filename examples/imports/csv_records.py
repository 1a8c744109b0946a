"""Reads CSV files of any quality from bytes. Uses neither the database nor the web.

A record that cannot be read is returned with its line and the reason, and reading continues with the next line.
The use of memory is bounded, whatever the file contains.
"""

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

#: Maximum size of a record in bytes. A longer one is refused, be it one line or a quote that is never closed.
LONGEST_RECORD = 1024 * 1024

#: Maximum number of columns.
MOST_COLUMNS = 1000

#: How often a line may be read again to find good lines after a bad one, as an average of the file. FEW_LINES lines
#: of one bad record may always be read again.
READ_AGAIN = 4
FEW_LINES = 10

#: Maximum number of characters of a refused record that are kept.
KEPT_TEXT = 500

_DELIMITERS = ",;\t|"
_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


class NotCSV(ValueError):
    """The file is not a CSV file. The message, for the person who sent the file, says why."""


class Header(NamedTuple):
    """The delimiter and the columns of a file."""

    delimiter: str
    columns: list[str]
    end: int  #: bytes of the file up to the first record
    lines: int  #: lines of the file up to the first record


class Record(NamedTuple):
    """One record, and the position in the file after it."""

    line: int  #: the first of its lines, counted from 1
    values: list[str]
    reason: str  #: why the record is refused; empty for a good record
    text: str  #: the beginning of a refused record
    end: int  #: bytes of the file up to the next record
    lines: int  #: lines of the file up to the next record


def read_header(beginning: bytes) -> Header:
    """Find the delimiter and the names of the columns in the first LONGEST_RECORD bytes of a file.

    Raises NotCSV if this cannot be a CSV file with a header.
    """
    if beginning.startswith(_UTF16_BOMS):
        raise NotCSV("The file is in UTF-16. Save it as UTF-8 and send it again.")
    if b"\0" in beginning:
        raise NotCSV("This is not a CSV file: it has NUL bytes, which a text file does not have.")
    bom = len(_UTF8_BOM) if beginning.startswith(_UTF8_BOM) else 0
    # The delimiter is the one that splits the header into the most columns. csv.Sniffer also looks at the values,
    # where a delimiter may be ordinary text, and its time grows with the square of the sample.
    first = {
        delimiter: next(iter(Records([beginning[bom:]], delimiter, offset=bom)), None)
        for delimiter in _DELIMITERS
    }
    delimiter = max(first, key=lambda delimiter: _count_columns(first[delimiter]))
    header = first[delimiter]
    if header is None:
        raise NotCSV("The file is empty.")
    if header.reason:
        raise NotCSV(f"This is not a CSV file: its first line cannot be read. {header.reason}")
    if not any(name.strip() for name in header.values):
        raise NotCSV("The file has no header: its first line names no column.")
    if len(header.values) > MOST_COLUMNS:
        raise NotCSV(
            f"The first line names {len(header.values):,} columns; at most {MOST_COLUMNS:,} are allowed."
        )
    return Header(delimiter, header.values, header.end, header.lines)


def _count_columns(header: Record | None) -> int:
    return len(header.values) if header and not header.reason else 0


class Records:
    """Iterates over the records of a file, good and refused. Blank lines are skipped.

    Each record has the position in the file after it, from which another process can continue.

    Parameters:
        chunks: the bytes of the file from `offset` on, in pieces of any length.
        delimiter: the character between two values.
        columns: the number of values of a good record; None for any number.
        offset, lines: the number of bytes and lines of the file before `chunks`.
    """

    def __init__(
        self,
        chunks: Iterable[bytes],
        delimiter: str,
        columns: int | None = None,
        offset: int = 0,
        lines: int = 0,
    ) -> None:
        self._columns = columns
        self._offset = offset
        self._lines = lines
        self._source = _Source(chunks)
        # Without `strict`, an unclosed quote would silently swallow all lines up to the next quote.
        self._reader = csv.reader(self._source, delimiter=delimiter, strict=True)

    def __iter__(self) -> Iterator[Record]:
        source = self._source
        while True:
            source.begin_record()
            try:
                values, reason = next(self._reader), ""
            except StopIteration:
                return
            except csv.Error as error:
                values, reason = [], _in_words(error, source.record)
                source.give_back_all_but_first()
                if len(source.record) > 1:
                    reason += f" All {len(source.record):,} lines of the record are refused."
            line = self._lines + 1
            self._lines += len(source.record)
            self._offset += source.length
            if not values and not reason:
                continue
            reason = reason or self._fault(values)
            text = _beginning(source.record) if reason else ""
            yield Record(line, values, reason, text, self._offset, self._lines)

    def _fault(self, values: list[str]) -> str:
        """Return why a record that the csv module could read is refused, or "" for a good record."""
        if self._source.no_text:
            return self._source.no_text
        if self._columns not in (None, len(values)):
            return f"{_count(len(values), 'value')} where the header names {_count(self._columns, 'column')}."
        return ""


class _Line(NamedTuple):
    data: bytes
    length: int  # more than `data` has if the line is too long to be kept whole


class _Source:
    """The iterator from which the csv module reads lines. It knows the lines of the current record.

    It is not a generator, because a generator ends when it raises an error.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.record: list[_Line] = []
        self.length = 0
        self.no_text = ""  # why the bytes of the record are not text
        self._lines = _split(chunks)
        self._given_back: deque[_Line] = deque()
        self._may_give_back = 0

    def begin_record(self) -> None:
        self.record = []
        self.length = 0
        self.no_text = ""

    def give_back_all_but_first(self) -> None:
        """Read all lines of a bad record again, except the first: they may be good records.

        READ_AGAIN limits this, because in a malicious file every line may open a quote that is not closed for a
        megabyte.
        """
        lines = len(self.record) - 1
        if lines > max(self._may_give_back, FEW_LINES):
            return
        self._may_give_back -= lines
        self._given_back.extendleft(reversed(self.record[1:]))
        del self.record[1:]
        self.length = self.record[0].length

    def __iter__(self) -> "_Source":
        return self

    def __next__(self) -> str:
        if self._given_back:
            line = self._given_back.popleft()
        else:
            line = next(self._lines)
            self._may_give_back += READ_AGAIN
        self.record.append(line)
        self.length += line.length
        if self.length > LONGEST_RECORD:
            raise csv.Error("too long")
        # A record that is not text is still read to its end, so that the next record begins at the right place.
        if b"\0" in line.data:
            self.no_text = "A NUL byte, which is not text."
        try:
            return line.data.decode()
        except UnicodeDecodeError as error:
            byte = line.data[error.start]
            self.no_text = f"Not UTF-8: byte 0x{byte:02x} at position {error.start + 1} of a line."
            return line.data.decode(errors="replace")


def _split(chunks: Iterable[bytes]) -> Iterator[_Line]:
    """Yield the lines of a file with their ends (\\n, \\r\\n or \\r), but only the beginning of an endless line."""
    rest = b""
    cut = 0  # bytes of the line in `rest` that were dropped
    for chunk in chunks:
        # The last line waits for the next chunk, even if it ends with \r, since the chunk may begin with \n.
        *lines, rest = (rest + chunk).splitlines(keepends=True) or [b""]
        for line in lines:
            yield _Line(line, len(line) + cut)
            cut = 0
        if len(rest) > LONGEST_RECORD + 1:
            # One byte more than allowed is enough, and the last byte, which may be a \r.
            kept = rest[:LONGEST_RECORD] + rest[-1:]
            cut += len(rest) - len(kept)
            rest = kept
    if rest:
        yield _Line(rest, len(rest) + cut)


def _in_words(error: csv.Error, record: list[_Line]) -> str:
    if record[0].length > LONGEST_RECORD:
        return f"A line of more than {LONGEST_RECORD:,} bytes."
    if len(record) > 1 or str(error) == "unexpected end of data":
        return "A quote is opened and not closed."
    if "expected after" in str(error):
        return "Text follows a closing quote."
    if "field limit" in str(error):
        return f"A value of more than {csv.field_size_limit():,} characters."
    return f"Not readable as CSV: {error}."


def _beginning(record: list[_Line]) -> str:
    # A character has at most 4 bytes in UTF-8.
    data = b"".join(line.data[: 4 * KEPT_TEXT] for line in record[:KEPT_TEXT])[: 4 * KEPT_TEXT]
    return data.decode(errors="replace").rstrip("\r\n").replace("\0", "\ufffd")[:KEPT_TEXT]


def _count(number: int | None, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
