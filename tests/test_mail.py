"""Mail: what a person sees of it, what the mail server gets, and what comes of its refusals."""

import itertools
import json
import re
import smtplib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect
from redis import Redis

from tests.mailing import MailServer, Site, mail_server, site
from tests.processes import PATIENCE, RedisServer, WebServer, wait_until

__all__ = ["mail_server", "site"]  # fixtures


def test_a_mail_is_sent(site: Site, mail_server: MailServer):
    response = site.post("/mail", email="ann@example.com")
    task = site.ended(response)

    assert task["state"] == "SUCCESS"
    assert task["task"] == "send_mail"
    assert task["status"] == "Sent to ann@example.com"
    assert (task["current"], task["total"], task["percent"]) == (1, 1, 100)
    assert task["meta"] == {"answer": "250 OK"}
    [mail] = mail_server.mails_to("ann@example.com")
    assert mail["From"] == "longtask@example.org"
    assert mail["Subject"] == "Hello from Flask"
    assert mail["Message-ID"] == f"<{task['task_id']}@example.org>"
    assert "background task" in mail.get_content()


def test_the_bar_shows_what_the_mail_server_has_replied(site: Site, page: Page):
    page.goto(site.url)
    form = page.get_by_role("region", name="Send a mail")
    form.get_by_label("Mail address").fill("bar@example.com")
    form.get_by_role("button", name="Send", exact=True).click()

    bar = page.get_by_role("article")
    expect(bar).to_contain_text("Sent to bar@example.com")
    expect(bar).to_contain_text("The mail server says: 250 OK")


def test_json_starts_one_too(site: Site, mail_server: MailServer):
    response = requests.post(
        f"{site.url}/mail", json={"email": "json@example.com"}, timeout=PATIENCE
    )
    assert site.ended(response)["state"] == "SUCCESS"
    assert len(mail_server.mails_to("json@example.com")) == 1


def test_a_mail_may_wait_for_its_time(site: Site, mail_server: MailServer):
    due = datetime.now(UTC) + timedelta(seconds=4)
    response = site.post("/mail", email="soon@example.com", delay="4")
    task = response.json()
    assert task["state"] == "PENDING"
    assert re.fullmatch(r"Scheduled for \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", task["status"])

    assert site.ended(response)["state"] == "SUCCESS"
    assert datetime.now(UTC) >= due


def test_a_mail_that_waits_can_be_cancelled(site: Site, mail_server: MailServer):
    addresses = (f"never-{number}@example.com" for number in itertools.count())

    def cancelled_in_time() -> tuple[str, requests.Response] | None:
        address = next(addresses)
        response = site.post("/mail", email=address, delay="4")
        answer = requests.delete(response.headers["Location"], timeout=PATIENCE)
        # A busy machine may come too late
        return (address, response) if answer.ok else None

    address, response = wait_until(cancelled_in_time)
    later = site.post("/mail", email="later@example.com", delay="4.5")
    site.ended(later)
    assert site.status(response)["state"] == "REVOKED"
    assert mail_server.tries.get(address) is None


def test_what_is_refused_for_now_is_tried_again_and_the_bar_says_why(
    site: Site, mail_server: MailServer
):
    mail_server.answers["grey@example.com"] = [
        "451 4.7.1 Greylisted, come back later",
        "452 4.2.2 Mailbox full",
    ]
    response = site.post("/mail", email="grey@example.com")

    waiting = site.wait_for(response, "RETRY")
    words = (
        r"The mail server says: 451 4.7.1 Greylisted, come back later \(retry 1 of 3 at [\dT:-]+Z\)"
    )
    assert re.fullmatch(words, waiting["status"])
    assert waiting["percent"] == 0
    wait_until(lambda: "452 4.2.2 Mailbox full (retry 2 of 3" in site.status(response)["status"])

    task = site.ended(response)
    assert (task["state"], task["attempt"]) == ("SUCCESS", 3)
    assert mail_server.tries["grey@example.com"] == 3
    assert len(mail_server.mails_to("grey@example.com")) == 1


def test_what_is_refused_for_good_fails_at_once(site: Site, mail_server: MailServer):
    mail_server.answers["nobody@example.com"] = ["550 5.1.1 No such user here"]
    task = site.ended(site.post("/mail", email="nobody@example.com"))
    assert task["state"] == "FAILURE"
    assert task["status"] == "The mail server says: 550 5.1.1 No such user here"
    assert task["attempt"] == 1
    assert mail_server.tries["nobody@example.com"] == 1


@pytest.mark.long
def test_a_server_that_does_not_answer_is_left_and_tried_again(
    mail_server: MailServer, redis_server: RedisServer, folder: Path
):
    mail_server.stuck.add("stuck@example.com")
    settings = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": str(mail_server.port)}
    site = Site("stuck", folder, redis_server.url(4), MAIL_TIMEOUT="1", **settings)
    try:
        site.start_worker()
        response = site.post("/mail", email="stuck@example.com")
        waiting = site.wait_for(response, "RETRY")
        assert waiting["status"].startswith("The mail server cannot be reached: ")
        assert "timed out (retry 1 of 3 at " in waiting["status"]
        mail_server.stuck.clear()
        assert site.ended(response)["state"] == "SUCCESS"
    finally:
        site.stop()


def test_a_mail_whose_server_says_no_goodbye_is_not_sent_twice(site: Site, mail_server: MailServer):
    mail_server.mute.add("rude@example.com")
    assert site.ended(site.post("/mail", email="rude@example.com"))["state"] == "SUCCESS"
    assert len(mail_server.mails_to("rude@example.com")) == 1


def test_no_address_is_in_the_log_of_the_worker(site: Site, mail_server: MailServer):
    mail_server.answers["log-2@example.com"] = ["450 4.1.1 <LOG-2@example.com>: not now"]
    mail_server.answers["log-3@example.com"] = ["550 5.1.1 <log-3@example.com>: never"]
    starts = [site.post("/mail", email=f"log-{number}@example.com") for number in (1, 2, 3)]
    starts.append(site.post("/users", username="log", email="log-4@example.com"))
    waiting = site.wait_for(starts[1], "RETRY")
    assert "The mail server says: 450 4.1.1 <the address>: not now" in waiting["status"]

    tasks = [site.ended(start) for start in starts]

    assert [task["state"] for task in tasks] == ["SUCCESS", "SUCCESS", "FAILURE", "SUCCESS"]
    assert tasks[0]["status"] == "Sent to log-1@example.com"  # whoever started it may read it
    for task in tasks:
        wait_until(lambda i=task["task_id"]: re.search(rf"{i}\] (succeeded|raised)", log_of(site)))
    assert f"{tasks[1]['task_id']}] retry" in log_of(site)
    assert "log-" not in log_of(site).lower()


def log_of(site: Site) -> str:
    assert site.worker is not None
    return site.worker.log.read_text()


def test_no_address_is_among_what_others_show_of_a_message(redis_server: RedisServer, folder: Path):
    # Such as Flower, which shows a task's arguments by the text that comes with its message.
    site = Site("unread", folder, redis_server.url(10))
    try:
        sent = site.post("/mail", email="ann@example.com").json()["task_id"]
        with Redis.from_url(redis_server.url(10)) as redis:
            messages = [json.loads(message) for message in redis.lrange("mail", 0, -1)]
    finally:
        site.stop()
    [headers] = [m["headers"] for m in messages if m["headers"]["id"] == sent]
    assert "example.com" not in json.dumps(headers)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "   ",
        "ann",
        "ann@",
        "@example.com",
        "ann@example",
        "ann@localhost",
        "ann@@example.com",
        "ann@example.com,bob@example.com",
        "Ann <ann@example.com>",
        "ann@example.com\r\nBcc: bob@example.com",
        "ann\r\n@example.com",
        "ann@example.com\n",
        "ann@example.com\0",
        "\u2028ann@example.com",
        '"ann\r\nBcc: x"@example.com',
        "ann@exam\r\n ple.com",
        "änn@example.com",
        "ann@" + "example." * 40 + "com",
        "ann@[127.0.0.1]",
    ],
)
def test_what_is_no_address_is_refused(app, client, address):
    response = client.post("/mail", data={"email": address})
    assert response.status_code == 400
    assert response.mimetype == "application/problem+json"
    assert response.json["field"] == "email"
    assert response.json["detail"].startswith("Email ")


@pytest.mark.parametrize("value", [None, 5, True, ["ann@example.com"], {"a": "b"}])
def test_what_is_no_text_is_no_address_either(app, client, value):
    response = client.post("/mail", json={"email": value})
    assert (response.status_code, response.json["field"]) == (400, "email")


def test_a_domain_of_another_script_gets_its_mail(site: Site, mail_server: MailServer):
    task = site.ended(site.post("/mail", email="ann@bücher.example.com"))
    assert task["state"] == "SUCCESS"
    assert mail_server.tries["ann@xn--bcher-kva.example.com"] == 1


@pytest.mark.parametrize("delay", ["-1", "soon", "1e9", "nan"])
def test_a_wait_that_is_none_is_refused(app, client, delay):
    response = client.post("/mail", data={"email": "ann@example.com", "delay": delay})
    assert (response.status_code, response.json["field"]) == (400, "delay")


def test_one_client_cannot_mail_the_world(app, redis, monkeypatch):
    monkeypatch.setitem(app.config, "MAIL_LIMIT", "2 per minute")
    client = app.test_client()
    elsewhere = {"REMOTE_ADDR": "192.0.2.7"}
    send = {"data": {"email": "ann@example.com", "delay": "3600"}}
    for _ in range(2):
        response = client.post("/mail", **send, environ_base=elsewhere)
        assert response.status_code == 202
        assert response.headers["Retry-After"] == "2"
        client.delete(response.headers["Location"])

    refused = client.post("/mail", **send, environ_base=elsewhere)
    assert refused.status_code == 429
    assert refused.mimetype == "application/problem+json"
    assert 1 <= int(refused.headers["Retry-After"]) <= 61
    assert refused.json["title"] == "Too Many Requests"
    assert "2 mails a minute" in refused.json["detail"]
    # A new browser does not help, nor the other route that sends mail; another client is another client.
    other = app.test_client()
    assert other.post("/mail", **send, environ_base=elsewhere).status_code == 429
    assert other.post("/mail", **send, environ_base={"REMOTE_ADDR": "192.0.2.8"}).status_code == 202
    # It is kept in Redis, so that every web process counts on.
    assert [key for key in redis.scan_iter() if key.startswith(b"LIMITS")]


def test_what_is_refused_does_not_count(app, monkeypatch):
    monkeypatch.setitem(app.config, "MAIL_LIMIT", "1 per minute")
    elsewhere = {"REMOTE_ADDR": "192.0.2.9"}
    client = app.test_client()
    for _ in range(3):
        response = client.post("/mail", data={"email": "ann"}, environ_base=elsewhere)
        assert response.status_code == 400
    send = {"email": "ann@example.com", "delay": "3600"}
    assert client.post("/mail", data=send, environ_base=elsewhere).status_code == 202
    assert client.post("/mail", data=send, environ_base=elsewhere).status_code == 429


def test_without_redis_nobody_is_let_past_the_limit(folder):
    redis_server = RedisServer("redis-to-stop", folder)
    web = WebServer("web-without-redis", folder, redis_server.url())
    try:
        redis_server.stop()
        response = requests.post(
            f"{web.url}/mail", data={"email": "ann@example.com"}, timeout=PATIENCE
        )
    finally:
        web.stop()
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "5"
    assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("error", "may_pass", "words"),
    [
        (smtplib.SMTPConnectError(421, b"Too busy"), True, "The mail server says: 421 Too busy"),
        (smtplib.SMTPConnectError(554, b"No"), False, "The mail server says: 554 No"),
        (smtplib.SMTPDataError(451, b"a\r\nb\xff"), True, "The mail server says: 451 a b\ufffd"),
        (
            smtplib.SMTPSenderRefused(550, b"Not you", "x@y"),
            False,
            "The mail server says: 550 Not you",
        ),
        (smtplib.SMTPAuthenticationError(535, b"Bad"), False, "The mail server says: 535 Bad"),
        (smtplib.SMTPAuthenticationError(454, b"Later"), True, "The mail server says: 454 Later"),
        (
            smtplib.SMTPRecipientsRefused({"a@b": (450, b"Busy")}),
            True,
            "The mail server says: 450 Busy",
        ),
        (smtplib.SMTPServerDisconnected("Gone"), True, "The mail server cannot be reached: Gone"),
        (smtplib.SMTPNotSupportedError("No TLS"), False, "The mail server cannot be used: No TLS"),
        (
            ConnectionRefusedError(111, "Refused"),
            True,
            "The mail server cannot be reached: Refused",
        ),
        (TimeoutError("timed out"), True, "The mail server does not answer"),
        (ssl.SSLCertVerificationError("expired"), False, "The mail server cannot be used: "),
        (smtplib.SMTPDataError(500, b"x" * 5000), False, "The mail server says: 500 xxx"),
    ],
)
def test_every_failure_has_its_words_and_is_told_to_pass_or_not(app, error, may_pass, words):
    from examples import mail  # noqa: PLC0415

    assert mail._may_pass(error) is may_pass
    assert mail._in_words(error).startswith(words)
    assert len(mail._in_words(error)) <= mail.SHOWN_CHARACTERS


def test_pauses_double_and_differ(app):
    from examples.mail import LONGEST_PAUSE, pause_before  # noqa: PLC0415

    with app.app_context():
        for retry, most in [
            (0, 10),
            (1, 20),
            (4, 160),
            (9, LONGEST_PAUSE),
            (10_000, LONGEST_PAUSE),
        ]:
            pauses = {pause_before(retry) for _ in range(50)}
            assert len(pauses) > 40
            assert most / 2 <= min(pauses) <= max(pauses) <= most


def test_mail_on_the_page(site: Site, mail_server: MailServer, page):
    # Given a pause that is longer than those of the page between two looks
    mail_server.answers["eve@example.com"] = ["421 4.3.2 <b>Closing</b>"] * 2
    page.goto(site.url)
    form = page.locator("form[action='/mail']")
    form.get_by_label("Mail address").fill("eve@example.com")
    form.get_by_role("button", name="Send", exact=True).click()
    bar = page.locator(".longtask")
    bar.get_by_text("Waiting to retry").wait_for()
    # What the server said is text, and the time is the reader's own.
    bar.get_by_text("The mail server says: 421 4.3.2 <b>Closing</b> (retry").wait_for()
    assert bar.locator("time").count() >= 1
    bar.get_by_text("Sent to eve@example.com").wait_for()

    page.reload()
    form.get_by_role("button", name="Send in 1 minute").click()
    page.locator(".longtask[data-phase='scheduled']").get_by_text("Scheduled for").wait_for()
    assert form.get_by_label("Mail address").input_value() == "eve@example.com"
    page.locator(".longtask[data-phase='scheduled']").get_by_role("button").click()
    page.locator(".longtask[data-phase='cancelled']").wait_for()
    assert len(mail_server.mails_to("eve@example.com")) == 1
