"""Lists the private names of Celery and Kombu that this package uses, and why. The code that uses them is elsewhere.

A private name may change with any release. tests/test_private_names.py checks that each name exists in the installed
libraries and that the list is complete, so that an upgrade that breaks a name fails with that name.
"""

from typing import Literal, NamedTuple


class PrivateName(NamedTuple):
    #: The dotted path of the class that has the name.
    owner: str
    name: str
    #: `replaced`: we override what the library calls. `called`: we call it. `attribute`: we read or write it.
    kind: Literal["replaced", "called", "attribute"]
    #: What we use it for, and why no public name will do.
    reason: str


_CHANNEL = "kombu.transport.redis.Channel"

PRIVATE_NAMES = (
    # -- the app
    PrivateName(
        "celery.app.base.Celery",
        "_tasks",
        "attribute",
        "The registry of tasks, which we make adapt each task that is added. The public `tasks` first adds all "
        "declared tasks, and for that reads the settings, which may be too early.",
    ),
    # -- the result backend and its connections
    PrivateName(
        "celery.backends.base.Backend",
        "_get_result_meta",
        "called",
        "Makes Celery's document of a task, which must stay exactly Celery's. "
        "The public `store_result` also stores it, in a step of its own.",
    ),
    PrivateName(
        "celery.backends.redis.RedisBackend",
        "_get_pool",
        "replaced",
        "Makes the connection pool, by Sentinel where that is used, with timeouts other than those of `client`. "
        "The public `ConnectionPool` knows nothing of Sentinel.",
    ),
    # -- the transport: the methods that, by Kombu's documentation, a virtual transport defines
    PrivateName(
        _CHANNEL,
        "_get",
        "replaced",
        "Kombu gets one message with it. Ours takes a message and notes it as held in one step.",
    ),
    PrivateName(
        _CHANNEL,
        "_put",
        "replaced",
        "Kombu pushes a message to a queue with it. Ours also records the task in the same step. "
        "The public `basic_publish` does not yet know which queues the message goes to.",
    ),
    # -- the transport: how a worker waits for a message
    PrivateName(
        _CHANNEL,
        "_brpop_start",
        "replaced",
        "Kombu's poller asks Redis for a message with it. Ours runs our script, or waits for a bell.",
    ),
    PrivateName(
        _CHANNEL,
        "_brpop_read",
        "replaced",
        "Kombu's poller reads the answer with it, and so does `close`, "
        "which an entry of ours in the public `handlers` would not change.",
    ),
    PrivateName(
        _CHANNEL,
        "_in_poll",
        "attribute",
        "Tells the poller that an answer is awaited, so that it does not ask again.",
    ),
    PrivateName(
        _CHANNEL,
        "_brpop_sent_at",
        "attribute",
        "Tells the poller since when an answer is awaited, so that it drops a silent connection.",
    ),
    PrivateName(
        _CHANNEL,
        "_queue_cycle",
        "attribute",
        "The order in which queues are asked, by `queue_order_strategy`. "
        "Kombu updates it with the queues that are consumed; we would have to update one of our own.",
    ),
    PrivateName(
        "kombu.transport.virtual.Transport",
        "_deliver",
        "called",
        "Passes a message to the consumer of its queue, or rejects it if there is none any more. "
        "The public `on_message_ready` raises KeyError instead, which would end the worker.",
    ),
    # -- the transport: where Kombu keeps a message
    PrivateName(
        "kombu.transport.virtual.Channel",
        "_get_message_priority",
        "called",
        "Returns the priority of a message, within Kombu's bounds. The public `priority` is only the next step.",
    ),
    PrivateName(
        _CHANNEL,
        "_expires",
        "attribute",
        "Says which queues Redis removes when they are unused. Kombu itself pushes to these, and renews their expiry.",
    ),
)
