"""What every fault answers with, and nothing that does one."""

from collections.abc import Callable
from typing import NamedTuple

from tests.chaos.plan import Fault
from tests.chaos.system.whole import System


class Damage(NamedTuple):
    """What was done, in words, and what it may have destroyed (see Blow)."""

    text: str
    forgotten: frozenset[str] = frozenset()
    lost_messages: bool = False


Strike = Callable[[System, Fault], Damage]
