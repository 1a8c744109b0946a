"""Changes what Redis holds, steadily: `python -m benchmarks.programs.changing URL RATE`.

Reads a list of changes from standard input, each a dict of keys and their values. Prints `changing`, and makes RATE
changes a second, one after the other and then from the first again, until it is ended.
"""

import itertools
import json
import sys
import time

from redis import Redis


def main(url: str, rate: float) -> None:
    changes = json.load(sys.stdin)
    connection = Redis.from_url(url).connection_pool.get_connection()
    # Packed once, so that this program takes as little as it can from the one that is measured.
    commands = [
        connection.pack_command("MSET", *itertools.chain(*change.items())) for change in changes
    ]
    print("changing", flush=True)
    begin = time.monotonic()
    for number, command in enumerate(itertools.cycle(commands)):
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))
        connection.send_packed_command(command)
        connection.read_response()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
