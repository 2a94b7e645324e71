"""``ibnseg pull USER/NAME``: from a hub, which is a server of this process here, and from its
cache."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from ibnseg import cli, from_pretrained
from tests.networks.test_hub import Trained, contents

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub does for one model, ``user/tiny``, and another of transformers."""

    models: dict[str, Path] = {}
    asked: list[str] = []

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        self.asked.append(path)
        name = next((each for each in self.models if f"{each}/" in f"{path}/"), None)
        if name is None:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
            return
        folder, rest = self.models[name], path.partition(f"{name}/")[2]
        if rest.startswith("revision/"):
            if rest not in ("revision/main", f"revision/{COMMIT}"):
                self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
                return
            self._send(200, json.dumps(dict(id=name, sha=COMMIT, siblings=[])).encode())
        elif rest.startswith("tree/"):
            entries = [
                dict(type="file", path=file, size=len(content), oid=_digest(content))
                for file, content in contents(folder).items()
            ]
            self._send(200, json.dumps(entries).encode())
        else:
            file = rest.removeprefix(f"resolve/{COMMIT}/")
            content = (folder / file).read_bytes()
            own = {"ETag": f'"{_digest(content)}"', "X-Repo-Commit": COMMIT}
            self._send(200, content, own)

    def _send(self, code: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


def refusal(capsys, *words: str) -> str:
    """The last line of a command that ends with 1; huggingface_hub's bars are before it."""
    capsys.readouterr()
    assert cli.main([*words]) == 1
    return capsys.readouterr().err.strip().splitlines()[-1]


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@pytest.fixture(scope="module")
def pushed(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pushed") / "tiny"
    assert cli.main(["push", str(trained[1]), "--out", str(out)]) == 0
    return out


@pytest.fixture
def hub(pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "segformer"}')
    (other / "pytorch_model.bin").write_bytes(b"never asked for")
    monkeypatch.setattr(Hub, "models", {"user/tiny": pushed, "user/other": other})
    monkeypatch.setattr(Hub, "asked", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("{repo_id}")
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{address}/{template[1]}{template[2]}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.chdir(tmp_path)
    yield Hub
    server.shutdown()
    server.server_close()


def test_a_network_is_downloaded_by_its_name(hub: type[Hub], pushed: Path, tmp_path: Path) -> None:
    assert cli.main(["pull", "user/tiny"]) == 0
    assert cli.main(["push", "work_dirs/tiny", "--out", "again/tiny"]) == 0
    assert contents(tmp_path / "again/tiny") == contents(pushed)
    assert cli.main(["pull", "user/tiny", "--revision", COMMIT, "--out", "other-run"]) == 0


def test_what_was_downloaded_is_there_without_the_hub(
    hub: type[Hub], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    before = from_pretrained("user/tiny").state_dict()
    hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    after = from_pretrained("user/tiny").state_dict()
    assert hub.asked == []
    assert all((before[key] == value).all() for key, value in after.items())
    said = refusal(capsys, "pull", "user/unknown")
    assert "no such folder, and the hub cannot be reached" in said
    assert hub.asked == []


def test_a_model_of_transformers_is_not_downloaded(hub: type[Hub], capsys) -> None:
    said = refusal(capsys, "pull", "user/other")
    assert said.endswith("a model of transformers is tested by ibnseg test hf:user/other")
    assert not any("pytorch_model.bin" in path for path in hub.asked)


def test_unknown_names_and_an_unreachable_hub_are_one_line(
    hub: type[Hub], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    said = refusal(capsys, "pull", "user/unknown")
    assert "user/unknown: no such folder, and not on the hub, or private; check its name" in said
    said = refusal(capsys, "pull", "user/tiny", "--revision", "v9")
    assert "user/tiny: no such folder, and on the hub it has no such revision" in said
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    said = refusal(capsys, "pull", "user/tiny")
    assert (
        "user/tiny: no such folder, and the hub cannot be reached, nor is it in the hub's" in said
    )
