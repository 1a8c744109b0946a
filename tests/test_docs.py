"""The documents: they build without a warning, and every block of code and every command in them is tried.

A page is followed from its first block to its last, in a folder of its own that holds the app of the README.
"""

import ast
import configparser
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from packaging.requirements import Requirement

import flask_longtask
from flask_longtask import testing
from flask_longtask.settings import DEFAULTS
from tests.documents import ADD, Block, Reader, blocks_of, listens
from tests.processes import ROOT, Process, RabbitServer, find_program, wait_until

DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(DOCS)): path for path in sorted(DOCS.rglob("*.md"))}

#: Pages about the app of this repository, which are followed in a clone of it while it is served.
ABOUT_THIS_APP = {"howto/running/this-app.md", "reference/cli.md"}

#: Pages that need more than a Redis, a worker and a web server, or that show little which others do not.
LONG = {
    *ABOUT_THIS_APP,
    "howto/app/celery-progress.md",
    "howto/app/crash.md",
    "howto/app/groups.md",
    "howto/app/idempotency.md",
    "howto/app/limits.md",
    "howto/app/own-celery.md",
    "howto/app/prefix.md",
    "howto/running/machines.md",
    "howto/running/proxies.md",
    "howto/running/rabbitmq.md",
    "howto/running/upgrading.md",
    "reference/cli.md",
    "tutorial/from-the-classic-tutorial.md",
}

Check = Callable[[Reader, Block], None]


# -- how a block is tried that is not simply run -----------------------------------------------------


def is_python(reader: Reader, block: Block) -> None:
    compile(reader.path(block).read_text(), block.place, "exec")


def is_a_template(reader: Reader, block: Block) -> None:
    name = reader.path(block).name
    reader.python(f"from app import app; app.jinja_env.get_template({name!r})")


def are_celery_settings(reader: Reader, block: Block) -> None:
    code = "import settings\nfrom flask import Flask\nfrom flask_longtask import LongTask\n"
    code += "app = Flask('app')\napp.config['CELERY'] = settings.CELERY\n"
    code += "celery = LongTask().init_app(app)\n"
    code += "print(celery.backend, celery.connection_for_write(), celery.connection_for_read())"
    reader.python(code)


def are_our_apps_settings(reader: Reader, block: Block) -> None:
    settings = dict(line.split("=", 1) for line in block.text.splitlines())
    code = f"import os; os.environ.update({settings!r}); import config; "
    code += (
        f"print(all(str(getattr(config, name)) == value for name, value in {settings!r}.items()))"
    )
    before, reader.folder = reader.folder, ROOT
    try:
        reader.python(code)
    finally:
        reader.folder = before
    assert reader.printed == "True\n", block.place


def starts_redis(reader: Reader, block: Block) -> None:
    """A server with this configuration starts."""
    options = ["--sentinel"] if "sentinel" in block.caption else []
    port = reader.ports["5555"]
    command = [find_program("redis-server"), str(reader.path(block)), *options]
    command += ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(reader.own)]
    server = Process("configured-redis", command, reader.own, {})
    try:
        server.wait_for(lambda: listens(port))
    finally:
        server.stop()


def are_rabbitmqs(reader: Reader, block: Block) -> None:
    for line in block.text.splitlines():
        assert re.fullmatch(r"[a-z_.]+ = \S+", line), block.place


def starts_nginx(reader: Reader, block: Block) -> None:
    """nginx takes it, where there is one; else its braces and semicolons are right."""
    text = reader.path(block).read_text()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    assert text.count("{") == text.count("}")
    assert all(line[-1] in "{};" for line in lines), block.place
    if nginx := shutil.which("nginx", path=reader.settings["PATH"]):
        reader.run([nginx, "-t", "-c", str(whole_nginx_conf(reader, text))])


def whole_nginx_conf(reader: Reader, server: str) -> Path:
    """What else nginx needs to know before it serves from a folder of the reader's own."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "\n".join(f"{kind}_temp_path {reader.own / kind};" for kind in kinds)
    path = reader.own / "nginx.conf"
    head = f"daemon off;\npid {reader.own}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
    path.write_text(f"{head}http {{\naccess_log off;\n{paths}\n{server}}}\n")
    return path


def is_a_unit(reader: Reader, block: Block) -> None:
    """Its sections and settings are systemd's own, and its program is one that is installed with the app."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    path = reader.path(block)
    parser.read_string(path.read_text())
    assert set(parser.sections()) == {"Unit", "Service", "Install"}
    program = Path(parser["Service"]["ExecStart"].split()[0])
    assert find_program(program.name)
    if analyze := shutil.which("systemd-analyze"):
        # The unit's folder and user are those of another machine.
        text = path.read_text().replace(str(program), sys.executable)
        unit = reader.own / path.name
        unit.write_text(re.sub(r"(?m)^(User|WorkingDirectory|EnvironmentFile)=.*\n", "", text))
        reader.run([analyze, "verify", "--man=no", str(unit)])


def is_a_compose_file(reader: Reader, block: Block) -> None:
    services = yaml.safe_load(block.text)["services"]
    for service in services.values():
        assert {"image", "build"} & service.keys()
        assert set(service.get("depends_on", {})) <= services.keys()


def is_a_dockerfile(reader: Reader, block: Block) -> None:
    for line in block.text.splitlines():
        assert re.match(r"(FROM|ENV|WORKDIR|COPY|RUN|USER|CMD) \S", line), block.place
    files = [line.split()[1] for line in block.text.splitlines() if line.startswith("COPY")]
    assert all((reader.folder / file).exists() for file in files)


def are_requirements(reader: Reader, block: Block) -> None:
    assert [Requirement(line).name for line in block.text.splitlines()]


def is_an_installation(reader: Reader, block: Block) -> None:
    """tests/home installs the package in earnest."""
    reader.run(["bash", "-n", "-c", block.text])
    assert re.search(r"^pip install '?Flask-LongTask(\[\w+\]')?$", block.text, re.MULTILINE)


def is_for_systemd(reader: Reader, block: Block) -> None:
    """The units that are named are on the page."""
    reader.run(["bash", "-n", "-c", block.text])
    units = {
        Path(other.caption).stem for other in blocks_of(block.page) if ".service" in other.caption
    }
    for name in re.findall(r"counting-\S+", block.text):
        assert re.sub(r"@\w+", "@", name) in units, name


def is_for_docker(reader: Reader, block: Block) -> None:
    """No container engine is there when the tests run; the files are checked above."""
    reader.run(["bash", "-n", "-c", block.text])


def starts_in_the_background(reader: Reader, block: Block) -> None:
    """The processes that it starts are known by their files before the next block stops them."""
    reader.shell(block.text)
    names = ["worker", "mailworker"] if "multi" in block.text else ["beat"]
    files = [reader.folder / "instance" / f"{name}.pid" for name in names]
    wait_until(lambda: all(file.exists() and file.read_text().strip() for file in files))


def is_a_usage(reader: Reader, block: Block) -> None:
    """Words in capitals stand for what a reader fills in: the command itself is there."""
    _, group, command, *_ = block.text.split()
    reader.shell(f"flask --app app {group} {command} --help")


def examines(reader: Reader, block: Block) -> None:
    """There may be something to mend in the reader's app."""
    command = block.text.strip().replace(
        "https://example.com", reader.here("http://127.0.0.1:5000")
    )
    reader.shell(f"{command} || test $? = 1")
    assert "ok" in reader.printed


def is_a_policy(reader: Reader, block: Block) -> None:
    """A content security policy."""
    assert re.fullmatch(r"([a-z]+-src '\w+'(; )?)+\n", block.text), block.place


def is_jinja(reader: Reader, block: Block) -> None:
    reader.python(f"from app import app; app.jinja_env.from_string({block.text!r})")


def is_html(reader: Reader, block: Block) -> None:
    class Tags(HTMLParser):
        open: ClassVar[list[str]] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("input", "link", "meta", "br"):
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag, block.place

    parser = Tags()
    parser.feed(block.text)
    parser.close()
    assert not set(parser.open) - {"p"}, block.place


def is_a_style(reader: Reader, block: Block) -> None:
    assert block.text.count("{") == block.text.count("}") > 0, block.place


def is_a_module(reader: Reader, block: Block) -> None:
    """JavaScript that node can read, where it is there; tests/test_page.py and its neighbours try it in a browser."""
    assert all(block.text.count(left) == block.text.count(right) for left, right in ("()", "{}"))
    if node := shutil.which("node"):
        module = reader.own / "module.mjs"
        module.write_text(block.text)
        reader.run([node, "--check", str(module)])


def has_a_test_of_its_own(reader: Reader, block: Block) -> None:
    (test,) = [test for words, test in TESTED_ELSEWHERE.items() if block.text.startswith(words)]
    assert (ROOT / test).exists(), test


TESTED_ELSEWHERE = {
    "python -m benchmarks": "tests/test_benchmarks.py",
    "python -m tests.chaos": "tests/chaos/test_chaos.py",
    "pytest -s tests/faults/test_machines.py": "tests/faults/test_machines.py",
    "task=$(curl -s -o /dev/null -w '%header{location}' \\\n    -d steps=10": "tests/test_readme.py",
}

CHECKS: dict[str, Check] = {
    # Files, by what they are called or how they end.
    ".py": is_python,
    ".html": is_a_template,
    "settings.py": are_celery_settings,
    ".env": are_our_apps_settings,
    "redis.conf": starts_redis,
    "sentinel.conf": starts_redis,
    "rabbitmq.conf": are_rabbitmqs,
    ".conf": starts_nginx,
    ".service": is_a_unit,
    "compose.yaml": is_a_compose_file,
    "Dockerfile": is_a_dockerfile,
    "requirements.txt": are_requirements,
    # Commands, by how they begin.
    "mkdir counting": is_an_installation,
    "pip install ": is_an_installation,
    "sudo ": is_for_systemd,
    "docker ": is_for_docker,
    "SECRET_KEY=$(python3": is_for_docker,
    "mkdir -p -m 700 instance": starts_in_the_background,
    "celery -A celery_worker beat --detach": starts_in_the_background,
    "default-src ": is_a_policy,
    "flask longtask ": is_a_usage,
    "flask --app app longtask doctor": examines,
    **dict.fromkeys(TESTED_ELSEWHERE, has_a_test_of_its_own),
    # Languages.
    "(html)": is_html,
    "(html+jinja)": is_jinja,
    "(css)": is_a_style,
    "(js)": is_a_module,
}


# -- the tests ---------------------------------------------------------------------------------------


@pytest.fixture
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reader]:
    """Somebody who has made the app of the README, and follows a page."""
    page: str = request.param
    folder, own = tmp_path / "counting", tmp_path / "own"
    own.mkdir()
    if page in ABOUT_THIS_APP:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    else:
        folder.mkdir()
    reader = Reader(folder, own)
    rabbit = None
    try:
        if all(block.text != "redis-server\n" for block in blocks_of(PAGES[page])):
            reader.shell("redis-server")
        if page == "howto/running/rabbitmq.md":
            rabbit = RabbitServer("rabbit", own)
            reader.ports["5672"] = rabbit.port
        if page in ABOUT_THIS_APP:
            reader.settings |= this_apps_settings(reader)
            reader.shell("gunicorn app:app")
            reader.shell("celery -A celery_worker worker -n another@%h")
        else:
            for block in blocks_of(ROOT / "README.md"):
                if block.caption:
                    reader.write(block, reader.here(block.text))
        yield reader
    finally:
        reader.stop()
        if rabbit:
            rabbit.stop()


def this_apps_settings(reader: Reader) -> dict[str, str]:
    names = {"PORT": "5000", "REDIS_PORT": "6379", "FLOWER_PORT": "5555"}
    return {name: str(reader.ports[usual]) for name, usual in names.items()}


WITH_CODE = [
    pytest.param(name, name, marks=[pytest.mark.long] if name in LONG else [], id=name)
    for name, path in PAGES.items()
    if blocks_of(path)
]


@pytest.mark.parametrize(("reader", "page"), WITH_CODE, indirect=["reader"])
def test_every_block_of_a_page_does_what_the_page_says(reader: Reader, page: str) -> None:
    for block in blocks_of(PAGES[page]):
        reader.follow(block, CHECKS)

    if page not in ABOUT_THIS_APP:
        reader.python("import app")
    for server in reader.servers.values():
        assert server.runs
        assert "Traceback" not in server.log.read_text()


def test_they_build_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-n", "-W", "--keep-going", "-q"]
    command += ["-d", str(tmp_path / "doctrees"), str(DOCS), str(tmp_path / "html")]

    build = subprocess.run(command, capture_output=True, text=True, check=False)

    assert build.returncode == 0, build.stderr
    assert (tmp_path / "html" / "index.html").exists()


def test_every_setting_is_in_the_table() -> None:
    text = (DOCS / "reference" / "settings.md").read_text()
    rows = re.findall(r"^\| `(LONGTASK_\w+)` \| `?(.+?)`? \|", text, re.MULTILINE)

    assert {name: ast.literal_eval(default) for name, default in rows} == DEFAULTS


def test_every_setting_of_this_app_is_in_its_table() -> None:
    text = (DOCS / "howto" / "running" / "this-app.md").read_text()
    settings = re.findall(r"^#([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)

    assert settings
    assert [name for name in settings if f"`{name}`" not in text] == []


def test_every_public_name_is_in_the_reference() -> None:
    text = (DOCS / "reference" / "python.md").read_text()
    listed = re.findall(
        r"\.\. auto\w+:: (?:flask_longtask\.(?:web|testing\.plugin|testing)\.)?(\w+)", text
    )

    of_testing = [*testing.__all__, "longtask_eager", "longtask_worker"]
    assert sorted(listed) == sorted([*flask_longtask.__all__, *of_testing])
    assert ":members: track, update_state, log, keep_log, checkpoint, last_checkpoint, " in text


# That the tests above would notice.


def _block(language: str, text: str, caption: str = "") -> Block:
    return Block(ROOT / "README.md", 1, language, caption, text)


@pytest.fixture
def alone(tmp_path: Path) -> Reader:
    (tmp_path / "folder").mkdir()
    return Reader(tmp_path / "folder", tmp_path)


@pytest.mark.parametrize(
    "block",
    [
        _block("ruby", "puts 1"),
        _block("yaml", "a: 1", caption="nobody-knows.yaml"),
        _block("sh", "exit 3"),
        _block("python", "1 / 0"),
        _block("text", "something that nothing has printed"),
        _block("python", "def f(:", caption="app.py"),
        _block("python", "a = 1", caption=f"{ADD}nothing.py"),
    ],
    ids=str,
)
def test_a_block_that_does_not_work_is_noticed(alone: Reader, block: Block) -> None:
    with pytest.raises((AssertionError, SyntaxError)):
        alone.follow(block, CHECKS)


def test_what_is_printed_is_compared_with_what_is_shown(alone: Reader) -> None:
    alone.follow(_block("sh", "word=good\necho $word morning"), {})
    alone.follow(_block("text", "good …"), {})
    alone.follow(_block("sh", """echo '{"a": [1, 2], "b": "x"}'; test $word = good"""), {})
    alone.follow(_block("json", '{"a": [1, 2], "b": "…"}'), {})
    with pytest.raises(AssertionError):
        alone.follow(_block("json", '{"a": [1, 3]}'), {})
