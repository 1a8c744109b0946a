"""Sends the same request again and again over eight kept connections, and counts the answers.

With wrk where it is installed. Without it by this module itself, run as a program: the same requests, but
Python on the other core is slower than wrk, so that what is measured against fast routes says less.
"""

import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONNECTIONS = 8
WRK = shutil.which("wrk")


def requests_a_second(url: str, seconds: float, body: str | None = None) -> float:
    """How many answers came in a second. Anything but 2xx is an error."""
    return (
        _with_wrk(url, seconds, body) if WRK and seconds >= 1 else _with_python(url, seconds, body)
    )


def _with_wrk(url: str, seconds: float, body: str | None) -> float:
    command = [WRK, "-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s"]
    with tempfile.TemporaryDirectory() as folder:
        if body is not None:
            script = Path(folder) / "post.lua"
            script.write_text(
                f'wrk.method = "POST"\nwrk.body = "{body}"\n'
                'wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"\n'
            )
            command += ["-s", str(script)]
        text = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(f"{url} answers with errors:\n{text}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])


def _with_python(url: str, seconds: float, body: str | None) -> float:
    command = [sys.executable, "-m", "benchmarks.load", url, str(seconds), body or ""]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


async def _main(url: str, seconds: float, body: str) -> None:
    _, _, address, path = url.split("/", 3)
    method = "POST" if body else "GET"
    request = (
        f"{method} /{path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}"
    ).encode()
    host, port = address.split(":")
    start = time.monotonic()

    async def send() -> int:
        reader, writer = await asyncio.open_connection(host, int(port))
        count = 0
        while time.monotonic() - start < seconds:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 2"):
                raise RuntimeError(f"{url} answers {head!r}")
            await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head)[1]))
            count += 1
        writer.close()
        return count

    counts = await asyncio.gather(*(send() for _ in range(CONNECTIONS)))
    print(sum(counts) / (time.monotonic() - start))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], float(sys.argv[2]), sys.argv[3]))
