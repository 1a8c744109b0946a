"""Faults of Redis and RabbitMQ themselves."""

import time

from tests.chaos.faults.damage import Damage, Strike
from tests.chaos.plan import Fault
from tests.chaos.system.whole import System
from tests.processes import wait_until


def _freeze_redis(system: System, fault: Fault) -> Damage:
    system.redis_server.pause()
    time.sleep(fault.lasts)
    system.redis_server.resume()
    return Damage(f"frozen for {fault.lasts} s")


def _kill_redis(system: System, fault: Fault) -> Damage:
    system.redis_server.stop()
    time.sleep(fault.lasts)
    system.redis_server.start()
    return Damage("SIGKILL, started again")


def _fill(system: System, fault: Fault) -> Damage:
    system.redis.config_set("maxmemory-policy", "noeviction")
    system.redis.config_set("maxmemory", 1)
    time.sleep(fault.lasts)
    system.redis.config_set("maxmemory", 0)
    return Damage(f"full for {fault.lasts} s")


def _kick(system: System, fault: Fault) -> Damage:
    killed = system.redis.client_kill_filter(_type="normal", skipme=True)
    return Damage(f"{killed} connections killed")


ON_REDIS: dict[str, Strike] = {
    "freeze": _freeze_redis,
    "kill": _kill_redis,
    "full": _fill,
    "kick": _kick,
}


def _freeze_rabbitmq(system: System, fault: Fault) -> Damage:
    assert system.rabbit
    system.rabbit.pause()
    time.sleep(fault.lasts)
    system.rabbit.resume()
    return Damage(f"frozen for {fault.lasts} s")


def _kill_rabbitmq(system: System, fault: Fault) -> Damage:
    assert system.rabbit
    system.rabbit.stop()
    time.sleep(fault.lasts)
    said = system.rabbit.log.stat().st_size
    system.rabbit.start()
    log = system.rabbit.log
    wait_until(lambda: b"Server startup complete" in log.read_bytes()[said:])
    return Damage("SIGKILL, started again")


def _kick_rabbitmq(system: System, fault: Fault) -> Damage:
    wires = [part.wires["rabbitmq"] for part in system.parts.values()]
    for wire in wires:
        wire.cut()
    time.sleep(0.2)
    for wire in wires:
        wire.mend()
    return Damage("all connections broken")


ON_RABBITMQ: dict[str, Strike] = {
    "freeze": _freeze_rabbitmq,
    "kill": _kill_rabbitmq,
    "kick": _kick_rabbitmq,
}
