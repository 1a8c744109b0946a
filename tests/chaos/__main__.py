"""The command: `python -m tests.chaos --minutes N --seed S [--broker redis|rabbitmq|both] [--without poison,…]`.

Exit code 1 says that the bar has lied: what was wrong is printed, with the seed and the folder of all logs.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos import plan
from tests.chaos.judging import report
from tests.chaos.run import run
from tests.processes import Process

BROKERS = ("redis", "rabbitmq")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=None, help="the same seed makes the same plan")
    parser.add_argument("--broker", choices=[*BROKERS, "both"], default="both")
    parser.add_argument("--without", default="", help="kinds of tasks or faults to leave out")
    parser.add_argument("--keep", action="store_true", help="keep the logs of a good run, too")
    options = parser.parse_args()
    without = {name for name in options.without.split(",") if name}
    if unknown := without - plan.names():
        parser.error(f"--without: there is no {', '.join(sorted(unknown))}")
    seed = random.randrange(10**6) if options.seed is None else options.seed
    brokers = BROKERS if options.broker == "both" else (options.broker,)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return max(
            [_run(broker, seed, options.minutes, without, options.keep) for broker in brokers]
        )
    finally:
        # What is left when it was interrupted while the system was being started.
        for process in Process.all:
            process.stop()


def _run(broker: str, seed: int, minutes: float, without: set[str], keep: bool) -> int:
    folder = Path(tempfile.mkdtemp(prefix=f"longtask-chaos-{broker}-{seed}-"))
    _say(f"Chaos with {broker} for {minutes:g} minutes, seed {seed}, logs in {folder}")
    verdict = run(broker, seed, minutes * 60, folder, without, _say)
    for line in report.lines(verdict, folder):
        _say(line)
    if verdict.violations:
        return 1
    if not keep:
        shutil.rmtree(folder)
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
