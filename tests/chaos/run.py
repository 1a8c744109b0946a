"""One chaos run from its beginning to its verdict. What is printed of it is report.py's."""

import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from tests.chaos import plan
from tests.chaos.clients.client import Client
from tests.chaos.faults.striking import strike
from tests.chaos.judging.evidence import Evidence
from tests.chaos.judging.judge import Violation, judge
from tests.chaos.plan import Fault
from tests.chaos.system.whole import System
from tests.processes import wait_until

#: Seconds within which everything must have come to its end once nothing is broken any more.
PEACE = plan.LEASE + 60.0

Say = Callable[[str], None]


class Verdict(NamedTuple):
    broker: str
    seed: int
    #: When it began, in seconds since 1970.
    begun: float
    #: Seconds from the end of the faults until every task had ended.
    peace: float
    evidence: Evidence
    violations: list[Violation]


def run(
    broker: str,
    seed: int,
    seconds: float,
    folder: Path,
    without: Collection[str] = (),
    say: Say = print,
) -> Verdict:
    """Run a system under the faults of this seed for so long, then leave it in peace, and judge what was seen."""
    the_plan = plan.make(seed, seconds, broker, without)
    system = System(folder, broker, without)
    try:
        return _run(system, broker, seed, seconds, the_plan, say)
    finally:
        system.end()


def _run(
    system: System, broker: str, seed: int, seconds: float, the_plan: plan.Plan, say: Say
) -> Verdict:
    evidence = system.evidence
    begun = time.time()

    def told(text: str, at: float | None = None) -> None:
        say(f"{(at or time.time()) - begun:7.1f}  {text}")

    clients = [
        Client(f"client-{number}", seed, starts, evidence, system.urls(), begun)
        for number, starts in enumerate(the_plan.starts, start=1)
    ]
    lanes = [
        threading.Thread(target=_befall, args=(system, befalls, begun, told), name=part)
        for part, befalls in the_plan.faults.items()
    ]
    for thread in (*clients, *lanes):
        thread.start()
    time.sleep(max(0, begun + seconds - time.time()))
    for lane in lanes:
        lane.join()
    system.restore()
    evidence.calm_since = time.time()
    told("nothing is broken any more")

    def open_still() -> list[str]:
        return [task_id for client in clients for task_id in client.open]

    while open_still() and time.time() < evidence.calm_since + PEACE:
        time.sleep(0.1)
    peace = time.time() - evidence.calm_since
    told(f"{len(open_still())} tasks are open")
    for client in clients:
        client.stop.set()
    for client in clients:
        client.join()
        if client.failed:
            system.incident(f"{client.name} has failed itself: {client.failed!r}")
        for key in {wish for wish in client.open if wish not in evidence.bars.history}:
            system.incident(f"{key} was never accepted, or could never be cancelled")
    _try_once_more(system, clients[0], seed)
    for client in clients:
        wait_until(client.look_once_more)
    system.look_back()
    return Verdict(broker, seed, begun, peace, evidence, judge(evidence))


def _befall(system: System, befalls: list[Fault], begun: float, told: Callable[..., None]) -> None:
    """The faults of one part, one after the other."""
    for fault in befalls:
        time.sleep(max(0, begun + fault.at - time.time()))
        try:
            blow = strike(system, fault)
        except Exception as error:
            system.incident(f"{fault.part}: {fault.kind} could not be mended: {error!r:.1000}")
            told(f"{fault.part}: {fault.kind} could not be mended: {error!r:.200}")
        else:
            told(f"{fault.part}: {blow.text}", blow.begun)


def _try_once_more(system: System, client: Client, seed: int) -> None:
    """Does a task that is started now succeed?"""
    start = plan.Start(0, f"{seed}-fresh", "reporting", 0.4, None, False)
    client.start_now(start)

    def succeeded() -> bool:
        client.look_once_more()
        tolds = system.evidence.told.get(start.key)
        status = tolds and system.evidence.final(tolds[0].task_ids[0])
        return bool(status and status["state"] == "SUCCESS")

    try:
        wait_until(succeeded)
    except AssertionError:
        system.incident("A task that was started at the end has not succeeded")
