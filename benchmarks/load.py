"""Sends requests repeatedly over eight keep-alive connections, and counts the responses.

Uses wrk if it is installed. Otherwise this module runs as a program and sends the same requests. Python is slower than
wrk, so the results for fast routes are less precise.
"""

import asyncio
import itertools
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

CONNECTIONS = 8
WRK = shutil.which("wrk")

#: Scripts for wrk that ask for some paths in turn. The first writes each request once, before the load begins. The
#: second gives each request its own Idempotency-Key.
IN_TURN = """
local requests, number = {}, 0
function init()
    for i, path in ipairs(paths) do
        requests[i] = wrk.format(nil, path)
    end
end
function request()
    number = number + 1
    return requests[number % #requests + 1]
end
"""
KEYED = """
local number = 0
function request()
    number = number + 1
    wrk.headers["Idempotency-Key"] = "KEY-" .. number
    return wrk.format(nil, paths[number % #paths + 1])
end
"""


def requests_a_second(
    server: str, paths: Sequence[str], seconds: float, body: str | None = None, keyed: bool = False
) -> float:
    """Ask a server for these paths in turn, and return the number of responses per second.

    With a body the requests are POSTs. With `keyed`, each has its own Idempotency-Key. Raises an error for any
    response but 2xx.
    """
    measure = _with_wrk if WRK and seconds >= 1 else _with_python
    return measure(server, paths, seconds, body, keyed)


def _with_wrk(
    server: str, paths: Sequence[str], seconds: float, body: str | None, keyed: bool
) -> float:
    listed = ", ".join(f'"{path}"' for path in paths)
    script = f"local paths = {{{listed}}}\n"
    if body is not None:
        script += f'wrk.method = "POST"\nwrk.body = "{body}"\n'
        script += 'wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"\n'
    script += KEYED.replace("KEY", uuid.uuid4().hex) if keyed else IN_TURN
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requests.lua"
        file.write_text(script)
        command = [WRK, "-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "-s", str(file), server]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(f"{server}{paths[0]} answers with errors:\n{text}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])


def _with_python(*arguments: object) -> float:
    command = [sys.executable, "-m", "benchmarks.load"]
    run = subprocess.run(
        command, input=json.dumps(arguments), capture_output=True, text=True, check=True
    )
    return float(run.stdout)


async def _main(
    server: str, paths: Sequence[str], seconds: float, body: str | None, keyed: bool
) -> None:
    address = server.removeprefix("http://")
    host, port = address.split(":")
    method = "GET" if body is None else "POST"
    head = (
        f"Host: {address}\r\nContent-Length: {len(body or '')}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n"
    )
    in_turn = itertools.cycle(paths)
    start = time.monotonic()

    async def send() -> int:
        reader, writer = await asyncio.open_connection(host, int(port))
        count = 0
        while time.monotonic() - start < seconds:
            key = f"Idempotency-Key: {uuid.uuid4()}\r\n" if keyed else ""
            path = next(in_turn)
            writer.write(f"{method} {path} HTTP/1.1\r\n{head}{key}\r\n{body or ''}".encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 2"):
                raise RuntimeError(f"{server}{path} answers {answer!r}")
            await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", answer)[1]))
            count += 1
        writer.close()
        return count

    counts = await asyncio.gather(*(send() for _ in range(CONNECTIONS)))
    print(sum(counts) / (time.monotonic() - start))


if __name__ == "__main__":
    asyncio.run(_main(*json.load(sys.stdin)))
