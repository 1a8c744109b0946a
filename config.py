"""Every setting, with its default. This is the one place that reads the environment (and `.env`)."""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from dotenv import load_dotenv

ROOT = Path(__file__).parent

# Only this user may read files created from here on, and the files that are already in instance/.
os.umask(0o077)


def _make_private(folder: Path) -> None:
    """Remove the access of other users to this folder and its entries. They cannot reach anything deeper."""
    for path in (folder, *folder.iterdir()):
        # An entry may belong to another user, or may have been deleted meanwhile.
        with suppress(PermissionError, FileNotFoundError):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & 0o700)


if (ROOT / "instance").is_dir():
    _make_private((ROOT / "instance").resolve())

# The environment takes precedence over the file.
load_dotenv(ROOT / ".env")


def _text(name: str, default: str) -> str:
    # An empty variable counts as not set: compose files pass unset variables on as empty ones.
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
    if text == default:
        return text
    from sqlalchemy.engine import make_url  # noqa: PLC0415  # late, as ./run.sh waits for what is imported here
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    try:
        dialect = make_url(text).get_dialect()
        # Psycopg is in the requirements, so it need not be tried. It must not be imported here: it decides at import
        # whether to cooperate with gevent, and gunicorn's main process reads this file before gevent patches anything.
        if dialect.driver != "psycopg":
            dialect.import_dbapi()
    except (ArgumentError, ValueError):  # ValueError is for the port
        # The message does not repeat the URL, which may hold a password.
        raise SystemExit(
            f"{name} must read like 'postgresql://user:password@host/name' or 'sqlite:////folder/file.db'."
        ) from None
    except ImportError as error:
        raise SystemExit(f"The driver that {name} needs is not installed: {error}.") from None
    return text


def _rate_limit(name: str, default: str) -> str:
    text = _text(name, default)
    if text == default:
        return text
    from limits import parse_many  # noqa: PLC0415  # late, as above

    try:
        parse_many(text)
    except ValueError:
        raise SystemExit(f"{name} must read like '{default}', not {text!r}.") from None
    return text


def _generated_secret_key() -> str:
    """Return the key in `instance/secret_key`, which the first process creates.

    Web server and worker start at the same time and must use the same key. `os.link` creates the file with its
    whole content, or fails if it exists, so no process reads half a key or replaces another one's key.
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


# The ports on 127.0.0.1 of the web server, and of the Redis that run-redis.sh starts.
PORT = _integer("PORT", 5000, 1, 65535)
REDIS_PORT = _integer("REDIS_PORT", 6379, 1, 65535)

# The Redis that stores the status of tasks.
_REDIS = ("redis", "rediss", "sentinel")
REDIS_URL = _url("REDIS_URL", f"redis://127.0.0.1:{REDIS_PORT}/0", *_REDIS)

# Where Celery sends its messages (Redis or RabbitMQ) and keeps its results (Redis).
CELERY_BROKER_URL = _url("CELERY_BROKER_URL", REDIS_URL, *_REDIS, "amqp", "amqps", "pyamqp")
CELERY_RESULT_BACKEND = _url("CELERY_RESULT_BACKEND", REDIS_URL, *_REDIS)

# The name by which the Sentinels of a sentinel:// address know their Redis.
REDIS_SENTINEL_MASTER = _text("REDIS_SENTINEL_MASTER", "mymaster")
_sentinel = {"master_name": REDIS_SENTINEL_MASTER}

# Seconds within which another worker takes over the tasks of a dead worker.
LONGTASK_LEASE_SECONDS = _integer("LONGTASK_LEASE_SECONDS", 30, 3, 3600)

# Lost workers after which a task fails instead of being started again.
LONGTASK_MAX_ATTEMPTS = _integer("LONGTASK_MAX_ATTEMPTS", 3, 1, 1000)

# Tasks that may wait in a queue; further starts are refused. 0 means no limit.
LONGTASK_MAX_WAITING = _integer("LONGTASK_MAX_WAITING", 10_000, 0, 10**9)

# Size in bytes above which a result is left out of the status and served at its own address.
LONGTASK_MAX_RESULT_BYTES = _integer("LONGTASK_MAX_RESULT_BYTES", 256 * 1024, 0, 2**31)

# Seconds for which a cancelled task may go on before its process is killed.
LONGTASK_CANCEL_GRACE_SECONDS = _integer("LONGTASK_CANCEL_GRACE_SECONDS", 5, 0, 3600)

# Tasks that one worker runs at the same time, each in its own process. The tasks of this app mostly wait, so
# there may be more processes than processors.
WORKER_CONCURRENCY = _integer("WORKER_CONCURRENCY", 6, 1, 1000)

# The command that starts a worker. The page shows it while no worker is running.
LONGTASK_WORKER_COMMAND = "celery -A celery_worker worker"

# Names of tasks on the page, where the name of the function does not make one.
LONGTASK_STRINGS = {"tasks": {"import_csv": "CSV import"}}

# Seconds for which a task is kept after it has ended.
LONGTASK_RESULT_EXPIRES = _integer("LONGTASK_RESULT_EXPIRES", 86_400, 1, 10 * 365 * 86_400)

# Web server processes. Each serves many requests at once.
WEB_CONCURRENCY = _integer("WEB_CONCURRENCY", 2, 1, 1000)

# Signs the session cookie, by which a browser finds its tasks again.
SECRET_KEY = _text("SECRET_KEY", "") or _generated_secret_key()

# Whether browsers send the session cookie over HTTPS only. A cookie that was set over HTTPS is always HTTPS-only.
SESSION_COOKIE_SECURE = _yes_or_no("SESSION_COOKIE_SECURE", False)
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"

# Maximum size of a request body in bytes.
MAX_CONTENT_LENGTH = _integer("MAX_CONTENT_LENGTH", 64 * 1024, 1, 2**31)

# Number of reverse proxies in front of the web server. Their X-Forwarded headers are trusted for the client's
# address and for HTTPS. Count only proxies that overwrite these headers.
LONGTASK_TRUSTED_PROXIES = _integer("LONGTASK_TRUSTED_PROXIES", 0, 0, 10)

# The names by which a browser on this machine reaches what listens on its loopback interface.
LOOPBACK_HOSTS = ["127.0.0.1", "localhost"]

# Further host names of the site, separated by commas; a leading dot stands for a whole domain. Requests for other
# host names are refused, to prevent DNS rebinding: an attacker can let his own host name point to this machine, and
# his page then has the same origin as this site. If it is empty and there is a proxy, any host name is accepted,
# because the proxy has already chosen the host names that it serves.
_hosts = [host.strip() for host in _text("TRUSTED_HOSTS", "").split(",") if host.strip()]
_any_host = LONGTASK_TRUSTED_PROXIES > 0 and not _hosts
TRUSTED_HOSTS = None if _any_host else [*_hosts, *LOOPBACK_HOSTS]

# The token that every request except /health needs, as `Authorization: Bearer …` or entered on the page; empty for
# none. To generate one: python3 -c 'import secrets; print(secrets.token_urlsafe())'
LONGTASK_API_TOKEN = _text("LONGTASK_API_TOKEN", "")

# Wrong tokens that a client may send in a minute; after that all its tokens are refused until the minute is over.
LONGTASK_WRONG_TOKENS = _integer("LONGTASK_WRONG_TOKENS", 10, 1, 10**9)

# The token that opens the operators' page at /operate; empty for none.
LONGTASK_OPERATOR_TOKEN = _text("LONGTASK_OPERATOR_TOKEN", "")

# Whether whoever is at this machine may open the operators' page without a token. ./run.sh sets this to yes.
LONGTASK_OPERATE_ON_LOOPBACK = _yes_or_no("LONGTASK_OPERATE_ON_LOOPBACK", False)

# Rate limit for the starts of one client, for each route.
LONGTASK_RATE_LIMIT = _rate_limit("LONGTASK_RATE_LIMIT", "200 per minute")

# Maximum duration of the task at /longtask in seconds, steps times delay. It occupies a worker process for this time.
LONGTASK_DEMO_SECONDS = _integer("LONGTASK_DEMO_SECONDS", 3600, 1, 1_000_000)

# The database of the examples: SQLite in instance/, or for instance postgresql://user:password@host/name
SQLALCHEMY_DATABASE_URI = _database_url("DATABASE_URL", "sqlite:///longtask.db")
# pool_pre_ping finds connections that a restart of the database has closed. pool_timeout is as short as a request's
# wait for a lock, so that both end in a 503 in time. hide_parameters keeps values such as mail addresses out of logs.
SQLALCHEMY_ENGINE_OPTIONS = {"pool_pre_ping": True, "pool_timeout": 1, "hide_parameters": True}

# Maximum size of a file to be imported, in bytes.
IMPORT_MAX_BYTES = _integer("IMPORT_MAX_BYTES", 200_000_000, 1, 2**31)

# Seconds for which a doubling task waits in the queue, and works; and the maximum number of digits.
DOUBLE_WAIT_SECONDS = _integer("DOUBLE_WAIT_SECONDS", 5, 0, 3600)
DOUBLE_WORK_SECONDS = _integer("DOUBLE_WORK_SECONDS", 5, 0, 3600)
DOUBLE_MAX_DIGITS = _integer("DOUBLE_MAX_DIGITS", 100_000, 1, 10_000_000)

# Seconds that a timed task of type 1 takes; type 2 takes twice as long.
TIMED_SECONDS = _integer("TIMED_SECONDS", 10, 0, 3600)

# The mail server. Without it, mail goes to the mail catcher at MAIL_CATCHER_HOST and MAIL_PORT, which run.sh starts,
# and is shown at /outbox.
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

# Sender of the mails.
MAIL_DEFAULT_SENDER = _text("MAIL_DEFAULT_SENDER", MAIL_USERNAME or "longtask@localhost")

# Timeout of the mail server in seconds.
MAIL_TIMEOUT = _integer("MAIL_TIMEOUT", 30, 1, 3600)

# Maximum number of retries when the mail server temporarily refuses a mail, and the first pause in seconds. Each
# further pause is twice as long.
MAIL_RETRIES = _integer("MAIL_RETRIES", 5, 0, 100)
MAIL_RETRY_SECONDS = _integer("MAIL_RETRY_SECONDS", 10, 0, 3600)

# Whether to check in the DNS that the domain of an address accepts mail.
MAIL_CHECK_DELIVERABILITY = _yes_or_no("MAIL_CHECK_DELIVERABILITY", False)

# Rate limit for the mails of one client.
MAIL_LIMIT = _rate_limit("MAIL_LIMIT", "10 per minute; 100 per day")

# Rate limit for the sample files that one client downloads; the largest has some 60 MB.
SAMPLE_LIMIT = _rate_limit("SAMPLE_LIMIT", "20 per minute")

# Whether rate limits apply.
RATELIMIT_ENABLED = _yes_or_no("RATELIMIT_ENABLED", True)

# Days after which imports and caught mails are removed.
KEEP_DAYS = _integer("KEEP_DAYS", 7, 1, 10_000)

# The dashboard, Flower: its port, its address, and the NAME:PASSWORD that it requires. It lists every task and can
# stop workers, so it listens on loopback by default, and accepts only requests for FLOWER_ADDRESS and the names in
# TRUSTED_HOSTS. flowerconfig.py reads these settings.
FLOWER_PORT = _integer("FLOWER_PORT", 5555, 1, 65535)
FLOWER_ADDRESS = _text("FLOWER_ADDRESS", "127.0.0.1")
FLOWER_BASIC_AUTH = _text("FLOWER_BASIC_AUTH", "")

# Celery's settings. flask_longtask sets those that the extension needs.
CELERY = {
    "broker_url": CELERY_BROKER_URL,
    "result_backend": CELERY_RESULT_BACKEND,
    "broker_transport_options": _sentinel if CELERY_BROKER_URL.startswith("sentinel") else {},
    "result_backend_transport_options": _sentinel,
    "result_expires": LONGTASK_RESULT_EXPIRES,
    # Lets Celery's AsyncResult return the name of the task and its worker.
    "result_extended": True,
    # JSON only: with pickle, anyone who can write to Redis could run code in the worker.
    "accept_content": ["json"],
    "task_serializer": "json",
    "result_serializer": "json",
    "worker_concurrency": WORKER_CONCURRENCY,
    "timezone": "UTC",
    "enable_utc": True,
    # A worker without `-Q` serves both queues. The Procfile has a worker for each, so that a mail server that hangs
    # delays only mail.
    "task_queues": {name: {"exchange": name, "routing_key": name} for name in ("celery", "mail")},
    "task_routes": {
        "examples.mail.send_mail": {"queue": "mail"},
        "examples.users.send_welcome": {"queue": "mail"},
    },
    # The periodic task of `celery beat`. A run expires when the next one is due.
    "imports": ["examples.cleanup"],
    "beat_schedule": {
        "clean up every hour": {
            "task": "examples.cleanup.clean_up",
            "schedule": 3600.0,
            "options": {"expires": 3600.0},
        },
    },
}
