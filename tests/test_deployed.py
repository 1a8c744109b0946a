"""The app of the README as it is deployed: behind nginx as the how-to has it, and with Redis behind TLS."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.documents import ADD, Reader, blocks_of, listens
from tests.processes import PATIENCE, ROOT, Process, free_port, wait_until
from tests.test_docs import whole_nginx_conf

pytestmark = pytest.mark.long

APP = [block for block in blocks_of(ROOT / "README.md") if block.caption]
PROXIES = {block.caption: block for block in blocks_of(ROOT / "docs/howto/running/proxies.md")}
HOST = {"Host": "counting.example.org"}

#: A task that reports nothing, so that nothing pushes the first event of its stream out of a buffer but its end.
SILENT = """

@shared_task
def silent():
    time.sleep(5)

@app.post("/silent")
def start_silent():
    return accepted(silent.delay())
"""


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Somebody who has the README's app, and a Redis."""
    folder, own = tmp_path / "counting", tmp_path / "own"
    folder.mkdir()
    own.mkdir()
    reader = Reader(folder, own)
    try:
        reader.shell("redis-server")
        for block in APP:
            reader.write(block, reader.here(block.text))
        yield reader
    finally:
        reader.stop()


def serve(reader: Reader) -> str:
    reader.shell("celery -A app.celery_app worker")
    reader.shell("gunicorn app:app")
    return f"http://127.0.0.1:{reader.ports['5000']}"


@pytest.fixture
def nginx(reader: Reader, request: pytest.FixtureRequest) -> str:
    """The address of an nginx in front of the app, with the configuration of this caption but for a line."""
    program = shutil.which("nginx", path=reader.settings["PATH"])
    if program is None:
        pytest.skip("There is no nginx: apt-get install nginx-light")
    for caption in ("gunicorn.conf.py", f"{ADD}app.py"):
        reader.write(PROXIES[caption], PROXIES[caption].text)
    with (reader.folder / "app.py").open("a") as app:
        app.write(SILENT)
    serve(reader)
    caption, left_out = request.param
    server = reader.here(PROXIES[caption].text).replace(left_out, "")
    command = [program, "-c", str(whole_nginx_conf(reader, server))]
    reader.servers["nginx"] = Process("nginx", command, reader.own, {})
    port = reader.ports["80"]
    reader.servers["nginx"].wait_for(lambda: listens(port))
    return f"http://127.0.0.1:{port}"


# By HTTP/1.1 nginx passes on whatever chunks it is sent; without that line it buffers, unless it is told not to.
@pytest.mark.parametrize(
    "nginx",
    [
        ("/etc/nginx/conf.d/counting.conf", "nothing"),
        ("/etc/nginx/conf.d/counting.conf", "proxy_http_version 1.1;"),
    ],
    indirect=True,
    ids=["HTTP/1.1", "HTTP/1.0"],
)
def test_a_stream_comes_through_nginx_as_it_happens(reader: Reader, nginx: str) -> None:
    started = requests.post(f"{nginx}/silent", headers=HOST, timeout=PATIENCE)
    location = started.headers["Location"]
    assert location.startswith("http://counting.example.org/status/")
    path = location.removeprefix("http://counting.example.org")

    accept = {**HOST, "Accept": "text/event-stream"}
    with requests.get(f"{nginx}{path}", headers=accept, stream=True, timeout=PATIENCE) as stream:
        first = next(line for line in stream.iter_lines(chunk_size=1) if line.startswith(b"data: "))

    assert b'"SUCCESS"' not in first
    direct = f"http://127.0.0.1:{reader.ports['5000']}{path}"
    now = requests.get(direct, timeout=PATIENCE).json()
    assert not now["finished"], "The event came only when all was over."


@pytest.mark.parametrize("nginx", [("/etc/nginx/conf.d/prefix.conf", "nothing")], indirect=True)
def test_nginx_serves_the_app_under_a_path(nginx: str) -> None:
    headers = {"Host": "www.example.org", "Origin": "http://www.example.org"}

    page = requests.get(f"{nginx}/counting/", headers=headers, timeout=PATIENCE)
    started = requests.post(f"{nginx}/counting/count", headers=headers, timeout=PATIENCE)

    assert "/counting/longtask/static/longtask.js" in page.text
    assert started.status_code == 202
    location = started.headers["Location"]
    assert location.startswith("http://www.example.org/counting/status/")
    address = location.replace("http://www.example.org", nginx)
    assert requests.get(address, headers=headers, timeout=PATIENCE).json()["task"] == "count"


#: Speaks TLS in front of a Redis, which the one of the tests may have been built without.
TLS_ENDPOINT = """
import asyncio, contextlib, ssl, sys

port, target, certificate, key = sys.argv[1:]

async def pump(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()

async def serve(reader, writer):
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(target))
    await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(serve, "127.0.0.1", int(port), ssl=context)
    await server.serve_forever()

asyncio.run(main())
"""


def test_redis_may_be_behind_tls(reader: Reader) -> None:
    certificate, key, port = reader.own / "certificate", reader.own / "key", free_port()
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1"
    command += f" -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {certificate}"
    reader.run(command.split())
    words = [str(port), str(reader.ports["6379"]), str(certificate), str(key)]
    endpoint = Process("tls", [sys.executable, "-c", TLS_ENDPOINT, *words], reader.own, {})
    reader.servers["tls"] = endpoint
    endpoint.wait_for(lambda: listens(port))
    app = reader.folder / "app.py"
    secure = f"rediss://127.0.0.1:{port}/1?ssl_cert_reqs=required&ssl_ca_certs={certificate}"
    plain = f"redis://127.0.0.1:{reader.ports['6379']}/1"
    assert plain in app.read_text()
    app.write_text(app.read_text().replace(plain, secure))

    url = serve(reader)
    location = requests.post(f"{url}/count", timeout=PATIENCE).headers["Location"]

    wait_until(lambda: requests.get(location, timeout=PATIENCE).json()["current"] >= 2)
    cancelled = requests.delete(location, timeout=PATIENCE).json()
    assert cancelled["state"] == "REVOKED"
