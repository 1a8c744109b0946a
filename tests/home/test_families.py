"""A group, a chain, a chord, or a task with children is one family: one id, one bar that is true."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from celery.result import AsyncResult, GroupResult

from tests.home.home import Home
from tests.home.servers import PATIENCE
from tests.processes import wait_until


class Families(Home):
    #: The names of the families that a test has started.
    started: set[str] = set()  # noqa: RUF012  # the fixture empties it

    def begin(self, kind: str, name: str = "", **headers: str) -> requests.Response:
        self.started.add(name)
        return self.post(f"/start/{quote(kind)}", params={"name": name}, headers=headers)

    def start(self, kind: str, name: str = "") -> str:
        """Start a family, and return its address."""
        return self.begin(kind, name).headers["Location"]

    def parts(self, address: str) -> list[dict[str, Any]]:
        found, cursor = [], "0"
        while cursor is not None:
            page = requests.get(f"{address}/parts", {"cursor": cursor}, timeout=PATIENCE).json()
            found += page["parts"]
            cursor = page["next"]
        return found

    def let_go_on(self, name: str) -> None:
        self.redis.set(f"go on:{name}", "yes")


@pytest.fixture(scope="module")
def home(folder: Path, new_database: Any) -> Iterator[Families]:
    home = Families("families", "tests.home.families.site", folder, new_database())
    yield home
    home.stop()


@pytest.fixture(autouse=True)
def release(home: Families) -> Iterator[None]:
    """Let everything go on at the end of a test, so that no held task stands in the way of the next one."""
    yield
    while home.started:
        home.let_go_on(home.started.pop())


def counts(status: dict[str, Any]) -> dict[str, int]:
    return {name: number for name, number in status["parts"].items() if number}


@pytest.mark.parametrize(
    ("kind", "total", "result"),
    [
        ("group", 3, None),
        ("chunks", 3, None),
        ("chain", 3, 4),
        ("chord", 4, 6),
        ("group in a chain", 4, 5),
        ("chain that ends in a group", 4, None),
        ("group of chains", 4, None),
        ("chord of chains", 5, 4),
        ("chord with a chain as its body", 4, 3),
        ("chain of chords", 6, 15),
        ("with an error callback", 2, None),
        ("children", 6, "started four"),
    ],
)
def test_a_canvas_has_one_bar_that_ends_with_success(
    home: Families, kind: str, total: int, result: Any
) -> None:
    home.let_go_on(kind)
    address = home.start(kind, kind)

    wait_until(lambda: home.status(address)["parts"], describe=lambda: home.status(address))
    end = home.end(address)

    assert (end["state"], end["percent"], end["result"]) == ("SUCCESS", 100, result)
    assert counts(end) == {"total": total, "succeeded": total}
    assert (end["current"], end["total"]) == (total, total)
    parts = home.parts(address)
    assert len({part["task_id"] for part in parts}) == len(parts) == total
    assert {part["state"] for part in parts} == {"SUCCESS"}


def test_its_progress_is_the_sum_of_its_parts(home: Families) -> None:
    address = home.start("held group", "sum")

    status = home.wait(address, current=1.5)

    assert (status["total"], status["percent"]) == (3, 50)
    assert status["status"] == "0 of 3 done, 3 running"
    home.let_go_on("sum")
    assert home.end(address)["status"] == "3 of 3 done"


def test_a_chain_says_which_step_it_is_at(home: Families) -> None:
    address = home.start("held chain", "step")

    assert home.wait(address, current=1.5)["status"] == "Step 2 of 3: held"
    home.let_go_on("step")
    assert home.end(address)["status"] == "3 of 3 steps done"


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("failing group", "Part 2 of 3, break_down, failed"),
        ("failing chain", "Step 2 of 3, break_down, failed"),
        ("failing chord", "Part 2 of 3, break_down, failed"),
        ("failing with an error callback", "Step 2 of 2, break_down, failed"),
    ],
)
def test_it_fails_as_soon_as_it_cannot_succeed_and_names_the_part(
    home: Families, kind: str, sentence: str
) -> None:
    address = home.start(kind, kind)

    end = home.end(address)

    assert end["state"] == "FAILURE"
    assert end["status"] == f"{sentence}: The shelf is empty"
    assert end["percent"] < 100
    first, *_ = home.parts(address)
    assert (first["task"], first["status"]) == ("break_down", "The shelf is empty")
    home.let_go_on(kind)


@pytest.mark.parametrize("kind", ["failing chain", "failing chord"])
def test_its_parts_have_numbers_and_those_that_were_never_started_say_so(
    home: Families, kind: str
) -> None:
    address = home.start(kind, kind)
    home.end(address)

    def ended_parts() -> dict[int, dict[str, Any]]:
        return {part["part"]: part for part in home.parts(address) if part["finished"]}

    wait_until(lambda: len(ended_parts()) == 3, describe=ended_parts)
    parts = ended_parts()
    assert [parts[number]["status"] for number in (2, 3)] == [
        "The shelf is empty",
        "Not started, because an earlier task failed",
    ]
    assert parts[3]["started"] is None
    assert "part" not in home.status(address)


def test_cancelling_it_cancels_what_runs_and_what_waits(home: Families) -> None:
    address = home.start("held chain", "cancelled chain")
    home.wait(address, current=1.5)

    cancelled = requests.delete(address, timeout=PATIENCE)

    assert cancelled.status_code == 200
    assert cancelled.json()["state"] == "REVOKED"
    assert home.status(address)["status"] == "Cancelled: 1 of 3 steps done"
    wait_until(lambda: counts(home.status(address)) == {"total": 3, "succeeded": 1, "cancelled": 2})
    assert requests.delete(address, timeout=PATIENCE).status_code == 409


def test_a_task_that_was_cancelled_with_its_children_takes_them_along(home: Families) -> None:
    address = home.start("children", "cancelled children")
    wait_until(lambda: home.status(address)["parts"])
    wait_until(lambda: counts(home.status(address)) == {"total": 6, "succeeded": 3, "running": 3})

    requests.delete(address, timeout=PATIENCE)

    assert home.wait(address, state="REVOKED")
    wait_until(lambda: counts(home.status(address)) == {"total": 6, "succeeded": 3, "cancelled": 3})


@pytest.mark.parametrize(
    ("kind", "ended", "total"),
    [
        ("hasty children", [0], 6),
        ("hasty children", [0, 1, 2], 6),
        ("hasty children in a chain", [0], 4),
        ("hasty children in a chord", [0], 6),
    ],
)
def test_children_belong_to_the_family_although_they_were_started_before_it_was_accepted(
    home: Families, kind: str, ended: list[int], total: int
) -> None:
    url = f"{home.url}/start/{quote(kind)}"
    answer = requests.post(url, params={"ended": ended}, timeout=PATIENCE)

    end = home.end(answer.headers["Location"])

    assert (end["state"], counts(end)) == ("SUCCESS", {"total": total, "succeeded": total})


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("ignoring chain", "Step 1 of 2, ignores, was ignored"),
        ("ignoring chord", "Part 1 of 3, ignores, was ignored"),
    ],
)
def test_what_was_to_follow_an_ignored_part_ends(home: Families, kind: str, sentence: str) -> None:
    address = home.start(kind)

    assert home.wait(address, state="FAILURE")["status"] == sentence
    wait_until(lambda: home.status(address)["parts"]["waiting"] == 0)


def test_a_family_whose_parts_are_scheduled_says_for_when(home: Families) -> None:
    address = home.start("scheduled group")

    assert home.status(address)["status"].startswith("Scheduled for 20")
    requests.delete(address, timeout=PATIENCE)


def test_the_parts_of_a_failed_family_that_go_on_can_be_cancelled(home: Families) -> None:
    address = home.start("held and failing group", "failed but going on")
    home.wait(address, state="FAILURE")
    wait_until(lambda: home.status(address)["parts"]["running"] == 2)
    before = home.status(address)

    cancelled = requests.delete(address, timeout=PATIENCE)

    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "FAILURE")
    after = home.status(address)
    assert counts(after) == {"total": 4, "failed": 1, "cancelled": 3}
    assert (after["percent"], after["finished"]) == (before["percent"], before["finished"])
    assert requests.delete(address, timeout=PATIENCE).status_code == 409


@pytest.mark.long
def test_a_family_whose_only_worker_has_died_says_so(home: Families) -> None:
    address = home.start("held group", "deserted")
    home.wait(address, status="0 of 3 done, 3 running")

    home.workers.pop().stop()  # at once, with all its processes

    status = home.wait(address, status="0 of 3 done (no worker is running)")
    assert status["eta"] is None
    home.workers.append(home.worker("families-again", "-c", "4"))
    home.let_go_on("deserted")
    assert home.end(address)["state"] == "SUCCESS"


def test_a_repeated_start_gets_the_same_family(home: Families) -> None:
    for kind in ("held group", "held chain"):
        header = {"Idempotency-Key": f'"{kind}"'}
        first = home.begin(kind, "repeated", **header)
        again = home.begin(kind, "repeated", **header)

        assert first.headers["Location"] == again.headers["Location"]
        assert again.json()["parts"]["total"] == 3
        assert len(home.parts(first.headers["Location"])) == 3
    home.let_go_on("repeated")


def test_a_family_that_no_worker_can_run_says_so(home: Families) -> None:
    address = home.start("unserved group")

    status = home.wait(address, status="Waiting: no worker serves the queue nobodys")

    assert (status["state"], status["parts"]["waiting"]) == ("PENDING", 60)
    page = requests.get(f"{address}/parts", timeout=PATIENCE).json()
    assert len(page["parts"]) == 50
    assert len(home.parts(address)) == 60
    requests.delete(address, timeout=PATIENCE)
    assert home.status(address)["parts"]["cancelled"] == 60

    child = home.start("child that waits")
    home.wait(child, status="1 of 2 done (no worker serves the queue nobodys)")


def test_a_family_is_one_of_the_tasks_that_this_browser_has_started(home: Families) -> None:
    home.let_go_on("browser")
    with requests.Session() as browser:
        for kind in ("held group", "held chain"):
            browser.post(f"{home.url}/start/{quote(kind)}?name=browser", timeout=PATIENCE)

        tasks = browser.get(f"{home.url}/tasks", timeout=PATIENCE).json()["tasks"]

    assert [task["parts"]["total"] for task in tasks] == [3, 3]


def test_clients_of_celery_get_what_celery_gives_them(home: Families) -> None:
    from celery import Celery  # noqa: PLC0415

    url = home.settings["REDIS_URL"]
    plain = Celery("client", broker=url, backend=url, set_as_current=False)
    chain, group = home.start("chain"), home.start("group")
    for address in (chain, group):
        home.end(address)

    chain_id = home.status(chain)["task_id"]
    assert AsyncResult(chain_id, app=plain).get(timeout=PATIENCE) == 4
    parts = [AsyncResult(part["task_id"], app=plain) for part in home.parts(group)]
    assert sorted(GroupResult("any", parts, app=plain).get(timeout=PATIENCE)) == [0, 2, 4]


def test_a_cursor_that_no_answer_gave_is_refused(home: Families) -> None:
    address = home.start("group")

    answer = requests.get(f"{address}/parts", {"cursor": "two"}, timeout=PATIENCE)

    assert (answer.status_code, answer.json()["field"]) == (400, "cursor")


def test_a_stream_tells_each_change_of_a_family_until_its_end(home: Families) -> None:
    address = home.start("held group", "stream")
    headers = {"Accept": "text/event-stream"}
    with requests.get(address, headers=headers, stream=True, timeout=PATIENCE) as answer:
        home.let_go_on("stream")
        lines = [line for line in answer.iter_lines() if line.startswith(b"data:")]

    assert b'"SUCCESS"' in lines[-1]


@pytest.mark.parametrize(
    "kind",
    [
        "failing chain",
        "failing chord",
        "failing chain that ends in a group",
        "failing chain with a chord",
        "failing chord with a chain as its body",
        "failing nested chord",
        "failing chord of a chain that ends in a group",
    ],
)
def test_of_a_failed_family_no_part_waits_that_can_never_run(home: Families, kind: str) -> None:
    address = home.start(kind)

    def open_parts() -> list[dict[str, Any]]:
        return [part for part in home.parts(address) if not part["finished"]]

    assert home.end(address)["state"] == "FAILURE"
    wait_until(lambda: not open_parts(), describe=open_parts)

    ids = [address.rpartition("/")[2], *(part["task_id"] for part in home.parts(address))]
    assert all(home.redis.ttl(f"longtask:task:{task_id}") > 0 for task_id in ids)
    assert home.redis.ttl(f"longtask:parts:{ids[0]}") > 0


def test_a_chain_may_have_more_steps_than_python_has_levels_of_calls(home: Families) -> None:
    address = home.start("long chain", "long")

    assert home.status(address)["parts"]["total"] == 1101
    assert requests.delete(address, timeout=PATIENCE).status_code == 200


def test_tasks_that_replace_a_part_are_parts_and_are_cancelled_with_it(home: Families) -> None:
    address = home.start("replaced", "replaced")
    held = wait_until(
        lambda: [p for p in home.parts(address) if (p["task"], p["status"]) == ("held", "Half")],
        describe=lambda: home.parts(address),
    )

    assert home.status(address)["parts"]["total"] == 3
    assert requests.delete(address, timeout=PATIENCE).status_code == 200
    home.wait(f"{home.url}/status/{held[0]['task_id']}", state="REVOKED")


def test_a_chain_that_a_task_has_stopped_ends(home: Families) -> None:
    address = home.start("stopped chain")

    assert home.end(address)["status"] == "Step 2 of 3, add, was cancelled"
    wait_until(
        lambda: [p["state"] for p in home.parts(address)] == ["REVOKED", "REVOKED", "SUCCESS"],
        describe=lambda: home.parts(address),
    )


def test_a_chain_with_the_id_of_an_earlier_one_begins_anew(home: Families) -> None:
    first = home.start("nightly chain", "night 1")
    home.let_go_on("night 1")
    assert home.end(first)["status"] == "2 of 2 steps done"

    again = home.start("nightly chain", "night 2")

    assert again == first
    home.wait(again, state="PROGRESS", status="Step 1 of 2: held")
    home.let_go_on("night 2")
    assert home.end(again)["status"] == "2 of 2 steps done"
    assert home.status(again)["parts"]["total"] == 2


@pytest.mark.parametrize("kind", ["silent chain", "silent chord"])
def test_what_follows_a_cancelled_part_is_not_run_although_that_has_come_to_its_end(
    home: Families, kind: str
) -> None:
    address = home.start(kind, kind)
    first = wait_until(
        lambda: next((p for p in home.parts(address) if p["state"] == "PROGRESS"), None)
    )
    assert first["task"] == "silent"

    assert requests.delete(f"{home.url}/status/{first['task_id']}", timeout=PATIENCE).ok
    home.redis.rpush(f"silent:{kind}", "go on")

    end = home.end(address)
    assert (end["state"], end["status"].endswith("silent, was cancelled")) == ("FAILURE", True)

    def ended() -> list[dict[str, Any]]:
        return [part for part in home.parts(address) if part["finished"]]

    wait_until(lambda: len(ended()) == 3, describe=lambda: home.parts(address))
    followers = [
        p for p in ended() if p["task"] == "total" or (p["task"] == "add" and "chain" in kind)
    ]
    assert followers
    assert all((p["attempt"], p["state"] == "SUCCESS") == (0, False) for p in followers)
