"""Compares names by their appearance, and refuses invisible characters. Uses neither the database nor the web.

Follows PRECIS usernames (RFC 8265): a name is kept as it was typed, and compared without regard to case and to
invisible differences. Letters of different scripts are different, even if they look alike.
"""

import re
import unicodedata

#: Invisible characters that `str.isprintable` accepts: Unicode's Default_Ignorable_Code_Point, the braille pattern
#: blank, and two other blank characters.
_INVISIBLE = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    r"\U00016fe4\U0001d159\U000e0000-\U000e0fff]"
)


def composed(name: str) -> str:
    """Return the name as it is stored: in Unicode's form NFC, without surrounding spaces."""
    return unicodedata.normalize("NFC", name).strip()


def is_visible(name: str) -> bool:
    return name.isprintable() and not _INVISIBLE.search(name)


def folded(name: str) -> str:
    """Return a form that is equal for names that look the same (Unicode's NFKC_Casefold, with single spaces)."""
    for _ in range(
        2
    ):  # case folding can produce characters to compose, and composing characters to fold
        name = unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", name).casefold())
    return " ".join(name.split())
