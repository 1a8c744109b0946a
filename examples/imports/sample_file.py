"""The content of a file to try an import with: invented people, and one line in a thousand that is no good."""

import random
import threading
import time
from collections.abc import Iterator

#: Rows that it has, and the most that can be asked for.
ROWS = 50_000
MOST_ROWS = 1_000_000

#: Rows that are made once, and are then the whole file again and again but for the number in an address.
_BLOCK = 1000

#: Seconds between two blocks, of all downloads of a process together: else many at once would hold up the rest.
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


#: What stands in a block for its number.
_NUMBER = b"#"


def content(rows: int) -> Iterator[bytes]:
    """The same each time, a block at a time."""
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
        # As it happens when a value with a comma in it was not put in quotes.
        yield f"{line}, they say\r\n".encode() if number == _BLOCK else f"{line}\r\n".encode()


_ROWS = list(_make_rows())
