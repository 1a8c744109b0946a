"""Machines on a network of their own, as far as the kernel can play them: namespaces round a router.

A machine that is cut off here loses what is sent and received, and nobody is told: so does a failed switch, a
pulled plug on the way or a firewall. A closed socket or a killed process tells the other side at once. Needs
root.
"""

import os
import subprocess
from contextlib import suppress

#: The host numbers of the router and of the machine that runs the tests.
ROUTER, HERE = 254, 253


class Network:
    """Each machine has a link to the router, with an address by which the servers know each other (`back`)
    and one by which clients, of which the tests are one, know it (`front`)."""

    def __init__(self) -> None:
        # Another run of the tests on the same machine has another process id.
        self._number = os.getpid() % 250
        self._machines: list[int] = []
        self._router = ["ip", "-n", self._name(ROUTER)]
        try:
            _run("ip", "netns", "add", self._name(ROUTER))
            _run(*self.inside(ROUTER), "sysctl", "-w", "net.ipv4.ip_forward=1")
            self._link(HERE, ["ip"], [], [f"{self._net(side)}.0/24" for side in (77, 78)])
        except BaseException:
            self.close()
            raise

    def add(self, host: int) -> None:
        namespace = self._name(host)
        self._machines.append(host)
        _run("ip", "netns", "add", namespace)
        _run("ip", "-n", namespace, "link", "set", "lo", "up")
        self._link(host, ["ip", "-n", namespace], ["netns", namespace], ["default"])

    def back(self, host: int) -> str:
        return f"{self._net(77)}.{host}"

    def front(self, host: int) -> str:
        return f"{self._net(78)}.{host}"

    def inside(self, host: int) -> list[str]:
        """What to put before a command, for it to run on that machine. The process keeps its id."""
        return ["ip", "netns", "exec", self._name(host)]

    def cut(self, host: int) -> None:
        """Between this machine and the other servers."""
        for direction in ("from", "to"):
            _run(*self._router, "rule", "add", direction, self.back(host), "blackhole")

    def mend(self, host: int) -> None:
        for direction in ("from", "to"):
            _run(*self._router, "rule", "delete", direction, self.back(host), "blackhole")

    def close(self) -> None:
        """Whatever of it there is. The links first: a socket that waits for an answer may keep its namespace."""
        for host in (*self._machines, HERE):
            with suppress(subprocess.CalledProcessError):
                _run(*self._router, "link", "delete", f"to-{host}")
        for host in (*self._machines, ROUTER):
            with suppress(subprocess.CalledProcessError):
                _run("ip", "netns", "delete", self._name(host))

    def _link(self, host: int, there: list[str], place: list[str], routes: list[str]) -> None:
        device, gateway = self._name(host), self.back(ROUTER)
        peer = ["peer", "name", device, *place]
        if not place:
            peer += ["netns", str(os.getpid())]
        _run(*self._router, "link", "add", f"to-{host}", "type", "veth", *peer)
        _run(*self._router, "address", "add", f"{gateway}/32", "dev", f"to-{host}")
        _run(*self._router, "link", "set", f"to-{host}", "up")
        _run(*there, "link", "set", device, "up")
        for address in (self.back(host), self.front(host)):
            _run(*there, "address", "add", f"{address}/32", "dev", device)
            _run(*self._router, "route", "add", f"{address}/32", "dev", f"to-{host}")
        for route in routes:
            via = ["via", gateway, "dev", device, "onlink", "src", self.back(host)]
            _run(*there, "route", "add", route, *via)

    def _net(self, side: int) -> str:
        return f"10.{side}.{self._number}"

    def _name(self, host: int) -> str:
        return f"lt{self._number}-{host}"


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
