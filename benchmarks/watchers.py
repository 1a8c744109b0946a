"""Many clients that each hold a stream, in one process: `python -m benchmarks.watchers ADDRESS SECONDS COUNT`.

The ids of the tasks come on standard input, and each is watched by as many clients as the others. Prints
`watching` once every client has had its first event; after SECONDS more, one line of JSON: how long after
it was reported each change was seen, as the 50th, 99th and 100th of 100, in seconds. The task's message
must be the time at which it was reported, of this machine's clock.
"""

import asyncio
import json
import re
import statistics
import sys
import time

REPORTED_AT = re.compile(rb'"status": "([\d.]+)')


class Watcher(asyncio.Protocol):
    delays: list[float] = []  # noqa: RUF012  # of all watchers together

    def __init__(self, path: str, watching: asyncio.Event) -> None:
        self.path = path
        self.watching = watching

    def connection_made(self, transport: asyncio.Transport) -> None:
        request = (
            f"GET {self.path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
        )
        transport.write(request.encode())

    def data_received(self, data: bytes) -> None:
        now = time.time()
        if not self.watching.is_set():
            if b"data:" in data:
                self.watching.set()
            return
        self.delays += [now - float(at) for at in REPORTED_AT.findall(data)]


async def main(address: str, seconds: float, count: int) -> None:
    host, port = address.split(":")
    task_ids = sys.stdin.read().split()
    events = []
    for number in range(count):
        events.append(asyncio.Event())
        path = f"/status/{task_ids[number % len(task_ids)]}"
        await asyncio.get_running_loop().create_connection(
            lambda: Watcher(path, events[-1]),  # noqa: B023  # called before the loop goes on
            host,
            int(port),
        )
    await asyncio.wait_for(asyncio.gather(*(event.wait() for event in events)), 120)
    print("watching", flush=True)
    await asyncio.sleep(seconds)
    delays = sorted(Watcher.delays)
    ranks = statistics.quantiles(delays, n=100) if len(delays) > 1 else [0.0] * 99
    print(
        json.dumps(
            {
                "count": len(delays),
                "p50": ranks[49],
                "p99": ranks[98],
                "max": max(delays, default=0),
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
