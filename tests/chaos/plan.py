"""What is to happen in a chaos run, made of its seed alone: the starts of each client, and the faults of each part."""

from collections.abc import Collection, Mapping
from random import Random
from typing import NamedTuple

#: Seconds, the shortest lease that may be set.
LEASE = 3

#: Seconds that a cancelled task has to stop by itself.
GRACE = 1

#: Workers that may be lost with a task: so many that this is seldom its end.
MOST_LOST = 50

CLIENTS = 4
WEBS = ("web-1", "web-2")
WORKERS = ("worker-1", "worker-2", "worker-3")

#: The two whose clocks jump.
CLOCKS = ("web-2", "worker-2")

#: Seconds between two starts of one client, on average.
START_EVERY = 2.0


class Kind(NamedTuple):
    """A kind of task, and what is expected of it."""

    #: How often it is started, compared with others.
    weight: int
    #: How it ends when nothing stands in its way, and for a failure what is told (a regular expression).
    end: str = "SUCCESS"
    reason: str = ""
    #: Whether it writes into the notebook.
    notes: bool = True
    #: Whether clients cancel it always, and not just now and then.
    is_cancelled: bool = False


KINDS = {
    "reporting": Kind(6),
    "tracking": Kind(4),
    "silent": Kind(5),
    "failing": Kind(2, "FAILURE", r"^row 4 has no name$"),
    "retrying": Kind(3),
    "ignoring": Kind(2),
    "later": Kind(3),
    "chain": Kind(2),
    "group": Kind(2),
    "chord": Kind(2),
    "long_task": Kind(2, notes=False),
    "stubborn": Kind(1, is_cancelled=True),
    "exiting": Kind(1, "FAILURE", r"(?i)exit"),
    "interrupted": Kind(1, "FAILURE", r"(?i)interrupt"),
}

#: Kinds whose later tasks cannot be run when an earlier one has not succeeded.
FAMILIES = frozenset({"chain", "chord"})


class Start(NamedTuple):
    #: Seconds since the beginning of the run.
    at: float
    key: str
    kind: str
    #: About as long as it takes.
    seconds: float
    #: Seconds after it was accepted, or None if it is left alone.
    cancel_after: float | None
    #: Whether the same request is sent again though it was answered.
    repeat: bool

    @property
    def countdown(self) -> float:
        """Seconds that it has to wait before it may run."""
        return 2 * self.seconds if self.kind == "later" else 0


class Fault(NamedTuple):
    at: float
    #: Whom it befalls.
    part: str
    kind: str
    #: Seconds until what it breaks is mended.
    lasts: float
    #: From 0 to 1: which of the things that are found then.
    which: float


class Plan(NamedTuple):
    starts: list[list[Start]]
    faults: dict[str, list[Fault]]


#: What may befall a part: by kind how often, and the shortest and the longest that it lasts.
Faults = Mapping[str, tuple[int, float, float]]

_WORKER: Faults = {
    "kill": (3, 0, 2),
    "behead": (2, 0, 2),
    "bereave": (3, 0, 0),
    "freeze": (3, 1, 8),
    "cut": (3, 0.3, 6),
    "deploy": (3, 0, 1),
}
_WEB: Faults = {
    "kill": (2, 0, 2),
    "behead": (2, 0, 2),
    "bereave": (3, 0, 0),
    "cut": (3, 0.3, 3),
    "hup": (2, 0, 0),
    "deploy": (2, 0, 1),
}
#: A worker of threads has no process that could be taken from it.
THREADS = WORKERS[-1]

_CLOCK: Faults = {"clock": (3, 0, 0)}
_REDIS: Faults = {
    "freeze": (3, 0.2, 2),
    "kill": (3, 0, 1),
    "full": (2, 0.3, 1.5),
    "kick": (2, 0, 0),
}
_RABBITMQ: Faults = {"freeze": (3, 0.2, 2), "kill": (1, 0, 1), "kick": (3, 0, 0)}

#: `lose` is a key of Redis, `poison` a message that is none.
_QUEUE: Faults = {"lose": (2, 0, 0), "poison": (3, 0, 0)}


def parts(broker: str) -> dict[str, tuple[float, Faults]]:
    """Whom faults befall: how many seconds apart, on average, and which ones."""
    found: dict[str, tuple[float, Faults]] = {"redis": (10, _REDIS), "queue": (10, _QUEUE)}
    found |= dict.fromkeys(WEBS, (15, _WEB)) | dict.fromkeys(WORKERS, (12, _WORKER))
    for name in CLOCKS:
        every, kinds = found[name]
        found[name] = (every, {**kinds, **_CLOCK})
    found[THREADS] = (12, {name: kind for name, kind in _WORKER.items() if name != "bereave"})
    if broker == "rabbitmq":
        found["rabbitmq"] = (12, _RABBITMQ)
    return found


def names() -> set[str]:
    """What may be left out: the kinds of tasks and of faults."""
    return {*KINDS, *(kind for _, kinds in parts("rabbitmq").values() for kind in kinds)}


def make(seed: int, seconds: float, broker: str, without: Collection[str] = ()) -> Plan:
    """The plan of a run. `without` names kinds of tasks and of faults to leave out."""
    starts = [_starts(seed, client, seconds, without) for client in range(CLIENTS)]
    faults = {
        part: _faults(Random(f"{seed} {broker} {part}"), part, every, kinds, seconds, without)
        for part, (every, kinds) in parts(broker).items()
    }
    return Plan(starts, faults)


def _starts(seed: int, client: int, seconds: float, without: Collection[str]) -> list[Start]:
    random = Random(f"{seed} client {client}")
    kinds = {name: kind for name, kind in KINDS.items() if name not in without}
    starts: list[Start] = []
    at = random.expovariate(1 / START_EVERY)
    while at < seconds:
        name = random.choices([*kinds], [kind.weight for kind in kinds.values()])[0]
        cancelled = random.random() < 0.2 or kinds[name].is_cancelled
        starts.append(
            Start(
                at=round(at, 2),
                key=f"{seed}-{client}-{len(starts)}",
                kind=name,
                seconds=round(random.uniform(0.4, 3), 1),
                cancel_after=round(random.uniform(0, 3), 1) if cancelled else None,
                repeat=random.random() < 0.2,
            )
        )
        at += random.expovariate(1 / START_EVERY)
    return starts


def _faults(
    random: Random,
    part: str,
    every: float,
    kinds: Faults,
    seconds: float,
    without: Collection[str],
) -> list[Fault]:
    kinds = {name: kind for name, kind in kinds.items() if name not in without}
    faults: list[Fault] = []
    # Some tasks are to run before the first, and the last is to meet some, too.
    at = 3 + random.expovariate(1 / every)
    while kinds and at < seconds:
        name = random.choices([*kinds], [weight for weight, *_ in kinds.values()])[0]
        _, shortest, longest = kinds[name]
        lasts = round(random.uniform(shortest, longest), 1)
        faults.append(Fault(round(at, 1), part, name, lasts, random.random()))
        at += lasts + random.expovariate(1 / every)
    return faults
