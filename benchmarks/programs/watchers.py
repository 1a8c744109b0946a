"""Many clients in one process, each with an open stream: `python -m benchmarks.programs.watchers ADDRESS COUNT`.

Reads one line from standard input, a JSON object: `tasks`, the ids of the tasks over which the clients are distributed
evenly, and `stalled`, the id of a task for each further client that opens a stream and reads nothing. Prints `watching`
once every client has received its first event. When standard input ends, it prints the delay between the report of a
change and its arrival in seconds, as one line of JSON: median, 99th percentile and maximum. The message of each report
must be its time by this machine's clock. Raises an error if a watcher loses its connection.
"""

import asyncio
import functools
import json
import re
import resource
import socket
import statistics
import sys
import time

#: How many clients connect at the same moment.
AT_ONCE = 100

REPORTED_AT = re.compile(rb'"status": "(\d+\.\d{6})"')


def request(task_id: str) -> bytes:
    head = f"GET /status/{task_id} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
    return head.encode()


class Watcher(asyncio.Protocol):
    delays: list[float] = []  # noqa: RUF012  # of all watchers together

    def __init__(self, task_id: str, watching: asyncio.Future) -> None:
        self.task_id = task_id
        self.watching = watching
        self.last = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        transport.write(request(self.task_id))

    def data_received(self, data: bytes) -> None:
        now = time.time()
        self.last = data
        if self.watching.done():
            self.delays += [now - float(at) for at in REPORTED_AT.findall(data)]
        elif b"data: {" in data:  # not the "data:" of a header
            self.watching.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        lost = RuntimeError(f"a watcher lost its connection after {self.last!r}")
        if not self.watching.done():
            self.watching.set_exception(lost)
        raise lost


def stall(host: str, port: int, task_id: str) -> socket.socket:
    """Open a stream that nobody reads. What its kernel keeps for a reader is little, so that it is full soon."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((host, port))
    client.sendall(request(task_id))
    return client


async def main(address: str, count: int) -> None:
    host, port = address.split(":")
    tasks = json.loads(sys.stdin.readline())
    loop = asyncio.get_running_loop()
    errors = []
    loop.set_exception_handler(lambda _, context: errors.append(context))
    for first in range(0, count, AT_ONCE):
        watching = [loop.create_future() for _ in range(first, min(first + AT_ONCE, count))]
        for number, future in enumerate(watching, first):
            task_id = tasks["tasks"][number % len(tasks["tasks"])]
            watcher = functools.partial(Watcher, task_id, future)
            await loop.create_connection(watcher, host, int(port))
        await asyncio.wait_for(asyncio.gather(*watching), 60)
    stalled = [stall(host, int(port), task_id) for task_id in tasks["stalled"]]
    print("watching", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    await asyncio.sleep(1)  # until the last changes have arrived
    if errors:
        raise errors[0]["exception"]
    for client in stalled:
        client.close()
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
    # Each client needs a file descriptor.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
