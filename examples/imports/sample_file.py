"""The lines of a file to try an import with: invented people, and one line in a thousand that is no good."""

import random
import time
from collections.abc import Iterator

#: Rows that it has, and the most that can be asked for.
ROWS = 50_000
MOST_ROWS = 1_000_000

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


def lines(rows: int) -> Iterator[str]:
    chance = random.Random(rows)  # the same file each time
    yield "name,town,born,e-mail,remark\r\n"
    for number in range(1, rows + 1):
        given, family = chance.choice(_GIVEN), chance.choice(_FAMILY)
        email = f"{given}.{family}{number}@example.org".lower() if chance.random() < 0.9 else ""
        remark = chance.choice(_REMARKS)
        line = f"{given} {family},{chance.choice(_TOWNS)},{chance.randint(1930, 2010)},{email},{remark}"
        # As it happens when a value with a comma in it was not put in quotes.
        yield f"{line}, they say\r\n" if number % 1000 == 0 else f"{line}\r\n"
        if number % 1000 == 0:
            time.sleep(0)  # a million rows take seconds: let other requests go on meanwhile
