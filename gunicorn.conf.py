"""Configures gunicorn: `gunicorn app:app` reads this file automatically."""

import resource

# Not `import config`: gunicorn would treat a variable `config` as its own setting.
from config import PORT, WEB_CONCURRENCY

# Loopback only. A reverse proxy with HTTPS faces the network.
bind = f"127.0.0.1:{PORT}"

# A greenlet for each connection, so that a client that waits for a task does not block others.
worker_class = "gevent"
workers = WEB_CONCURRENCY

# Maximum number of connections of a process: 10,000 that only watch a task, which costs some 20 kB and no CPU time, and
# others for requests.
worker_connections = 11_000

# Each connection needs a file descriptor, and shells often limit these to 1,024.
_, _most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (_most, _most))

# Seconds. Longer than the pause between two polls, so that a page keeps its connection.
keepalive = 5

# Seconds after which a worker process that does not respond is replaced, and seconds that running requests get at a
# restart. Requests are short, and `post_worker_init` below ends the streams.
timeout = 30
graceful_timeout = 5

# By default gunicorn trusts every client on this machine to name the origin of a request. Here only
# LONGTASK_TRUSTED_PROXIES decides which proxies are trusted.
forwarded_allow_ips = ""

# Maximum size of a request line in bytes. 100 task ids in one address nearly fill the default of 4094.
limit_request_line = 8190

# No access log: each open page would write a line every two seconds.
accesslog = None

# The management interface is not used, and its default path is shared by all projects of a user.
control_socket_disable = True


def post_worker_init(worker):
    """End open streams when the server stops. Otherwise it would wait for graceful_timeout."""
    subscription = worker.wsgi.extensions["longtask"].subscription
    subscription.stop_when(lambda: not worker.alive)
