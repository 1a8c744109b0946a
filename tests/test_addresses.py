"""Whom a request comes from and for whom it is: forwarded addresses, and the names that the site goes by."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.processes import RedisServer, WebServer

DATABASE = 11

QUICK = {"steps": 1, "delay": 0}
BROWSER = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"


# -- the client's address ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def behind(folder: Path, redis_server: RedisServer) -> Iterator[WebServer]:
    """A server behind a proxy, which takes one start a minute from each client."""
    server = WebServer(
        "web-behind-one",
        folder,
        redis_server.url(DATABASE),
        LONGTASK_TRUSTED_PROXIES="1",
        LONGTASK_RATE_LIMIT="1/minute",
    )
    yield server
    server.stop()


@pytest.fixture
def start(behind: WebServer) -> Callable[[str], int]:
    """Start a task as a client of this address, and return the answer's status."""

    def start(forwarded_for: str) -> int:
        answer = requests.post(
            f"{behind.url}/longtask",
            json=QUICK,
            headers={"X-Forwarded-For": forwarded_for.encode()},
            timeout=10,
        )
        return answer.status_code

    return start


#: The last part of addresses that no other test has used.
unused = itertools.count(1)


@pytest.mark.parametrize("form", ["{}:5678", '"{}:5678"', "{}:1", "::ffff:{}", "[::ffff:{}]:443"])
def test_an_ipv4_address_is_one_client_however_it_is_written(
    start: Callable[[str], int], form: str
) -> None:
    number = next(unused)
    address, other = f"192.0.2.{number}", f"198.51.100.{number}"

    assert start(address) == 202
    assert start(form.format(address)) == 429
    # Not all of those that are written so are one
    assert start(form.format(other)) == 202
    assert start(other) == 429


@pytest.mark.parametrize("form", ["{}", "[{}]:443", "[{}]", '"[{}]"', '"[{}]:443"', "{}%eth0"])
def test_of_ipv6_a_network_is_one_client_however_it_is_written(
    start: Callable[[str], int], form: str
) -> None:
    network = f"2001:db8:0:{next(unused)}"

    assert start(f"{network}::1") == 202
    assert start(form.format(f"{network}::2")) == 429
    assert start(form.format(f"2001:db8:1:{next(unused)}::1")) == 202


NO_ADDRESSES = [
    *(
        "unknown",
        "_hidden",
        "localhost",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "1.2.3.4:",
        "1.2.3.4:x",
    ),
    *("[::1", "::1]", "[]", "[1.2.3.4]x", ":::", "12345::", "x" * 1000, "1.2.3.4/24", "ä"),
    *("0x7f.1", "%", "[::1]:99999999", "-1"),
]


def test_who_cannot_be_told_is_one_client_with_all_of_these(start: Callable[[str], int]) -> None:
    answers = [start(text) for text in NO_ADDRESSES]

    assert answers == [202] + [429] * (len(NO_ADDRESSES) - 1), answers


@pytest.mark.parametrize("nothing", ["", ",", '""', ", ,"])
def test_without_a_forwarded_address_the_proxy_counts(
    start: Callable[[str], int], nothing: str
) -> None:
    assert start(nothing) in (202, 429)
    assert start("127.0.0.1") == 429
