"""Many clients in one process, each with an open stream: `python -m benchmarks.watchers ADDRESS SECONDS COUNT`.

Reads the ids of the tasks from standard input, and distributes the clients evenly over the tasks. Prints `watching`
once every client has received its first event, and SECONDS later one line of JSON: the delay between the report of a
change and its arrival in seconds, as median, 99th percentile and maximum. The message of each report must be its time
by this machine's clock.
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
