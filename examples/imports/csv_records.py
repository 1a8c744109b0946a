"""Reads CSV files of any quality from bytes. Uses neither the database nor the web.

A record that cannot be read is returned with its line and the reason, and reading continues with the next line.
The use of memory is bounded, whatever the file contains.

Lines are read by the block, which is what makes an import fast. From the first unusual record on, a block is read with
care: record by record, knowing the lines of each.
"""

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
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

#: Number of bytes whose lines are read at once: a thousand rows of usual length.
_AT_ONCE = 64 * 1024

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


class Refused(NamedTuple):
    """A record that is not a row."""

    line: int  #: the first of its lines, counted from 1
    reason: str
    text: str  #: its beginning


class Block(NamedTuple):
    """Records that follow each other, and the position in the file after them."""

    rows: list[tuple[int, list[str]]]  #: of each good record, the first of its lines and its values
    refused: list[Refused]
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
        delimiter: Records([beginning[bom:]], delimiter, offset=bom).read_one()
        for delimiter in _DELIMITERS
    }
    delimiter = max(first, key=lambda delimiter: _count_columns(first[delimiter]))
    header = first[delimiter]
    if header is None:
        raise NotCSV("The file is empty.")
    if header.refused:
        reason = header.refused[0].reason
        raise NotCSV(f"This is not a CSV file: its first line cannot be read. {reason}")
    [(_, columns)] = header.rows
    if not any(name.strip() for name in columns):
        raise NotCSV("The file has no header: its first line names no column.")
    if len(columns) > MOST_COLUMNS:
        raise NotCSV(
            f"The first line names {len(columns):,} columns; at most {MOST_COLUMNS:,} are allowed."
        )
    return Header(delimiter, columns, header.end, header.lines)


def _count_columns(header: Block | None) -> int:
    return len(header.rows[0][1]) if header and header.rows else 0


class Records:
    """Iterates over the records of a file, good and refused, in blocks. Blank lines are skipped.

    Another process can continue after any block.

    Parameters:
        chunks: the bytes of the file from `offset` on, in pieces of any length.
        delimiter: the character between two values.
        columns: the number of values of a good record. None, for any number, is for `read_one`.
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
        self._read = partial(csv.reader, delimiter=delimiter, strict=True)
        self._reader = self._read(self._source)

    def __iter__(self) -> Iterator[Block]:
        while True:
            block = self._read_at_once(self._source.new_lines()) or self._read_with_care()
            if block is None:
                return
            if block.rows or block.refused:
                yield block

    def read_one(self) -> Block | None:
        """Return the next record as a block of its own, or None at the end of the file."""
        while (block := self._read_with_care()) and not (block.rows or block.refused):
            pass
        return block

    def _read_at_once(self, lines: list[bytes]) -> Block | None:
        """Read these lines up to a record that needs care, or that ends in lines to come."""
        data = b"".join(lines)
        if len(data) > LONGEST_RECORD or b"\0" in data:
            return None
        try:
            text = list(map(bytes.decode, lines))
        except UnicodeDecodeError:
            return None
        rows: list[tuple[int, list[str]]] = []
        refused: list[Refused] = []
        columns, before, read = self._columns, self._lines, 0
        reader = self._read(text)
        with suppress(csv.Error):
            for values in reader:
                if len(values) == columns:
                    rows.append((before + read + 1, values))
                elif values:
                    text_of_it = _beginning(lines[read : reader.line_num])
                    refused.append(Refused(before + read + 1, self._miscount(values), text_of_it))
                read = reader.line_num
        if not read:
            return None
        self._source.take(read)
        self._lines += read
        self._offset += sum(map(len, lines[:read]))
        return Block(rows, refused, self._offset, self._lines)

    def _read_with_care(self) -> Block | None:
        """Read one record, or a blank line. Returns None at the end of the file."""
        source = self._source
        source.begin_record()
        reason = ""
        try:
            values = next(self._reader)
        except StopIteration:
            return None
        except csv.Error as error:
            values, reason = [], _in_words(error, source.record)
            source.give_back_all_but_first()
            if len(source.record) > 1:
                reason += f" All {len(source.record):,} lines of the record are refused."
        line = self._lines + 1
        self._lines += len(source.record)
        self._offset += source.length
        rows, refused = [], []
        if values:
            reason = source.no_text or self._miscount(values)
        if reason:
            text = _beginning([line.data for line in source.record])
            refused = [Refused(line, reason, text)]
        elif values:
            rows = [(line, values)]
        return Block(rows, refused, self._offset, self._lines)

    def _miscount(self, values: list[str]) -> str:
        """Return why a record with these values is refused, or "" if it has the right number of them."""
        if self._columns in (None, len(values)):
            return ""
        return f"{_count(len(values), 'value')} where the header names {_count(self._columns, 'column')}."


class _Line(NamedTuple):
    data: bytes
    length: int  # more than `data` has if the line is too long to be kept whole


class _Source:
    """The lines of a file. Also the iterator from which the csv module reads a record with care, whose lines it keeps.

    It is not a generator, because a generator ends when it raises an error.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.record: list[_Line] = []
        self.length = 0
        self.no_text = ""  # why the bytes of the record are not text
        self._blocks = _split(chunks)
        self._block: list[bytes] = []
        self._cut = 0  # missing bytes of the first line in the block
        self._taken = 0  # lines of the block
        self._is_new = False
        self._given_back: deque[_Line] = deque()
        self._may_give_back = 0

    def new_lines(self) -> list[bytes]:
        """Return the next lines, but each only once. An empty list stands for a record that is to be read with care."""
        if self._given_back or not self._has_line() or not self._is_new:
            return []
        self._is_new = False
        return self._block[self._taken :]

    def take(self, lines: int) -> None:
        """Take the first of the lines that `new_lines` has returned: they have been read."""
        self._taken += lines
        self._may_give_back += lines * READ_AGAIN

    def _has_line(self) -> bool:
        if self._taken == len(self._block):
            self._block, self._cut = next(self._blocks, ([], 0))
            self._taken, self._is_new = 0, True
        return bool(self._block)

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
        elif self._has_line():
            data = self._block[self._taken]
            line = _Line(data, len(data) + (0 if self._taken else self._cut))
            self.take(1)
        else:
            raise StopIteration
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


def _split(chunks: Iterable[bytes]) -> Iterator[tuple[list[bytes], int]]:
    """Yield the lines of a file with their ends (\\n, \\r\\n or \\r), in blocks. Of an endless line: its beginning.

    The number is how many bytes are missing in the first line of the block.
    """
    rest = b""
    cut = 0  # bytes of the line in `rest` that were dropped
    slices = (chunk[i : i + _AT_ONCE] for chunk in chunks for i in range(0, len(chunk), _AT_ONCE))
    for data in slices:
        # The last line waits for the next bytes, even if it ends with \r, since they may begin with \n.
        *lines, rest = (rest + data).splitlines(keepends=True)
        if lines:
            yield lines, cut
            cut = 0
        if len(rest) > LONGEST_RECORD + 1:
            # One byte more than allowed is enough, and the last byte, which may be a \r.
            kept = rest[:LONGEST_RECORD] + rest[-1:]
            cut += len(rest) - len(kept)
            rest = kept
    if rest:
        yield [rest], cut


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


def _beginning(record: list[bytes]) -> str:
    # A character has at most 4 bytes in UTF-8.
    data = b"".join(line[: 4 * KEPT_TEXT] for line in record[:KEPT_TEXT])[: 4 * KEPT_TEXT]
    return data.decode(errors="replace").rstrip("\r\n").replace("\0", "\ufffd")[:KEPT_TEXT]


def _count(number: int | None, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
