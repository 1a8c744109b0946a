"""Checks whether a port is free, whether Redis responds, and whether everything is ready."""

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
    """Return the host and port in REDIS_URL, without the password."""
    url = urlsplit(config.REDIS_URL)
    return f"{url.hostname}:{url.port or 6379}"


def redis_answers() -> bool:
    client = redis.Redis.from_url(config.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)
    try:
        return bool(client.ping())
    except redis.AuthenticationError:
        sys.exit(f"The Redis at {redis_address()} refuses the password in REDIS_URL.")
    except redis.RedisError:
        return False
    finally:
        client.close()


def site_answers(workers: int) -> bool:
    """Whether the web server responds, has its Redis, and sees at least `workers` workers."""
    # Ignore proxies in the environment, since they cannot reach this machine's loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{SITE}/health", timeout=5) as response:
            health = json.load(response)
    except (OSError, HTTPException, ValueError):
        return False
    return health.get("redis") == "up" and (health.get("workers") or 0) >= workers
