"""conf-examples and the README's example, as they stand: nothing but the port
is another one, so that this runs beside an exchange that is in use."""

import re
import subprocess
import sys

import pytest
from academy_nginx import PATIENCE, ROOT, Nginx, free_port
from process import SCENE

pytestmark = pytest.mark.nginx_only


@pytest.fixture
def example():
    """A function that starts the nginx of an example, and one that changes
    the example's ports in another text in the same way."""
    started = []
    ports = {}

    def moved(text):
        return re.sub(r"\b870\d\b", lambda m: str(ports.setdefault(
            m.group(), free_port())), text)

    def start(name):
        text = (ROOT / "conf-examples" / name).read_text()
        config = moved(text)
        server = Nginx(config=config, port=int(moved("8700")))
        started.append(server)
        # A file may say how the certificate that it wants is made.
        wanted = re.findall(r"(?m)^#     ((?:.*\\\n)*.*)\n", text)
        for command in wanted:
            command = re.sub(r"(?m)^#", "", command)
            assert command.startswith("openssl req "), command
            subprocess.run(command, shell=True, cwd=server.dir, check=True,
                           timeout=30, capture_output=True)
        return server.start(), moved

    yield start

    for server in started:
        server.stop()


@pytest.fixture
def exchange(example):
    """What `processes` waits for."""
    return example


def address(name):
    """The URL that the example says clients are given."""
    text = (ROOT / "conf-examples" / name).read_text()
    said = re.search(r"the URL\s+#?\s*(https?://\S+?)\.?\s", text)
    assert said, "the example does not say where it is"
    return said.group(1)


@pytest.mark.parametrize(
    "name", ["minimal.conf", "tls.conf", "reverse-proxy.conf"])
def test_configuration(example, processes, monkeypatch, name):
    server, moved = example(name)
    url = moved(address(name))
    if url.startswith("https"):
        monkeypatch.setenv("SSL_CERT_FILE", str(server.dir / "cert.pem"))
    assert processes.user(url, processes.cast(url)) == SCENE


def test_all_examples_are_tested():
    assert {p.name for p in (ROOT / "conf-examples").glob("*.conf")} == {
        "minimal.conf", "tls.conf", "reverse-proxy.conf"}


def readme_example():
    text = (ROOT / "README.md").read_text()
    found = re.search(r"(?s)```python\n(# first_agent\.py\n.*?)```", text)
    assert found, "the README has no first_agent.py"
    return found.group(1)


def test_readme(example, tmp_path):
    server, moved = example("minimal.conf")
    (tmp_path / "first_agent.py").write_text(moved(readme_example()))
    done = subprocess.run(
        [sys.executable, "first_agent.py"], cwd=tmp_path, text=True,
        timeout=60 * PATIENCE, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    # The README says what the example prints.
    assert "Hello, world!" in done.stdout
    assert done.stdout.strip() in (ROOT / "README.md").read_text()
