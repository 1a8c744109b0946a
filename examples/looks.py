"""What a name looks like: whether all of it can be seen, and by what it is compared. Knows no database and no web.

The idea is that of PRECIS usernames (RFC 8265): a name is kept as it was typed, and compared without its case and
without differences that nobody sees. Letters of two scripts that look alike are two letters here.
"""

import re
import unicodedata

#: What Python takes for printable although nothing is printed: Unicode's Default_Ignorable_Code_Point, the cell
#: of braille without a dot, and two more that stand for nothing.
_INVISIBLE = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    r"\U00016fe4\U0001d159\U000e0000-\U000e0fff]"
)


def composed(name: str) -> str:
    """As it is to be kept: in Unicode's form NFC, without the spaces around it."""
    return unicodedata.normalize("NFC", name).strip()


def is_visible(name: str) -> bool:
    return name.isprintable() and not _INVISIBLE.search(name)


def folded(name: str) -> str:
    """The same for all names that look the same (Unicode's NFKC_Casefold, and one space for many)."""
    for _ in range(2):  # folding the case can make what is to be composed, and the reverse
        name = unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", name).casefold())
    return " ".join(name.split())
