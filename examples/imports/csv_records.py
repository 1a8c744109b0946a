"""Reads a CSV file of any quality from its bytes. Knows neither a database nor the web.

What cannot be read is told with its line and the reason, and reading goes on with the next line. Memory
stays flat whatever the file holds.
"""

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

#: Bytes of the longest record. A longer one is refused, be it one line or a quote that is never closed.
LONGEST_RECORD = 1024 * 1024

#: The most columns that a header may name.
MOST_COLUMNS = 1000

#: How often a line is read anew, on average of the file, to find the good ones among bad ones. So many lines
#: at once always are.
READ_AGAIN = 4
FEW_LINES = 10

#: Characters of a refused record that are kept.
KEPT_TEXT = 500

_DELIMITERS = ",;\t|"
_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


class NotCSV(ValueError):
    """The file as a whole is no CSV file; the message says why, to the person who sent it."""


class Header(NamedTuple):
    """What the beginning of a file says about the rest of it."""

    delimiter: str
    columns: list[str]
    end: int  #: bytes of the file up to the first record
    lines: int  #: lines up to there


class Record(NamedTuple):
    """One record, and where the file goes on after it."""

    line: int  #: the first of its lines, counted from 1
    values: list[str]
    reason: str  #: why it is refused; empty for a good one
    text: str  #: how a refused one begins
    end: int  #: bytes of the file up to the next record
    lines: int  #: lines up to there


def read_header(beginning: bytes) -> Header:
    """Find the delimiter and the columns' names in the first bytes of a file, LONGEST_RECORD of them.

    Raises NotCSV for what cannot be a CSV file with a header.
    """
    if beginning.startswith(_UTF16_BOMS):
        raise NotCSV("The file is in UTF-16. Save it as UTF-8 and send it again.")
    if b"\0" in beginning:
        raise NotCSV("This is no CSV file: it has bytes in it that no text has.")
    bom = len(_UTF8_BOM) if beginning.startswith(_UTF8_BOM) else 0
    # The delimiter is the one that splits the header into the most columns. csv.Sniffer also looks at the
    # values, in which any of them may stand for itself, and its time grows with the square of the sample.
    first = {
        delimiter: next(iter(Records([beginning[bom:]], delimiter, offset=bom)), None)
        for delimiter in _DELIMITERS
    }
    delimiter = max(first, key=lambda delimiter: _count_columns(first[delimiter]))
    header = first[delimiter]
    if header is None:
        raise NotCSV("The file is empty.")
    if header.reason:
        raise NotCSV(f"This is no CSV file: its first line cannot be read. {header.reason}")
    if not any(name.strip() for name in header.values):
        raise NotCSV("The file has no header: its first line names no column.")
    if len(header.values) > MOST_COLUMNS:
        raise NotCSV(
            f"The first line names {len(header.values):,} columns, at most {MOST_COLUMNS:,} can be."
        )
    return Header(delimiter, header.values, header.end, header.lines)


def _count_columns(header: Record | None) -> int:
    return len(header.values) if header and not header.reason else 0


class Records:
    """The records of a file, good and refused. A blank line holds none and is passed over.

    Each says where the file goes on after it: from that offset and line, another process can read on.

    Parameters:
        chunks: the bytes of the file from `offset` on, in pieces of any length.
        delimiter: the character between two values.
        columns: how many values a good record has; None for any number.
        offset, lines: how many bytes and lines of the file come before `chunks`.
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
        # strict: without it a quote that is not closed swallows all lines up to the next quote, unnoticed.
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
                    reason += f" It takes {len(source.record):,} lines with it."
            line = self._lines + 1
            self._lines += len(source.record)
            self._offset += source.length
            if not values and not reason:
                continue
            reason = reason or self._fault(values)
            text = _beginning(source.record) if reason else ""
            yield Record(line, values, reason, text, self._offset, self._lines)

    def _fault(self, values: list[str]) -> str:
        """Why a record that the csv module could read is refused all the same; empty for a good one."""
        if self._source.no_text:
            return self._source.no_text
        if self._columns not in (None, len(values)):
            return f"{_count(len(values), 'value')} where the header names {_count(self._columns, 'column')}."
        return ""


class _Line(NamedTuple):
    data: bytes
    length: int  # more than `data` has if the line is too long to be kept whole


class _Source:
    """What the csv module reads lines from: knows which lines the present record is made of.

    An iterator and no generator, which would be at its end once an error has passed through it.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.record: list[_Line] = []
        self.length = 0
        self.no_text = ""  # why its bytes are no text
        self._lines = _split(chunks)
        self._given_back: deque[_Line] = deque()
        self._may_give_back = 0

    def begin_record(self) -> None:
        self.record = []
        self.length = 0
        self.no_text = ""

    def give_back_all_but_first(self) -> None:
        """Of a record that cannot be read only its first line is lost: the others may be good ones.

        But a file can be made so that every line opens a quote which is not closed for a megabyte.
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
        # A record of bytes that are no text is read to its end too: what follows begins where it should.
        if b"\0" in line.data:
            self.no_text = "A NUL byte, which no text has."
        try:
            return line.data.decode()
        except UnicodeDecodeError as error:
            byte = line.data[error.start]
            self.no_text = f"Not UTF-8: byte 0x{byte:02x} at position {error.start + 1} of a line."
            return line.data.decode(errors="replace")


def _split(chunks: Iterable[bytes]) -> Iterator[_Line]:
    """The lines of a file with their ends, which are \\n, \\r\\n or \\r. Of an endless one only the beginning."""
    rest = b""
    cut = 0  # bytes of the line in `rest` that were let go
    for chunk in chunks:
        # The last line waits for the next chunk: even one that ends in \r, which may bring its \n.
        *lines, rest = (rest + chunk).splitlines(keepends=True) or [b""]
        for line in lines:
            yield _Line(line, len(line) + cut)
            cut = 0
        if len(rest) > LONGEST_RECORD + 1:
            # One byte more than allowed and the last, which may be a \r, are enough.
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
    # UTF-8 has at most 4 bytes a character.
    data = b"".join(line.data[: 4 * KEPT_TEXT] for line in record[:KEPT_TEXT])[: 4 * KEPT_TEXT]
    return data.decode(errors="replace").rstrip("\r\n").replace("\0", "\ufffd")[:KEPT_TEXT]


def _count(number: int | None, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
