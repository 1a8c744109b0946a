"""Users: one is created and welcomed, or neither."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier

import pytest
import requests

from tests.mailing import MailServer, Site, mail_server, site
from tests.processes import PATIENCE

__all__ = ["mail_server", "site"]  # fixtures


def test_a_user_is_created_and_welcomed(site: Site, mail_server: MailServer):
    response = site.post("/users", username="ann", email="ann@example.com")
    task = site.ended(response)
    assert (task["state"], task["task"]) == ("SUCCESS", "send_welcome")
    assert ("ann", "ann@example.com") in site.users()
    [mail] = mail_server.mails_to("ann@example.com")
    assert mail["Subject"] == "Welcome"
    assert "Hello ann," in mail.get_content()


@pytest.mark.parametrize(
    ("username", "email"), [("bob", "other@example.com"), ("other", "bob@example.com")]
)
def test_a_second_one_is_refused_and_nothing_is_sent(
    site: Site, mail_server: MailServer, username: str, email: str
):
    site.post("/users", username="bob", email="bob@example.com")
    before = site.users()

    response = site.post("/users", username=username, email=email)

    assert response.status_code == 409
    assert response.headers["Content-Type"] == "application/problem+json"
    assert site.users() == before
    # A mail that is sent after it arrives after it.
    site.ended(site.post("/mail", email="afterwards@example.com"))
    assert mail_server.mails_to("other@example.com") == []


def test_of_many_at_once_one_is_created(site: Site, mail_server: MailServer):
    def create(number: int) -> requests.Response:
        return site.post("/users", username="cid", email=f"cid-{number}@example.com")

    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(create, range(16)))

    assert sorted(response.status_code for response in responses) == [202] + [409] * 15
    [created] = [response for response in responses if response.status_code == 202]
    assert site.ended(created)["state"] == "SUCCESS"
    assert len([mail for mail in mail_server.taken if mail["To"].startswith("cid-")]) == 1


def test_the_same_request_twice_creates_one_user(site: Site, mail_server: MailServer):
    def create(username: str) -> requests.Response:
        return requests.post(
            f"{site.url}/users",
            json={"username": username, "email": "dan@example.com"},
            headers={"Idempotency-Key": "create-dan"},
            timeout=PATIENCE,
        )

    first, second = create("dan"), create("dan")
    assert second.status_code == 202
    assert first.headers["Location"] == second.headers["Location"]
    site.ended(second)
    assert len(mail_server.mails_to("dan@example.com")) == 1
    assert create("dora").status_code == 422
    assert [user for user in site.users() if user[1] == "dan@example.com"] == [
        ("dan", "dan@example.com")
    ]


def test_the_same_request_at_the_same_instant_creates_one_user(site: Site, mail_server: MailServer):
    at_once = Barrier(2)

    def create(number: int) -> requests.Response:
        at_once.wait()
        while True:
            answer = requests.post(
                f"{site.url}/users",
                json={"username": f"twin {number}", "email": f"twin-{number}@example.com"},
                headers={"Idempotency-Key": f"create-twin-{number}"},
                timeout=PATIENCE,
            )
            # Who is told that the other one's answer takes long, as on a busy machine, comes again
            if answer.status_code != 409 or "Retry-After" not in answer.headers:
                return answer

    for number in range(10):
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(create, [number, number])
        assert (first.status_code, second.status_code) == (202, 202)
        assert first.headers["Location"] == second.headers["Location"]
        site.ended(first)
        assert len(mail_server.mails_to(f"twin-{number}@example.com")) == 1


def test_the_worker_always_finds_the_user(site: Site):
    def create(number: int) -> requests.Response:
        return site.post("/users", username=f"user {number}", email=f"user-{number}@example.com")

    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(create, range(40)))
    assert {site.ended(response)["state"] for response in responses} == {"SUCCESS"}


def test_a_user_whose_mail_cannot_be_queued_is_not_created(redis_server, folder):
    # Given a queue with room for one, and no worker
    site = Site("full", folder, redis_server.url(6), LONGTASK_MAX_WAITING="1")
    try:
        assert site.post("/users", username="ann", email="ann@example.com").status_code == 202

        refused = site.post("/users", username="bob", email="bob@example.com")

        assert refused.status_code == 503
        assert refused.headers["Retry-After"] == "5"
        assert site.users() == [("ann", "ann@example.com")]
        # So that the same again is not refused for good.
        assert site.post("/users", username="bob", email="bob@example.com").status_code == 503
    finally:
        site.stop()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Zoë", "Zoe\u0308"),  # NFC and NFD
        ("fay", "Fay"),
        ("STRASSE", "straße"),
        ("office", "o\ufb03ce"),  # a ligature
        ("max", "\uff4d\uff41\uff58"),  # letters as wide as Chinese ones
        ("max 2", "max  2"),
    ],
)
def test_names_that_look_the_same_are_the_same(site: Site, first: str, second: str):
    number = len(site.users())
    assert site.post("/users", username=first, email=f"{number}-1@example.com").status_code == 202
    assert site.post("/users", username=second, email=f"{number}-2@example.com").status_code == 409


def test_a_name_is_kept_as_it_was_typed_and_composed(site: Site):
    site.post("/users", username="Rene\u0301 X", email="rene@example.com")
    assert ("Ren\u00e9 X", "rene@example.com") in site.users()


@pytest.mark.parametrize("second", ["A4@EXAMPLE.COM", "A4@example.com", "a4@Example.Com"])
def test_an_address_in_other_letters_is_the_same_address(site: Site, second: str):
    site.post("/users", username="a4", email="a4@example.com")
    before = site.users()
    assert (
        site.post("/users", username=f"also {second[:6]}{second[-1:]}", email=second).status_code
        == 409
    )
    assert site.users() == before


def test_a_database_of_an_older_version_is_used_as_it_is(redis_server, folder):
    # Given a file with the tables as they were, and two users who would be one now
    path = folder / "older.db"
    with closing(sqlite3.connect(path)) as older:
        older.executescript(
            """CREATE TABLE users (id INTEGER NOT NULL, username VARCHAR(64) NOT NULL,
               email VARCHAR(254) NOT NULL, PRIMARY KEY (id), UNIQUE (username), UNIQUE (email));
               INSERT INTO users (username, email) VALUES ('ann', 'ann@example.com'),
               ('ANN', 'Ann@example.com'), ('Zoe\u0308', 'zoe@example.com');"""
        )
    for _ in range(2):  # and so when it is started again
        site = Site("older", folder, redis_server.url(6))
        try:
            for username, email in [
                ("Ann", "other@example.com"),
                ("other", "ANN@EXAMPLE.COM"),
                ("Zo\u00eb", "other@example.com"),
            ]:
                assert site.post("/users", username=username, email=email).status_code == 409
            assert len(site.users()) == 3
        finally:
            site.stop()


@pytest.mark.parametrize(
    "username",
    [
        *("", "  ", "a" * 65, "ann\r\nBcc: bob", "ann\0", "\ud800"),
        # What nobody sees: fillers of Hangul, a braille cell without dots, joiners and selectors of variants.
        *("\u3164", "ann\u3164", "ann\u115f", "ann\uffa0", "ann\u2800", "an\u034fn", "ann\ufe0f"),
        *("ann\U000e0100", "ann\u200b", "an\u00adn", "ann\u202e", "ann\u180b", "ann\u17b4"),
    ],
)
def test_a_username_that_is_none_is_refused(app, client, username):
    response = client.post("/users", json={"username": username, "email": "ann@example.com"})
    assert (response.status_code, response.json["field"]) == (400, "username")


def test_an_address_that_is_none_is_refused(app, client):
    response = client.post("/users", data={"username": "ann", "email": "ann"})
    assert (response.status_code, response.json["field"]) == (400, "email")


def test_users_on_the_page(site: Site, mail_server: MailServer, page):
    page.goto(site.url)
    form = page.locator("form[action='/users']")
    form.get_by_label("Username").fill("eve")
    form.get_by_label("Mail address of the user").fill("eve@example.com")
    form.get_by_role("button", name="Create").click()
    page.locator(".longtask").get_by_text("Sent to eve@example.com").wait_for()
    assert len(mail_server.mails_to("eve@example.com")) == 1

    form.get_by_role("button", name="Create").click()
    form.get_by_text("A user with this name or address already exists.").wait_for()
    assert page.locator(".longtask").count() == 1
