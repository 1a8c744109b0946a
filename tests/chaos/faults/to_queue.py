"""Faults of what is stored and queued: keys that are lost, messages that are none."""

from redis.exceptions import RedisError

from tests.chaos.faults import poison
from tests.chaos.faults.damage import Damage, Strike
from tests.chaos.plan import Fault
from tests.chaos.system.whole import System

#: Keys that may be lost, one of those that match. What an idempotency key stands for is not among them: without it
#: a repeated start is a new one, and nobody could know better.
_PATTERNS = (
    "longtask:task:*",
    "longtask:waiting:*",
    "longtask:scheduled",
    "longtask:running:*",
    "longtask:unheld:*",
    "longtask:reserved:*",
    "longtask:held:*",
    "longtask:bell:*",
    "longtask:workers",
    "longtask:worker-info",
    "longtask:queues",
    "longtask:heartbeat",
    "longtask:number",
    "celery",
)


def _lose(system: System, fault: Fault) -> Damage:
    place = fault.which * len(_PATTERNS)
    pattern = _PATTERNS[int(place)]
    try:
        keys = sorted(key.decode() for key in system.redis.scan_iter(pattern, count=1000))
        if not keys:
            return Damage(f"not done: there is no {pattern}")
        key = keys[int(place % 1 * len(keys))]
        task_id = key.removeprefix("longtask:task:")
        if task_id != key:
            system.redis.delete(key, f"celery-task-meta-{task_id}")
            # One that runs without a record cannot be seen to have a message or not.
            return Damage(f"deleted {key}", frozenset({task_id}), True)
        system.redis.delete(key)
        return Damage(f"deleted {key}", lost_messages=True)
    except RedisError as error:
        return Damage(f"not done: {error}")


def _poison(system: System, fault: Fault) -> Damage:
    try:
        return Damage(poison.put(system, fault.which))
    except Exception as error:  # whatever a broker that was just broken has to say
        return Damage(f"not done: {error}")


STRIKES: dict[str, Strike] = {"lose": _lose, "poison": _poison}
