"""Faults of a web server or a worker."""

import os
import signal
import time
from contextlib import suppress

from tests.chaos.faults.damage import Damage, Strike
from tests.chaos.plan import Fault
from tests.chaos.system.whole import TO_STOP, Part, System
from tests.processes import wait_until


def _part(system: System, fault: Fault) -> Part:
    return system.parts[fault.part]


def _kill(system: System, fault: Fault) -> Damage:
    part = _part(system, fault)
    part.kill()
    time.sleep(fault.lasts)
    part.start()
    return Damage("SIGKILL with all its processes, started again")


def _behead(system: System, fault: Fault) -> Damage:
    part = _part(system, fault)
    part.kill(alone=True)
    time.sleep(fault.lasts)
    if part.is_web:
        # gunicorn's worker keeps the port until it sees that it is an orphan.
        _wait_for_the_orphans(part)
    part.start()
    return Damage("SIGKILL of its head alone, started again")


def _wait_for_the_orphans(part: Part) -> None:
    def gone() -> bool:
        try:
            os.killpg(part.process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    try:
        wait_until(gone, 10)
    except AssertionError:
        part.signal(signal.SIGKILL)


def _bereave(system: System, fault: Fault) -> Damage:
    children = _part(system, fault).children()
    if not children:
        return Damage("not done: it has no children")
    with suppress(ProcessLookupError):
        os.kill(children[int(fault.which * len(children))], signal.SIGKILL)
    return Damage("SIGKILL of one of its children")


def _freeze(system: System, fault: Fault) -> Damage:
    part = _part(system, fault)
    part.signal(signal.SIGSTOP)
    time.sleep(fault.lasts)
    part.signal(signal.SIGCONT)
    return Damage(f"frozen for {fault.lasts} s")


def _cut(system: System, fault: Fault) -> Damage:
    part = _part(system, fault)
    names = [*part.wires]
    # One wire, or all of them.
    cut = [*names, None][int(fault.which * (len(names) + 1))]
    wires = [part.wires[name] for name in names if cut in (name, None)]
    for wire in wires:
        wire.cut()
    time.sleep(fault.lasts)
    for wire in wires:
        wire.mend()
    return Damage(f"cut off from {cut or 'all'} for {fault.lasts} s")


def _deploy(system: System, fault: Fault) -> Damage:
    part = _part(system, fault)
    begun = time.monotonic()
    os.kill(part.process.pid, signal.SIGTERM)
    try:
        wait_until(lambda: not part.process.runs, TO_STOP)
        took = f"{time.monotonic() - begun:.1f} s"
    except AssertionError:
        took = f"more than {TO_STOP:g} s"
        system.incident(f"{part.name} has not ended within {TO_STOP:g} s of SIGTERM")
        if not part.is_web:
            os.kill(part.process.pid, signal.SIGUSR1)  # Celery prints where each thread is
            time.sleep(1)
        part.kill()
    time.sleep(fault.lasts)
    part.start()
    return Damage(f"SIGTERM, ended after {took}, started again")


def _hup(system: System, fault: Fault) -> Damage:
    part = _part(system, fault)
    before = part.children()
    os.kill(part.process.pid, signal.SIGHUP)
    try:
        wait_until(lambda: not set(before) & set(part.children()) and part.children())
    except AssertionError:
        system.incident(f"{part.name} has kept its old worker after SIGHUP")
    return Damage("SIGHUP, its worker is a new one")


#: Seconds that a clock jumps.
_JUMPS = (-3600, -30, -5, 5, 30, 3600)


def _clock(system: System, fault: Fault) -> Damage:
    seconds = _JUMPS[int(fault.which * len(_JUMPS))]
    _part(system, fault).set_clock(seconds)
    return Damage(f"its clock jumps to {seconds:+} s")


STRIKES: dict[str, Strike] = {
    "kill": _kill,
    "behead": _behead,
    "bereave": _bereave,
    "freeze": _freeze,
    "cut": _cut,
    "deploy": _deploy,
    "hup": _hup,
    "clock": _clock,
}
