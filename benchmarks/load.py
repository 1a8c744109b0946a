"""Sends the same request repeatedly over eight keep-alive connections, and counts the responses.

Uses wrk if it is installed. Otherwise this module runs as a program and sends the same requests. Python is slower than
wrk, so the results for fast routes are less precise.
"""

import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

CONNECTIONS = 8
WRK = shutil.which("wrk")

#: A script for wrk that gives each request its own Idempotency-Key.
KEYED = """
local number = 0
function request()
    number = number + 1
    wrk.headers["Idempotency-Key"] = "%s-" .. number
    return wrk.format()
end
"""


def requests_a_second(
    url: str, seconds: float, body: str | None = None, keyed: bool = False
) -> float:
    """Return the number of responses per second. Raises an error for any response but 2xx.

    With `keyed`, each request has its own Idempotency-Key.
    """
    measure = _with_wrk if WRK and seconds >= 1 else _with_python
    return measure(url, seconds, body, keyed)


def _with_wrk(url: str, seconds: float, body: str | None, keyed: bool) -> float:
    command = [WRK, "-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s"]
    with tempfile.TemporaryDirectory() as folder:
        if body is not None:
            script = Path(folder) / "post.lua"
            script.write_text(
                f'wrk.method = "POST"\nwrk.body = "{body}"\n'
                'wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"\n'
                + (KEYED % uuid.uuid4().hex if keyed else "")
            )
            command += ["-s", str(script)]
        text = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(f"{url} answers with errors:\n{text}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])


def _with_python(url: str, seconds: float, body: str | None, keyed: bool) -> float:
    command = [sys.executable, "-m", "benchmarks.load", url, str(seconds), body or ""]
    command += ["keyed"] if keyed else []
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


async def _main(url: str, seconds: float, body: str, keyed: str = "") -> None:
    _, _, address, path = url.split("/", 3)
    method = "POST" if body else "GET"
    head = (
        f"{method} /{path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n"
    )
    host, port = address.split(":")
    start = time.monotonic()

    async def send() -> int:
        reader, writer = await asyncio.open_connection(host, int(port))
        count = 0
        while time.monotonic() - start < seconds:
            key = f"Idempotency-Key: {uuid.uuid4()}\r\n" if keyed else ""
            writer.write(f"{head}{key}\r\n{body}".encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 2"):
                raise RuntimeError(f"{url} answers {answer!r}")
            await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", answer)[1]))
            count += 1
        writer.close()
        return count

    counts = await asyncio.gather(*(send() for _ in range(CONNECTIONS)))
    print(sum(counts) / (time.monotonic() - start))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], float(sys.argv[2]), *sys.argv[3:]))
