"""The forms of the examples in a real browser, and what the page draws beside their bars."""

from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.processes import WebServer

pytestmark = pytest.mark.usefixtures("worker")


def section(page: Page, title: str) -> Locator:
    return page.locator("section").filter(has=page.get_by_role("heading", name=title))


def test_an_import_shows_what_is_in_the_database(
    page: Page, web: WebServer, tmp_path: Path
) -> None:
    file = tmp_path / "people.csv"
    file.write_text("name,town\nAda,\n<b>Bo</b>,Oslo\nodd\n")
    page.goto(web.url)
    form = section(page, "Import a CSV file")
    form.get_by_label("CSV file").set_input_files(file)
    form.get_by_role("button", name="Import").click()

    bar = page.get_by_role("article")
    expect(bar).to_contain_text("2 rows, 1 refused")
    table = bar.get_by_role("table")
    expect(table.get_by_role("columnheader")).to_have_text(
        ["Line", "namenone empty", "town1 empty"]
    )
    expect(table.get_by_role("row").nth(2)).to_have_text("3<b>Bo</b>Oslo")
    expect(bar).to_contain_text("Line 4 refused: 1 value where the header names 2 columns.")

    # After a reload it is folded away, and there when it is asked for
    page.reload()
    expect(table).to_be_hidden()
    bar.get_by_text("What is in the database").click()
    expect(table.get_by_role("row")).to_have_count(3)

    bar.get_by_role("link", name="All details").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("people.csv")
    expect(page.get_by_role("table")).to_have_count(3)


def test_a_file_that_fails_says_why_and_one_that_is_too_large_is_not_sent(
    page: Page,
    web: WebServer,
    tmp_path: Path,
) -> None:
    page.goto(web.url)
    form = section(page, "Import a CSV file")
    file = tmp_path / "picture.csv"
    file.write_bytes(b"\x89PNG\0")
    form.get_by_label("CSV file").set_input_files(file)
    form.get_by_role("button", name="Import").click()
    expect(page.get_by_role("article")).to_contain_text("This is not a CSV file")

    page.evaluate("document.querySelector('[name=file]').dataset.mostBytes = 1_000_000")
    file = tmp_path / "large.csv"
    file.write_bytes(b"x" * 1_000_001)
    form.get_by_label("CSV file").set_input_files(file)
    form.get_by_role("button", name="Import").click()
    assert "at most 1 MB" in page.evaluate(
        "document.querySelector('[name=file]').validationMessage"
    )
    expect(page.get_by_role("article")).to_have_count(1)


def test_doubled_integers_appear_in_the_table_one_by_one_with_every_digit(
    page: Page, web: WebServer
) -> None:
    page.goto(web.url)
    form = section(page, "Double an integer")
    numbers = ["32", "9" * 30, "7" * 100]
    for number in numbers:
        form.get_by_role("textbox").fill(number)
        form.get_by_role("button", name="Double").click()
        expect(page.get_by_role("article")).to_have_count(numbers.index(number) + 1)

    rows = form.locator("tbody tr")
    expect(rows).to_have_count(3)
    for row, number in zip((2, 1, 0), numbers, strict=True):
        cells = rows.nth(row).locator("td")
        expect(cells.nth(4)).to_contain_text(str(2 * int(number)))
        for time in range(1, 4):
            expect(cells.nth(time).locator("time")).to_have_count(1)

    page.reload()
    expect(rows).to_have_count(3)
    expect(rows.nth(2).locator("td").nth(4)).to_have_text("64")


def test_a_timed_task_has_a_bar_with_its_name(page: Page, web: WebServer) -> None:
    page.goto(web.url)
    section(page, "Timed tasks").get_by_role("button", name="Short").click()
    bar = page.get_by_role("article")
    expect(bar).to_contain_text("Timed task")
    expect(bar).to_contain_text("Done")
