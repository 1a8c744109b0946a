"""A Celery app without LongTask, in a process in which an app with LongTask was created before."""

import os

import celery.backends.redis
import kombu.transport.redis
from celery import Celery, Task
from celery.contrib.testing.worker import start_worker
from kombu.transport import TRANSPORT_ALIASES

from app import app

assert app.extensions["celery"] is not None
assert TRANSPORT_ALIASES["redis"] == "kombu.transport.redis:Transport"
assert not [name for name in TRANSPORT_ALIASES.values() if "longtask" in name]

url = os.environ["REDIS_URL"].rpartition("/")[0] + "/1"
plain = Celery("plain", broker=url, backend=url, set_as_current=False)
plain.conf.worker_hijack_root_logger = False


@plain.task
def add(one: int, other: int) -> int:
    return one + other


assert type(plain.connection().transport) is kombu.transport.redis.Transport
assert type(plain.connection().default_channel) is kombu.transport.redis.Channel
assert type(plain.backend) is celery.backends.redis.RedisBackend
assert plain.Task.__mro__[1] is Task

with plain.connection() as connection:
    queue = connection.SimpleQueue("letters")
    queue.put("a letter")
    message = queue.get(timeout=60)
    assert message.payload == "a letter"
    message.ack()
    assert connection.default_channel.client.hlen("unacked") == 0

with start_worker(plain, pool="solo", perform_ping_check=False):
    assert add.delay(1, 2).get(timeout=60) == 3

client = plain.backend.client
assert not list(client.scan_iter("*longtask*"))
