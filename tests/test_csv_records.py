"""Reading CSV: what is a row, what is refused and why, and that reading can be taken up anywhere."""

import csv
import io
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from examples.imports.csv_records import (
    LONGEST_RECORD,
    MOST_COLUMNS,
    Block,
    NotCSV,
    Records,
    Refused,
    read_header,
)


def read(data: bytes, piece: int = LONGEST_RECORD) -> list[Block]:
    header = read_header(data[:LONGEST_RECORD])
    rest = data[header.end :]
    pieces = (rest[start : start + piece] for start in range(0, len(rest), piece))
    return list(Records(pieces, header.delimiter, len(header.columns), header.end, header.lines))


def records(blocks: list[Block]) -> list[tuple[int, list[str] | str]]:
    """What a person is told about each record: its line, and its values or why it is refused."""
    good = [row for block in blocks for row in block.rows]
    return sorted([*good, *((line, reason) for line, reason, _ in refused(blocks))])


def refused(blocks: list[Block]) -> list[Refused]:
    return [record for block in blocks for record in block.refused]


def one_by_one(data: bytes) -> Iterator[Block]:
    header = read_header(data)
    rest = [data[header.end :]]
    reader = Records(rest, header.delimiter, len(header.columns), header.end, header.lines)
    while block := reader.read_one():
        yield block


def told(data: bytes) -> list[tuple[int, list[str] | str]]:
    return records(read(data))


@pytest.mark.parametrize(
    ("data", "delimiter", "columns"),
    [
        (b"a,b\n", ",", ["a", "b"]),
        (b"a;b\n1,5;2,5\n", ";", ["a", "b"]),
        (b"a\tb\n1,2\t3;4\n", "\t", ["a", "b"]),
        (b"a|b\n", "|", ["a", "b"]),
        (b"only one\n", ",", ["only one"]),
        (b'"a;b;c",d\n', ",", ["a;b;c", "d"]),
        (b'\xef\xbb\xbf"a",b\n', ",", ["a", "b"]),
        (b"\n\na,b\n", ",", ["a", "b"]),
        (b'"two\nlines",b\n', ",", ["two\nlines", "b"]),
        (b"twice,twice,\n", ",", ["twice", "twice", ""]),
        (b"a,b", ",", ["a", "b"]),
    ],
)
def test_the_header_tells_the_delimiter_and_the_columns(
    data: bytes, delimiter: str, columns: list[str]
) -> None:
    header = read_header(data)
    assert (header.delimiter, header.columns) == (delimiter, columns)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"\n \n"[:1], "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not a CSV"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        ("naïve,b\n".encode("latin-1"), "cannot be read"),
        (b'"a\n', "A quote is opened and not closed"),
        (b",,\n1,2,3\n", "no header"),
        (b"a" + b"," * MOST_COLUMNS + b"\n", "1,001 columns"),
        (b"x" * LONGEST_RECORD + b"x", "cannot be read"),
    ],
)
def test_what_is_no_csv_is_refused_as_a_whole_and_says_why(data: bytes, why: str) -> None:
    with pytest.raises(NotCSV, match=why):
        read_header(data)


def test_rows_are_counted_by_the_line_they_begin_in() -> None:
    assert told(b'a,b\r\n1,2\r\n\r\n"3\r\nand",4\r\n5,6') == [
        (2, ["1", "2"]),
        (4, ["3\r\nand", "4"]),
        (6, ["5", "6"]),
    ]


def test_a_carriage_return_alone_ends_a_line_too() -> None:
    assert told(b"a,b\r1,2\r3,4\r") == [(2, ["1", "2"]), (3, ["3", "4"])]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1", "1 value where the header names 2 columns."),
        (b"1,2,3", "3 values where the header names 2 columns."),
        (b"caf\xe9,2", "Not UTF-8: byte 0xe9 at position 4 of a line."),
        (b'"1"x,2', "Text follows a closing quote."),
        (b'"1,2', "A quote is opened and not closed."),
        (b"x" * 200_000 + b",2", "A value of more than 131,072 characters."),
        (b"x" * 3_000_000 + b",2", "A line of more than 1,048,576 bytes."),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_line_that_cannot_be_read_is_refused_with_its_reason_and_the_next_is_read(
    line: bytes, reason: str, end: bytes
) -> None:
    data = end.join([b"a,b", b"1,2", line, b"3,4", b"5,6"])
    assert told(data) == [(2, ["1", "2"]), (3, reason), (4, ["3", "4"]), (5, ["5", "6"])]
    assert told(end.join([b"a,b", line])) == [(2, reason)]


def test_a_row_that_is_refused_within_quotes_ends_where_its_quotes_do() -> None:
    assert told(b'a,b\n"\xff\n1,2\n",3\n4,5\n') == [
        (2, "Not UTF-8: byte 0xff at position 2 of a line."),
        (5, ["4", "5"]),
    ]


def test_a_nul_byte_where_no_one_would_look_for_it_costs_its_line_alone() -> None:
    rows = LONGEST_RECORD // 4
    blocks = read(b"a,b\n" + b"1,2\n" * rows + b"1\0,2\n" + b"3,4\n")
    reason = "A NUL byte, which is not text."
    assert refused(blocks) == [Refused(rows + 2, reason, "1\ufffd,2")]
    assert records(blocks)[-1] == (rows + 3, ["3", "4"])


def test_a_refused_line_is_kept_as_it_begins() -> None:
    (record,) = refused(read(b"a,b\n" + b"\xff" + b"x" * 2000))
    assert record.text == "\ufffd" + "x" * 499


lines = st.lists(
    st.sampled_from(
        [b"1,2", b"1", b'"q\n', b'"a","b"', b'"', b"\xff,1", b"", b"\r", b"\n", b",", b'x"y,z']
    ),
    max_size=10,
)


@given(lines.map(b"\n".join), st.integers(1, 7), st.data())
@example(b'1,2\n"a\n3,4', 1, None)
def test_reading_goes_on_after_any_record_as_if_it_had_never_stopped(
    body: bytes, piece: int, data: st.DataObject | None
) -> None:
    file = b"a,b\n" + body
    whole = told(file)
    blocks = read(file, piece)
    assert records(blocks) == whole  # however the file is cut into pieces
    assert records(list(one_by_one(file))) == whole  # and however many are read at once
    for number, block in (
        enumerate(blocks, start=1)
        if data is None or len(blocks) < 5
        else [data.draw(st.sampled_from(list(enumerate(blocks, start=1))))]
    ):
        again = Records([file[block.end :]], ",", 2, block.end, block.lines)
        assert records([*blocks[:number], *again]) == whole


@given(st.binary())
def test_no_bytes_whatever_are_more_than_refused(file: bytes) -> None:
    try:
        blocks = read(file)
    except NotCSV:
        return
    ends = [block.end for block in blocks]
    assert ends == sorted(set(ends))
    assert not ends or ends[-1] <= len(file)


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(st.lists(st.tuples(cells, cells), max_size=5), st.sampled_from(",;\t|"))
def test_what_pythons_csv_module_writes_is_read_back_to_the_last_character(
    rows: list[tuple[str, str]], delimiter: str
) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter).writerows([("a", "b"), *rows])
    told_of = told(file.getvalue().encode())
    assert [tuple(values) for _, values in told_of] == rows


def test_a_quote_that_is_never_closed_costs_its_line_alone_in_a_long_file() -> None:
    blocks = read(b"a,b\n" + b"1,2\n" * 100 + b'1,"2\n' + b"1,2\n" * 100_000)
    assert [record.line for record in refused(blocks)] == [102]
    assert len(records(blocks)) == 100_101


def test_a_file_made_to_be_read_again_and_again_is_not() -> None:
    # Every line opens a quote, and closes it for whoever comes from above: no record of it ever ends.
    blocks = list(Records([b'x","y\n' * 200_000] * 2, ",", 2))
    assert len(records(blocks)) < 50
    assert any("lines of the record" in record.reason for record in refused(blocks))


@pytest.mark.parametrize("start", [b"", b'"'], ids=["line", "quote"])
def test_memory_stays_flat_for_a_line_or_a_quote_that_has_no_end(start: bytes) -> None:
    def endless() -> Iterator[bytes]:
        yield start
        yield from ((b"x" * 10_000 + b"\n" * len(start)) * 100 for _ in range(50))

    tracemalloc.start()
    lines = sum(len(block.refused) for block in Records(endless(), ",", 2))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert lines == (5000 if start else 1)
    assert peak < 8 * LONGEST_RECORD
