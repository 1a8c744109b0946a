"""Does a fault: waits for its turn, strikes, waits until the part works again, and notes what was done."""

import time

from tests.chaos.faults import to_processes, to_queue, to_servers
from tests.chaos.faults.damage import Damage
from tests.chaos.judging.evidence import Blow
from tests.chaos.plan import Fault
from tests.chaos.system.whole import System
from tests.processes import wait_until

#: By part; all others are processes.
_STRIKES = {
    "redis": to_servers.ON_REDIS,
    "rabbitmq": to_servers.ON_RABBITMQ,
    "queue": to_queue.STRIKES,
}

#: After these a web server is away for a moment.
_ENDS_WEB = frozenset({"kill", "behead", "bereave", "deploy", "hup"})


def strike(system: System, fault: Fault) -> Blow:
    """Do a fault, wait until it is mended, and note it."""
    # What is done to the queue is done in the server that keeps it, while nothing else is done to that.
    with system.lock("redis" if fault.part == "queue" else fault.part):
        begun = time.time()
        part = system.parts.get(fault.part)
        if part and not part.process.runs:
            # It is started again first, by who looks after it.
            damage = Damage("not done: it was not there")
        else:
            damage = _STRIKES.get(fault.part, to_processes.STRIKES)[fault.kind](system, fault)
        if part and part.is_web and fault.kind in _ENDS_WEB:
            wait_until(part.answers)
            system.was_away(part.name, begun)
    blow = Blow(begun, time.time(), fault.part, fault.kind, *damage)
    system.evidence.blows.append(blow)
    return blow
