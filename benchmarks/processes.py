"""What the system says about processes: their children, CPU time and memory."""

import os
from pathlib import Path

from tests.processes import Process


def children_of(process: Process) -> list[int]:
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(child) for child in text.split()]


def cpu_seconds(process: int) -> float:
    after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(server: Process) -> int:
    """Return the memory in bytes of gunicorn's only worker process (RSS)."""
    return _bytes(children_of(server)[0], "status", "VmRSS")


def proportional_memory(process: int) -> int:
    """Return the memory of a process in bytes, with its share of memory that several processes share (PSS)."""
    return _bytes(process, "smaps_rollup", "Pss")


def _bytes(process: int, file: str, field: str) -> int:
    for line in Path(f"/proc/{process}/{file}").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {field} of process {process}")
