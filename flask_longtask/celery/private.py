"""The one list of the private names of Celery and Kombu that are used here, and why. No code that uses them lives here.

A private name may change with any release. tests/test_private_names.py checks each of them against the installed
libraries, and that this list is complete, so that an upgrade that breaks one fails by its name.
"""

from typing import Literal, NamedTuple


class PrivateName(NamedTuple):
    #: The dotted path of what has the name: a class.
    owner: str
    name: str
    #: `replaced`: the library calls it, and what it calls is ours. `called`: we call it. `attribute`: we read or
    #: write it.
    kind: Literal["replaced", "called", "attribute"]
    #: What it does for us, and why no public name does.
    reason: str


_CHANNEL = "kombu.transport.redis.Channel"

PRIVATE_NAMES = (
    # -- the app
    PrivateName(
        "celery.app.base.Celery",
        "_tasks",
        "attribute",
        "The registry of tasks, each of which is adapted when it is added. The public `tasks` first adds all that were "
        "declared, and so reads the settings, for which it may be too early.",
    ),
    # -- the result backend, and what it connects by
    PrivateName(
        "celery.backends.base.Backend",
        "_get_result_meta",
        "called",
        "Makes Celery's document of a task, which must stay exactly Celery's. "
        "The public `store_result` stores it, too, in a step of its own.",
    ),
    PrivateName(
        "celery.backends.redis.RedisBackend",
        "_get_pool",
        "replaced",
        "Makes the connection pool, by Sentinel where that is used, with timeouts other than those of `client`. "
        "The public `ConnectionPool` knows nothing of Sentinel.",
    ),
    # -- the transport: what Kombu documents for a virtual transport to define, under private names
    PrivateName(
        _CHANNEL,
        "_get",
        "replaced",
        "Kombu gets one message by it. A message is taken and noted as held in one step here.",
    ),
    PrivateName(
        _CHANNEL,
        "_put",
        "replaced",
        "Kombu pushes a message to a queue by it. A task is recorded in the same step here. "
        "The public `basic_publish` does not know yet to which queues a message goes.",
    ),
    # -- the transport: how a worker waits for a message
    PrivateName(
        _CHANNEL,
        "_brpop_start",
        "replaced",
        "Kombu's poller asks Redis for a message by it. We ask by our script, or wait for a bell.",
    ),
    PrivateName(
        _CHANNEL,
        "_brpop_read",
        "replaced",
        "Kombu's poller reads the answer by it, and so does `close`, "
        "for which our own entry in the public `handlers` would not be enough.",
    ),
    PrivateName(
        _CHANNEL,
        "_in_poll",
        "attribute",
        "Tells the poller that an answer is awaited, so that it does not ask once more.",
    ),
    PrivateName(
        _CHANNEL,
        "_brpop_sent_at",
        "attribute",
        "Tells the poller since when, so that it drops a connection on which no answer comes.",
    ),
    PrivateName(
        _CHANNEL,
        "_queue_cycle",
        "attribute",
        "The order in which queues are asked, by `queue_order_strategy`. "
        "Kombu keeps it up to date with the queues that are consumed; one of ours would have to be, too.",
    ),
    PrivateName(
        "kombu.transport.virtual.Transport",
        "_deliver",
        "called",
        "Hands a message to the consumer of its queue, and rejects it where there is none any more. "
        "The public `on_message_ready` raises KeyError then, which would end the worker.",
    ),
    # -- the transport: where Kombu keeps a message
    PrivateName(
        "kombu.transport.virtual.Channel",
        "_get_message_priority",
        "called",
        "The priority of a message, between the bounds that Kombu sets. The public `priority` is the next step.",
    ),
    PrivateName(
        _CHANNEL,
        "_expires",
        "attribute",
        "Says which queues Redis removes when they are unused: Kombu itself pushes to these, and renews their time.",
    ),
)
