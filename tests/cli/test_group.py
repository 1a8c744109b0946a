"""The group `flask longtask`: where it comes from, and that the documents tell of all of it."""

import tomllib

import click
import pytest

from flask_longtask.cli import cli
from tests.cli.conftest import Site
from tests.processes import ROOT, RedisServer

REFERENCE = (ROOT / "docs" / "reference" / "cli.md").read_text()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a program that finds the package installed: with what pyproject.toml says of it."""
    folder = tmp_path_factory.mktemp("site-packages")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [f"{name} = {path}" for name, path in project["entry-points"]["flask.commands"].items()]
    info = folder / "Flask_LongTask-1.2.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Flask-LongTask\nVersion: 1.2.3\n")
    (info / "entry_points.txt").write_text("\n".join(["[flask.commands]", *lines, ""]))
    return {"PYTHONPATH": str(folder)}


def test_the_commands_are_there_once_whether_the_package_is_installed_or_not(
    cli_redis: RedisServer, installed: dict[str, str]
) -> None:
    for found in ({}, installed):
        site = Site("tests.cli.site:app", cli_redis.url(1), **found)

        assert site.json("queues")["queues"][0]["name"] == "celery"
        site.command.remove("longtask")
        assert site.run("--help").stdout.count("longtask  ") == 1


def test_where_it_is_installed_an_app_without_it_is_told_so(installed: dict[str, str]) -> None:
    done = Site("tests.cli.empty:app", "", **installed).run("list")

    assert done.returncode == 1
    assert done.stderr.endswith("has no LongTask: call LongTask(app) first.\n")


def test_each_command_and_each_option_is_in_the_reference() -> None:
    for name, command in cli.commands.items():
        assert f"## {name}\n" in REFERENCE
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert f"`{parameter.opts[0]}" in REFERENCE, f"{name} {parameter.opts}"
