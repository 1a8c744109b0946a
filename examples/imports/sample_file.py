"""The content of a sample file: invented people, and one bad line in a thousand."""

import random
import threading
import time
from collections.abc import Iterator

#: Default and maximum number of rows.
ROWS = 50_000
MOST_ROWS = 1_000_000

#: Number of rows that are generated once. The file repeats them, with another number in each mail address.
_BLOCK = 1000

#: Seconds between two blocks of all downloads of a process together, so that many downloads do not block the process.
_PAUSE = 0.001
_turn = threading.Lock()

_GIVEN = ["Ada", "Björn", "Chiara", "Dilek", "Emeka", "Fatou", "Grace", "Hiro", "Inés", "Jun"]
_FAMILY = ["Adeyemi", "Bianchi", "Costa", "Demir", "Eriksen", "Fischer", "Gupta", "Haas", "Ito"]
_TOWNS = ["Bergen", "Coimbra", "Dakar", "Esbjerg", "Fukuoka", "Graz", "Izmir", "Lagos", "Pune"]
_REMARKS = [
    "",
    "",
    "",
    "likes tea",
    '"tea, no sugar"',
    '"says ""hello"""',
    '"wrote:\r\nback on Monday"',
]


#: The placeholder for the number of the block.
_NUMBER = b"#"


def content(rows: int) -> Iterator[bytes]:
    """Yield the file block by block. The content is always the same."""
    yield b"name,town,born,e-mail,remark\r\n"
    whole = b"".join(_ROWS)
    for number in range(-(-rows // _BLOCK)):
        with _turn:
            time.sleep(_PAUSE)
        rest = rows - number * _BLOCK
        block = whole if rest >= _BLOCK else b"".join(_ROWS[:rest])
        yield block.replace(_NUMBER, b"%d" % number)


def _make_rows() -> Iterator[bytes]:
    chance = random.Random(_BLOCK)
    for number in range(1, _BLOCK + 1):
        given, family = chance.choice(_GIVEN), chance.choice(_FAMILY)
        email = f"{given}.{family}#{number:04}@example.org".lower() if chance.random() < 0.9 else ""
        remark = chance.choice(_REMARKS)
        line = f"{given} {family},{chance.choice(_TOWNS)},{chance.randint(1930, 2010)},{email},{remark}"
        # The bad line: a value with a comma, but without quotes.
        yield f"{line}, they say\r\n".encode() if number == _BLOCK else f"{line}\r\n".encode()


_ROWS = list(_make_rows())
