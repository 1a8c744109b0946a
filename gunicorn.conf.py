"""How gunicorn serves the app: `gunicorn app:app` reads this file by itself."""

import resource

# By name: gunicorn takes a variable called `config` for a setting of its own.
from config import PORT, WEB_CONCURRENCY

# Loopback: what faces the network is a reverse proxy with HTTPS.
bind = f"127.0.0.1:{PORT}"

# A greenlet for each connection, so that a client waiting for a task does not keep others from being served.
worker_class = "gevent"
workers = WEB_CONCURRENCY

# Connections a process holds. One that only watches a task costs some 30 kB and no work.
worker_connections = 10_000

# Each needs a file descriptor, of which the shell that starts us often allows only 1,024.
_, _most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (_most, _most))

# Longer than the pause between two polls, so that a page keeps its connection.
keepalive = 5

# Seconds until a worker process that no longer answers is replaced, and those that requests still under way
# get at a restart. Requests are short, and streams end by themselves then: see below.
timeout = 30
graceful_timeout = 5

# gunicorn believes everybody on this machine about where a request came from. Whom to believe is for
# LONGTASK_TRUSTED_PROXIES to say.
forwarded_allow_ips = ""

# Bytes of a request's first line: 100 ids in one address take most of the 4094 that are usual.
limit_request_line = 8190

# One line a request would be one line every two seconds for each open page.
accesslog = None

# A management interface that nothing here uses, on a path that two projects of one user would share.
control_socket_disable = True


def post_worker_init(worker):
    """End streams when the server is told to stop: otherwise each would wait out graceful_timeout."""
    subscription = worker.wsgi.extensions["longtask"].subscription
    subscription.stop_when(lambda: not worker.alive)
