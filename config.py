"""Every setting, with its default. This is the one place that reads the environment (and `.env`)."""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from dotenv import load_dotenv
from limits import parse_many
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

ROOT = Path(__file__).parent

# Files that are made from here on are this user's alone, and so is what is kept in instance/ already.
os.umask(0o077)


def _make_private(folder: Path) -> None:
    """Let nobody else into this folder, nor into what is in it: what is further down is behind that."""
    for path in (folder, *folder.iterdir()):
        # What belongs to another user is theirs to look after, and what is gone by now needs no care.
        with suppress(PermissionError, FileNotFoundError):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & 0o700)


if (ROOT / "instance").is_dir():
    _make_private((ROOT / "instance").resolve())

# What the environment says goes before what the file says.
load_dotenv(ROOT / ".env")


def _text(name: str, default: str) -> str:
    # Set but empty counts as not set: that is how compose files pass on what nobody gave.
    return os.environ.get(name) or default


def _integer(name: str, default: int, minimum: int, maximum: int) -> int:
    text = _text(name, str(default))
    if not text.isascii() or not text.isdigit() or not minimum <= int(text) <= maximum:
        raise SystemExit(
            f"{name} must be a whole number from {minimum} to {maximum}, not {text!r}."
        )
    return int(text)


def _yes_or_no(name: str, default: bool) -> bool:
    text = _text(name, "yes" if default else "no").lower()
    if text not in {"yes", "no", "true", "false", "1", "0"}:
        raise SystemExit(f"{name} must be yes or no, not {text!r}.")
    return text in {"yes", "true", "1"}


def _url(name: str, default: str, *schemes: str) -> str:
    text = _text(name, default)
    if text.partition("://")[0] not in schemes or "://" not in text:
        raise SystemExit(f"{name} must begin with {' or '.join(s + '://' for s in schemes)}.")
    return text


def _database_url(name: str, default: str) -> str:
    text = _text(name, default)
    try:
        dialect = make_url(text).get_dialect()
        # Psycopg comes with the requirements, and sees when it is imported whether it is to wait as gevent does.
        # gunicorn's own process reads this file before anything is gevent's.
        if dialect.driver != "psycopg":
            dialect.import_dbapi()
    except (ArgumentError, ValueError):  # the latter for a port; what is there may hold a password
        raise SystemExit(
            f"{name} must read like 'postgresql://user:password@host/name' or 'sqlite:////folder/file.db'."
        ) from None
    except ImportError as error:
        raise SystemExit(f"The driver that {name} needs is not installed: {error}.") from None
    return text


def _rate_limit(name: str, default: str) -> str:
    text = _text(name, default)
    try:
        parse_many(text)
    except ValueError:
        raise SystemExit(f"{name} must read like '{default}', not {text!r}.") from None
    return text


def _generated_secret_key() -> str:
    """The key kept in `instance/secret_key`, made by whichever process comes first.

    Web and worker start at the same time and must agree. A link either makes the name, with all of the
    content behind it, or fails because the name is there: nobody ever reads half a key or loses theirs.
    """
    path = ROOT / "instance" / "secret_key"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent) as file:  # mode 0600
            file.write(secrets.token_hex(32))
            file.flush()
            with suppress(FileExistsError):
                os.link(file.name, path)
    return path.read_text()


# Where things listen, always on 127.0.0.1: the web server, and the Redis that run-redis.sh starts.
PORT = _integer("PORT", 5000, 1, 65535)
REDIS_PORT = _integer("REDIS_PORT", 6379, 1, 65535)

# The Redis that holds what is known about tasks.
_REDIS = ("redis", "rediss", "sentinel")
REDIS_URL = _url("REDIS_URL", f"redis://127.0.0.1:{REDIS_PORT}/0", *_REDIS)

# Where Celery sends its messages (Redis or RabbitMQ) and keeps its results (Redis).
CELERY_BROKER_URL = _url("CELERY_BROKER_URL", REDIS_URL, *_REDIS, "amqp", "amqps", "pyamqp")
CELERY_RESULT_BACKEND = _url("CELERY_RESULT_BACKEND", REDIS_URL, *_REDIS)

# The name by which the Sentinels of a sentinel:// address know their Redis.
REDIS_SENTINEL_MASTER = _text("REDIS_SENTINEL_MASTER", "mymaster")
_sentinel = {"master_name": REDIS_SENTINEL_MASTER}

# Seconds within which another worker has the tasks of one that died.
LONGTASK_LEASE_SECONDS = _integer("LONGTASK_LEASE_SECONDS", 30, 3, 3600)

# How often a task is started whose worker is lost each time.
LONGTASK_MAX_ATTEMPTS = _integer("LONGTASK_MAX_ATTEMPTS", 3, 1, 1000)

# Tasks that may wait in a queue before starting one more is refused; 0 for any number.
LONGTASK_MAX_WAITING = _integer("LONGTASK_MAX_WAITING", 10_000, 0, 10**9)

# Bytes of a result beyond which it is not sent with each status, but has an address of its own.
LONGTASK_MAX_RESULT_BYTES = _integer("LONGTASK_MAX_RESULT_BYTES", 256 * 1024, 0, 2**31)

# Seconds that a cancelled task has to stop by itself before its process is ended.
LONGTASK_CANCEL_GRACE_SECONDS = _integer("LONGTASK_CANCEL_GRACE_SECONDS", 5, 0, 3600)

# Tasks that one worker runs at the same time, each in a process of its own. These tasks mostly wait, so
# there may be more of them than processors.
WORKER_CONCURRENCY = _integer("WORKER_CONCURRENCY", 6, 1, 1000)

# What starts a worker, as the page names it where none is running.
LONGTASK_WORKER_COMMAND = "celery -A celery_worker worker"

# Seconds for which a task is known after it has ended.
LONGTASK_RESULT_EXPIRES = _integer("LONGTASK_RESULT_EXPIRES", 86_400, 1, 10 * 365 * 86_400)

# Web server processes. Each serves many requests at once.
WEB_CONCURRENCY = _integer("WEB_CONCURRENCY", 2, 1, 1000)

# Signs the session cookie, by which a browser finds the tasks it started again.
SECRET_KEY = _text("SECRET_KEY", "") or _generated_secret_key()

# Whether browsers send that cookie over HTTPS only. They do in any case where they were given it over HTTPS.
SESSION_COOKIE_SECURE = _yes_or_no("SESSION_COOKIE_SECURE", False)
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"

# Bytes that the body of a request may have.
MAX_CONTENT_LENGTH = _integer("MAX_CONTENT_LENGTH", 64 * 1024, 1, 2**31)

# Reverse proxies in front of the web server, whose X-Forwarded headers tell the client's address and whether
# it came over HTTPS. Count only those that set these headers anew: others' word is not to be believed.
LONGTASK_TRUSTED_PROXIES = _integer("LONGTASK_TRUSTED_PROXIES", 0, 0, 10)

# The names by which a browser on this machine reaches what listens on its loopback interface.
LOOPBACK_HOSTS = ["127.0.0.1", "localhost"]

# The names under which the site is reached besides those, with commas between; a leading dot stands for all of
# a domain. Requests for another are refused: any site can give its own name this machine's address, and its page
# is then of the same origin as ours (DNS rebinding). Empty behind a proxy: any name, which the addresses in
# answers then repeat, since the proxy has chosen which names it serves.
_hosts = [host.strip() for host in _text("TRUSTED_HOSTS", "").split(",") if host.strip()]
_any_host = LONGTASK_TRUSTED_PROXIES > 0 and not _hosts
TRUSTED_HOSTS = None if _any_host else [*_hosts, *LOOPBACK_HOSTS]

# What whoever wants anything but /health has to show, by `Authorization: Bearer …` or on the page; empty for
# nothing: python3 -c 'import secrets; print(secrets.token_urlsafe())'
LONGTASK_API_TOKEN = _text("LONGTASK_API_TOKEN", "")

# Wrong ones that a client may show in a minute before no token of its is looked at for the rest of it.
LONGTASK_WRONG_TOKENS = _integer("LONGTASK_WRONG_TOKENS", 10, 1, 10**9)

# How many tasks one client may start at one address.
LONGTASK_RATE_LIMIT = _rate_limit("LONGTASK_RATE_LIMIT", "200 per minute")

# Seconds that the task at /longtask may take, steps times delay: each task holds a worker's place for so long.
LONGTASK_DEMO_SECONDS = _integer("LONGTASK_DEMO_SECONDS", 3600, 1, 1_000_000)

# The database of the examples: SQLite in instance/, or for instance postgresql://user:password@host/name
SQLALCHEMY_DATABASE_URI = _database_url("DATABASE_URL", "sqlite:///longtask.db")
# A connection that lay in the pool while the database was restarted is found out before it is used.
# One that is free is waited for no longer than a request waits for a lock, so that both are 503 in time. The values
# of a statement, among them mail addresses, are nothing for a log.
SQLALCHEMY_ENGINE_OPTIONS = {"pool_pre_ping": True, "pool_timeout": 1, "hide_parameters": True}

# Bytes that a file to be imported may have.
IMPORT_MAX_BYTES = _integer("IMPORT_MAX_BYTES", 200_000_000, 1, 2**31)

# Seconds that doubling an integer waits in the queue, and works; and the digits that the integer may have.
DOUBLE_WAIT_SECONDS = _integer("DOUBLE_WAIT_SECONDS", 5, 0, 3600)
DOUBLE_WORK_SECONDS = _integer("DOUBLE_WORK_SECONDS", 5, 0, 3600)
DOUBLE_MAX_DIGITS = _integer("DOUBLE_MAX_DIGITS", 100_000, 1, 10_000_000)

# Seconds that a timed task takes for each 1 of its type.
TIMED_SECONDS = _integer("TIMED_SECONDS", 10, 0, 3600)

# The mail server. Without one, mail goes to the catcher that run.sh starts at MAIL_CATCHER_HOST and
# MAIL_PORT, and is shown at /outbox.
MAIL_CATCHER = not _text("MAIL_SERVER", "")
MAIL_SERVER = _text("MAIL_SERVER", _text("MAIL_CATCHER_HOST", "127.0.0.1"))
MAIL_USE_TLS = _yes_or_no("MAIL_USE_TLS", False)
MAIL_USE_SSL = _yes_or_no("MAIL_USE_SSL", False)
MAIL_PORT = _integer(
    "MAIL_PORT",
    1025 if MAIL_CATCHER else 465 if MAIL_USE_SSL else 587 if MAIL_USE_TLS else 25,
    1,
    65535,
)
MAIL_USERNAME = _text("MAIL_USERNAME", "")
MAIL_PASSWORD = _text("MAIL_PASSWORD", "")

# Who the mails are from.
MAIL_DEFAULT_SENDER = _text("MAIL_DEFAULT_SENDER", MAIL_USERNAME or "longtask@localhost")

# Seconds that an answer of the mail server is waited for.
MAIL_TIMEOUT = _integer("MAIL_TIMEOUT", 30, 1, 3600)

# How often a mail is tried again that the server could not take for now, and the seconds until the first of
# these tries; each next pause is twice as long.
MAIL_RETRIES = _integer("MAIL_RETRIES", 5, 0, 100)
MAIL_RETRY_SECONDS = _integer("MAIL_RETRY_SECONDS", 10, 0, 3600)

# Whether an address is accepted only if the DNS says that its domain takes mail.
MAIL_CHECK_DELIVERABILITY = _yes_or_no("MAIL_CHECK_DELIVERABILITY", False)

# How much mail one client may have sent.
MAIL_LIMIT = _rate_limit("MAIL_LIMIT", "10 per minute; 100 per day")

# How many samples of a file to import one client may load; the largest has some 60 MB.
SAMPLE_LIMIT = _rate_limit("SAMPLE_LIMIT", "20 per minute")

# Whether clients are limited at all.
RATELIMIT_ENABLED = _yes_or_no("RATELIMIT_ENABLED", True)

# Days after which imports and caught mails are removed.
KEEP_DAYS = _integer("KEEP_DAYS", 7, 1, 10_000)

# The dashboard, Flower: its port, and NAME:PASSWORD for whoever may see it. It lists every task and can
# stop workers, so it listens on loopback unless FLOWER_ADDRESS says otherwise, and answers to FLOWER_ADDRESS and
# the names in TRUSTED_HOSTS only. Read by flowerconfig.py.
FLOWER_PORT = _integer("FLOWER_PORT", 5555, 1, 65535)
FLOWER_ADDRESS = _text("FLOWER_ADDRESS", "127.0.0.1")
FLOWER_BASIC_AUTH = _text("FLOWER_BASIC_AUTH", "")

# Celery's own settings, by Celery's own names. Those that the pattern needs are in flask_longtask.
CELERY = {
    "broker_url": CELERY_BROKER_URL,
    "result_backend": CELERY_RESULT_BACKEND,
    "broker_transport_options": _sentinel if CELERY_BROKER_URL.startswith("sentinel") else {},
    "result_backend_transport_options": _sentinel,
    "result_expires": LONGTASK_RESULT_EXPIRES,
    # Celery's own AsyncResult says which task it is, and where it ran.
    "result_extended": True,
    # JSON only: unpickling lets whoever can write to Redis run code in the worker.
    "accept_content": ["json"],
    "task_serializer": "json",
    "result_serializer": "json",
    "worker_concurrency": WORKER_CONCURRENCY,
    "timezone": "UTC",
    "enable_utc": True,
    # Two queues, which a worker without `-Q` both serves. The Procfile has a worker for each, so that a mail
    # server that is stuck holds up mail only.
    "task_queues": {name: {"exchange": name, "routing_key": name} for name in ("celery", "mail")},
    "task_routes": {
        "examples.mail.send_mail": {"queue": "mail"},
        "examples.users.send_welcome": {"queue": "mail"},
    },
    # What `celery beat` starts, and where it is. A run that no worker has taken up when the next is due is not needed.
    "imports": ["examples.cleanup"],
    "beat_schedule": {
        "clean up every hour": {
            "task": "examples.cleanup.clean_up",
            "schedule": 3600.0,
            "options": {"expires": 3600.0},
        },
    },
}
