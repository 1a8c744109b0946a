"""What is asked of the servers themselves: whether a port is free, Redis answers, everything is ready."""

import json
import socket
import sys
import urllib.request
from http.client import HTTPException
from urllib.parse import urlsplit

import redis

import config

SITE = f"http://127.0.0.1:{config.PORT}"


def port_is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def redis_address() -> str:
    """Without the password that may stand before it."""
    url = urlsplit(config.REDIS_URL)
    return f"{url.hostname}:{url.port or 6379}"


def redis_answers() -> bool:
    client = redis.Redis.from_url(config.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)
    try:
        return bool(client.ping())
    except redis.AuthenticationError:
        sys.exit(f"The Redis at {redis_address()} wants another password than REDIS_URL has.")
    except redis.RedisError:
        return False
    finally:
        client.close()


def site_answers(workers: int) -> bool:
    """Whether the web server does, has its Redis, and so many workers are there."""
    # No proxy of the environment's: they do not reach this machine's own loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{SITE}/health", timeout=5) as response:
            health = json.load(response)
    except (OSError, HTTPException, ValueError):
        return False
    return health.get("redis") == "up" and (health.get("workers") or 0) >= workers
