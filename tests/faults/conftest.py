"""Two systems for all fault tests of dead workers, one for each broker. Other tests have a system of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.system import System
from tests.processes import RabbitServer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if __package__ in item.nodeid.replace("/", "."):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def rabbit_server(folder: Path) -> Iterator[RabbitServer]:
    server = RabbitServer("rabbitmq", folder)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def on_redis(folder: Path) -> Iterator[System]:
    system = System("on-redis", folder)
    yield system
    system.stop()


@pytest.fixture(scope="session")
def on_rabbitmq(folder: Path, rabbit_server: RabbitServer) -> Iterator[System]:
    system = System("on-rabbitmq", folder, rabbit_server)
    yield system
    system.stop()


@pytest.fixture(scope="session")
def all_took() -> Iterator[dict[str, dict[str, float]]]:
    """How long things took, in seconds by test; printed at the end for docs/explanation/faults.md (pytest -s)."""
    took: dict[str, dict[str, float]] = {}
    yield took
    for test, seconds in took.items():
        figures = ", ".join(f"{what}: {how_long:.1f} s" for what, how_long in seconds.items())
        print(f"\n{test}: {figures}")


@pytest.fixture
def took(request: pytest.FixtureRequest, all_took: dict[str, dict[str, float]]) -> dict[str, float]:
    return all_took.setdefault(request.node.name, {})


@pytest.fixture(params=["redis", pytest.param("rabbitmq", marks=pytest.mark.long)])
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    """A system with each broker. A dead worker is detected by our lease, or by RabbitMQ itself."""
    system: System = request.getfixturevalue(f"on_{request.param}")
    if request.param == "rabbitmq":
        system.empty_queue()  # other systems may have used this RabbitMQ since
    yield system
    system.clear()
