"""A Hugging Face hub on this machine: as much of its HTTP API as a download uses.

Large files are as on the real hub: `resolve` redirects to another host, and their checksum is in headers. Small ones
are in git: `resolve` answers with them, and their ETag is git's name for the content.
"""

from __future__ import annotations

import hashlib
import http.server
import importlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import unquote

from huggingface_hub import constants

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

TOKEN = "hf_secretsecretsecret"  # what a gated repository wants
ANOTHER_TOKEN = "hf_somebodyelsessecret"


class Request(NamedTuple):
    method: str
    path: str
    range: str | None
    authorization: str | None


@dataclass
class Repository:
    """What one repository has, and how it behaves.

    Attributes:
        commits: The files of each commit, by name.
        main: The commit that `main` is.
        gated: Whether it wants `TOKEN`.
    """

    commits: dict[str, dict[str, bytes]]
    main: str
    gated: bool = False


def commit_of(files: dict[str, bytes]) -> str:
    """Return a commit hash for these files."""
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


def git_name(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class FakeHub:
    """One running hub; `with` ends it.

    Attributes:
        repositories: By name. Files that end in `.gguf` are large ones.
        requests: All that came, in order.
        sent_instead: Bytes that are sent in the place of a content, by that content's SHA-256.
        cuts: After how many bytes of a body the next connections end; one for each, and then no more.
        knows_ranges: Whether a range is answered with a part.
        stalls: Whether a cut connection stays open and silent until `go_on` is set; `stalled` says that it does.
        xet: The Xet hash of a content, by its SHA-256.
        cas_url: Where Xet's storage is; None and nobody gets a token.
        is_a_hub: Whether it sends what only a hub sends.
        broken: Whether it fails at all it is asked.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    sent_instead: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    knows_ranges: bool = True
    stalls: bool = False
    stalled: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    xet: dict[str, str] = field(default_factory=dict)
    cas_url: str | None = None
    is_a_hub: bool = True
    broken: bool = False

    def __post_init__(self) -> None:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def cdn_url(self) -> str:
        """The same server under another name, so that it counts as another host."""
        return f"http://localhost:{self._server.server_port}"

    def close(self) -> None:
        if self._thread.is_alive():
            self.go_on.set()
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def commit(self, repo: str, files: dict[str, bytes]) -> str:
        """Make these the files of `main`, and return its commit."""
        revision = commit_of(files)
        repository = self.repositories.setdefault(repo, Repository({}, revision))
        repository.commits[revision] = files
        repository.main = revision
        return revision

    def put_on_xet(self, content: bytes, storage: Path) -> None:
        """Keep a content in a Xet storage of our own, too."""
        hf_xet: Any = importlib.import_module("hf_xet")
        self.cas_url = f"local://{storage}"
        with hf_xet.XetSession().new_upload_commit(endpoint=self.cas_url) as upload:
            handle = upload.start_upload_bytes(content)
        self.xet[hashlib.sha256(content).hexdigest()] = handle.result().xet_info.hash

    def bodies(self) -> list[Request]:
        """Return the requests for the bytes of large files."""
        return [request for request in self.requests if request.path.startswith("/cdn/")]

    def content(self, sha256: str) -> bytes:
        contents = (c for r in self.repositories.values() for files in r.commits.values() for c in files.values())
        return next(content for content in contents if hashlib.sha256(content).hexdigest() == sha256)


def know_no_other_hub(hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what HF_ENDPOINT and HF_HOME would have set, had huggingface_hub been imported now."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_HOME", str(folder))  # hf_xet looks there itself


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: FakeHub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        headers = self.headers
        self.hub.requests.append(Request(self.command, self.path, headers["range"], headers["authorization"]))
        if self.hub.broken:
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR)
        elif found := re.fullmatch(r"/cdn/([0-9a-f]{64})", self.path):
            content = self.hub.content(found[1])
            self._send_body(self.hub.sent_instead.get(found[1], content), {})
        elif re.fullmatch(r"/api/models/.+/xet-read-token/[0-9a-f]{40}", self.path):
            self._send_xet_token()
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path):
            self._resolve(found[1], unquote(found[2]), unquote(found[3]))
        else:
            self._send(HTTPStatus.NOT_FOUND)

    def _refusal(self, repo: str) -> tuple[HTTPStatus, dict[str, str]] | None:
        """Return how a request for this repository is turned away, if it is."""
        authorization, repository = self.headers["authorization"], self.hub.repositories.get(repo)
        if authorization not in {None, f"Bearer {TOKEN}", f"Bearer {ANOTHER_TOKEN}"}:
            return HTTPStatus.UNAUTHORIZED, {"X-Error-Message": "Invalid credentials in Authorization header"}
        if repository is None:
            # without a token the hub does not tell what is private from what is not there
            return HTTPStatus.NOT_FOUND if authorization else HTTPStatus.UNAUTHORIZED, {"X-Error-Code": "RepoNotFound"}
        if repository.gated and authorization != f"Bearer {TOKEN}":
            return HTTPStatus.FORBIDDEN if authorization else HTTPStatus.UNAUTHORIZED, {"X-Error-Code": "GatedRepo"}
        return None

    def _resolve(self, repo: str, revision: str, name: str) -> None:
        if refusal := self._refusal(repo):
            return self._send(*refusal)
        repository = self.hub.repositories[repo]
        commit = repository.main if revision == "main" else revision
        if commit not in repository.commits:
            return self._send(HTTPStatus.NOT_FOUND, {"X-Error-Code": "RevisionNotFound"})
        about = {"X-Repo-Commit": commit} if self.hub.is_a_hub else {}
        content = repository.commits[commit].get(name)
        if content is None:
            return self._send(HTTPStatus.NOT_FOUND, about | {"X-Error-Code": "EntryNotFound"})
        if not name.endswith(".gguf"):
            return self._send_body(content, about | {"ETag": f'"{git_name(content)}"'})
        sha256 = hashlib.sha256(content).hexdigest()
        about |= {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(content))}
        if sha256 in self.hub.xet:
            about["X-Xet-Hash"] = self.hub.xet[sha256]
            about["X-Xet-Refresh-Route"] = f"{self.hub.url}/api/models/{repo}/xet-read-token/{commit}"
        return self._send(HTTPStatus.FOUND, about | {"Location": f"{self.hub.cdn_url}/cdn/{sha256}"})

    def _send_xet_token(self) -> None:
        if self.hub.cas_url is None:
            return self._send(HTTPStatus.INTERNAL_SERVER_ERROR)
        token = {"accessToken": "xet", "exp": int(time.time()) + 3600, "casUrl": self.hub.cas_url}
        return self._send_body(json.dumps(token).encode(), {})

    def _send_body(self, content: bytes, headers: dict[str, str]) -> None:
        status = HTTPStatus.OK
        if self.hub.knows_ranges and (found := re.fullmatch(r"bytes=(\d+)-", self.headers["range"] or "")):
            status = HTTPStatus.PARTIAL_CONTENT
            headers["Content-Range"] = f"bytes {found[1]}-{len(content) - 1}/{len(content)}"
            content = content[int(found[1]) :]
        self._send(status, headers | {"Content-Length": str(len(content))})
        if self.command == "HEAD":
            return
        if not self.path.startswith("/cdn/") or not self.hub.cuts:
            self.wfile.write(content)
            return
        self.wfile.write(content[: self.hub.cuts.pop(0)])
        self.wfile.flush()
        if self.hub.stalls:
            self.hub.stalled.set()
            self.hub.go_on.wait()

    def _send(self, status: HTTPStatus, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
