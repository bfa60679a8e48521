"""A Hub on a loopback port: the HTTP API that huggingface_hub 2 uses without Xet, in memory, with faults on demand.

Repositories are lists of whole trees. Large files go to a storage under another origin (`localhost` beside
`127.0.0.1`), as the real Hub's do, so that tests see whether a token travels there.
"""

import base64
import fnmatch
import hashlib
import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

ATTRIBUTES = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n*.gguf filter=lfs diff=lfs merge=lfs -text\n"
DATE = "2026-01-01T00:00:00.000Z"


@dataclass(frozen=True)
class Blob:
    data: bytes
    lfs: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def oid(self) -> str:
        """git's id of what git holds: the content, or the pointer to it."""
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n"
        held = pointer.encode() if self.lfs else self.data
        return hashlib.sha1(b"blob %d\0" % len(held) + held).hexdigest()


@dataclass(frozen=True)
class Commit:
    oid: str
    title: str
    files: dict[str, Blob]
    operations: tuple[tuple[str, str], ...] = ()
    """(key, path) of every line of the request, as it came."""


@dataclass
class PullRequest:
    title: str
    author: str
    status: str = "open"
    commits: list[Commit] = field(default_factory=list)


@dataclass
class Repo:
    name: str
    private: bool
    commits: list[Commit] = field(default_factory=list)
    requests: dict[int, PullRequest] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, title: str, files: dict[str, Blob], operations: tuple[tuple[str, str], ...] = ()) -> Commit:
        parent = self.commits[-1].oid if self.commits else ""
        self.commits.append(self.made(parent, title, files, operations))
        return self.commits[-1]

    def made(self, parent: str, title: str, files: dict[str, Blob], operations: tuple[tuple[str, str], ...]) -> Commit:
        tree = repr((parent, title, sorted((path, blob.oid) for path, blob in files.items())))
        return Commit(hashlib.sha1(tree.encode()).hexdigest(), title, files, operations)

    def line(self, revision: str) -> list[Commit]:
        """The commits of a branch: of main, or of a pull request."""
        number = revision.removeprefix("refs/pr/")
        return self.requests[int(number)].commits if number.isdecimal() and int(number) in self.requests else []

    def at(self, revision: str) -> Commit | None:
        if revision == "main":
            return self.commits[-1]
        if revision.startswith("refs/pr/"):
            return next(reversed(self.line(revision)), None)
        revision = self.tags.get(revision.removeprefix("refs/tags/"), revision)
        every = [*self.commits, *(commit for request in self.requests.values() for commit in request.commits)]
        return next((commit for commit in every if commit.oid == revision), None)

    def history(self, commit: Commit) -> list[Commit]:
        lines = [self.commits, *([*self.commits, *request.commits] for request in self.requests.values())]
        found = next(line for line in lines if commit in line)
        return found[: found.index(commit) + 1]

    @property
    def files(self) -> dict[str, bytes]:
        return {path: blob.data for path, blob in self.commits[-1].files.items()}


@dataclass
class Fault:
    """Answer the next `times` requests that match with `status` instead; `after`: do the work, then hang up."""

    match: str
    status: int = 503
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"<html>Service Unavailable</html>"
    after: bool = False


@dataclass(frozen=True)
class Kill:
    """End a process at the n-th request (from 1), before or after it is answered; it never sees the answer."""

    pid: int
    at: int
    after: bool


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    line: str
    host: str
    token: str | None


Route = Callable[..., Answer]


def refused(status: int, message: str, code: str | None = None) -> Answer:
    headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
    return Answer(status, {"error": message}, headers)


class LocalHub:
    """The state of the Hub, and what it answers.

    Attributes:
        tokens: token -> (user, whether it may write); a user owns what is named `<user>/…`.
        before_commit: run, one for each commit request, before it is looked at: somebody else is quicker.
        asked: every request, in order.
    """

    def __init__(self, page: int = 1000) -> None:
        self.page = page
        self.repos: dict[tuple[str, str], Repo] = {}
        self.storage: dict[str, bytes] = {}
        self.tokens: dict[str, tuple[str, bool]] = {}
        self.faults: list[Fault] = []
        self.before_commit: list[Callable[[], object]] = []
        self.kill: Kill | None = None
        self.asked: list[Asked] = []
        self.url = self.store = ""
        self.lock = threading.RLock()

    def make(self, kind: str, name: str, files: dict[str, Blob] | None = None, private: bool = False) -> Repo:
        """A repository as the Hub makes it, and a second commit when it begins with files."""
        repo = self.repos[kind, name] = Repo(name, private)
        first = {".gitattributes": Blob(ATTRIBUTES)}
        repo.commit("initial commit", first)
        if files:
            self.storage.update({blob.sha256: blob.data for blob in files.values() if blob.lfs})
            repo.commit("files", first | files)
        return repo

    def lines(self, pattern: str) -> list[str]:
        return [asked.line for asked in self.asked if re.search(pattern, asked.line)]

    def answer(self, method: str, url: str, host: str, token: str | None, body: bytes) -> Answer:
        parts = urlsplit(url)
        with self.lock:
            self.asked.append(Asked(f"{method} {parts.path}", host, token))
            if parts.path.startswith("/storage/"):
                return self._storage(method, parts.path.removeprefix("/storage/"), token, body)
            if token is not None and token not in self.tokens:
                return refused(401, "Invalid credentials in Authorization header")
            for verb, pattern, function in _ROUTES:
                if (found := re.fullmatch(pattern, parts.path)) and method in verb.split():
                    return self._route(function, found, parts.query, token, body, method)
        return refused(404, "no such page")

    def _route(
        self, function: Route, found: re.Match[str], query: str, token: str | None, body: bytes, method: str
    ) -> Answer:
        groups = {key: unquote(value) for key, value in found.groupdict().items() if value is not None}
        if "name" not in groups:
            return function(self, body=body, token=token)
        kind, name = groups.pop("kind", "models"), groups.pop("name")
        repo = self.repos.get((kind, name))
        user, writes = self.tokens.get(token or "", (None, False))
        if repo is None or (repo.private and name.split("/")[0] != user):
            known = refused(404, "Repository not found", "RepoNotFound")
            return refused(401, "Invalid username or password.") if token is None else known
        if method == "POST" and function is not LocalHub._paths and not (writes and name.split("/")[0] == user):
            return refused(403, "Forbidden: you need write access") if token else refused(401, "Invalid username")
        revision = groups.pop("revision", "main")
        if (commit := repo.at(revision)) is None:
            return refused(404, "Invalid rev id", "RevisionNotFound")
        about = {"kind": kind, "commit": commit, "revision": revision, "query": parse_qs(query), "user": user}
        return function(self, repo=repo, body=body, **about, **groups)

    def _create(self, body: bytes, token: str | None) -> Answer:
        wanted = json.loads(body)
        user, writes = self.tokens.get(token or "", (None, False))
        if token is None or not writes or wanted["organization"] != user:
            message = f'You don\'t have the rights to create a dataset under the namespace "{wanted["organization"]}"'
            return refused(403 if token else 401, message)
        kind, name = f"{wanted.get('type', 'model')}s", f"{wanted['organization']}/{wanted['name']}"
        answer = {"url": f"{self.url}/{'' if kind == 'models' else kind + '/'}{name}"}
        if (kind, name) in self.repos:
            return Answer(409, answer | {"error": "You already created this repo"})
        self.make(kind, name, private=wanted.get("visibility") == "private")
        return Answer(200, answer)

    def _validate(self, body: bytes, token: str | None) -> Answer:
        found = re.match(r"---\n(.*?)\n---\n", json.loads(body)["content"], re.DOTALL)
        if found is None:
            return Answer(200, {"errors": [], "warnings": [{"message": "empty or missing yaml metadata"}]})
        try:
            card = yaml.safe_load(found[1])
        except yaml.YAMLError:
            return Answer(400, {"errors": [{"message": "YAML Metadata Error: bad indentation"}], "warnings": []})
        if isinstance(card, dict) and not isinstance(card.get("license", ""), str):
            return Answer(400, {"errors": [{"message": '"license" must be a string'}], "warnings": []})
        return Answer(200, {"errors": [], "warnings": []})

    def _info(self, repo: Repo, commit: Commit, **_: Any) -> Answer:
        siblings = [{"rfilename": path} for path in commit.files]
        facts = {"id": repo.name, "sha": commit.oid, "private": repo.private, "siblings": siblings, "tags": []}
        return Answer(200, facts | {"lastModified": DATE, "createdAt": DATE, "disabled": False, "gated": False})

    def _tree(
        self, repo: Repo, kind: str, commit: Commit, query: dict[str, list[str]], path: str = "", **_: Any
    ) -> Answer:
        under, recursive = f"{path}/" if path else "", query.get("recursive", [""])[0].lower() == "true"
        rows = [
            row
            for row in self._rows(commit)
            if row["path"].startswith(under) and (recursive or "/" not in row["path"][len(under) :])
        ]
        if path and not rows:
            return refused(404, f"{path} does not exist", "EntryNotFound")
        start = int(query.get("cursor", ["0"])[0])
        address = f"{self.url}/api/{kind}/{repo.name}/tree/{commit.oid}" + (f"/{path}" if path else "")
        here = f"{address}?recursive={recursive}&cursor={start + self.page}"
        headers = {"Link": f'<{here}>; rel="next"'} if start + self.page < len(rows) else {}
        return Answer(200, rows[start : start + self.page], headers)

    def _rows(self, commit: Commit) -> list[dict[str, Any]]:
        """Every file and folder, as a tree lists them."""
        folders = {path.rsplit("/", 1)[0] for path in commit.files if "/" in path}
        rows: list[dict[str, Any]] = [{"type": "directory", "path": p, "size": 0, "oid": "0" * 40} for p in folders]
        for path, blob in commit.files.items():
            row = {"type": "file", "path": path, "size": len(blob.data), "oid": blob.oid}
            lfs = {"oid": blob.sha256, "size": len(blob.data), "pointerSize": 134}
            rows.append(row | {"lfs": lfs} if blob.lfs else row)
        return sorted(rows, key=lambda row: str(row["path"]))

    def _history(self, repo: Repo, commit: Commit, **_: Any) -> Answer:
        until = repo.history(commit)
        rows = [{"id": c.oid, "title": c.title, "message": "", "date": DATE, "authors": [{"user": "a"}]} for c in until]
        return Answer(200, rows[::-1])

    def _preupload(self, commit: Commit, body: bytes, **_: Any) -> Answer:
        attributes, ignored = (
            commit.files.get(name, Blob(b"")).data.decode() for name in (".gitattributes", ".gitignore")
        )
        large = [line.split()[0] for line in attributes.splitlines() if "filter=lfs" in line]
        files = []
        for file in json.loads(body)["files"]:
            leaf, there = file["path"].rsplit("/", 1)[-1], commit.files.get(file["path"])
            lfs = any(fnmatch.fnmatch(leaf, pattern) for pattern in large) or b"\0" in base64.b64decode(file["sample"])
            files.append(
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if lfs else "regular",
                    "shouldIgnore": any(fnmatch.fnmatch(file["path"], pattern) for pattern in ignored.split()),
                    "oid": None if there is None else there.sha256 if there.lfs else there.oid,
                }
            )
        return Answer(200, {"files": files, "commitOid": commit.oid})

    def _batch(self, body: bytes, **_: Any) -> Answer:
        objects = []
        for wanted in json.loads(body)["objects"]:
            upload = {"href": f"{self.store}/storage/{wanted['oid']}?X-Amz-Signature=s1gn3d", "header": {}}
            new = {} if wanted["oid"] in self.storage else {"actions": {"upload": upload}}
            objects.append({"oid": wanted["oid"], "size": wanted["size"], "authenticated": True, **new})
        return Answer(200, {"transfer": "basic", "objects": objects}, {"Content-Type": "application/vnd.git-lfs+json"})

    def _storage(self, method: str, oid: str, token: str | None, body: bytes) -> Answer:
        if token is not None:
            return Answer(400, b"<Error>Only one auth mechanism allowed</Error>")
        if method == "PUT":
            if hashlib.sha256(body).hexdigest() != oid:
                return Answer(400, b"<Error>BadDigest</Error>")
            self.storage[oid] = body
            return Answer()
        return Answer(200, self.storage[oid]) if oid in self.storage else Answer(404)

    def _refs(self, repo: Repo, **_: Any) -> Answer:
        tags = [{"name": name, "ref": f"refs/tags/{name}", "targetCommit": oid} for name, oid in repo.tags.items()]
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.commits[-1].oid}
        return Answer(200, {"branches": [main], "converts": [], "tags": tags})

    def _tag(self, repo: Repo, commit: Commit, body: bytes, **_: Any) -> Answer:
        name = json.loads(body)["tag"]
        if name in repo.tags:
            return refused(409, "Tag already exists")
        repo.tags[name] = commit.oid
        return Answer(200, {})

    def _discussions(self, repo: Repo, query: dict[str, list[str]], **_: Any) -> Answer:
        rows = [
            {
                "title": request.title,
                "num": number,
                "author": {"name": request.author},
                "createdAt": DATE,
                "status": request.status,
                "repo": {"name": repo.name, "type": "dataset"},
                "isPullRequest": True,
            }
            for number, request in repo.requests.items()
        ]
        start = int(query.get("p", ["0"])[0]) * self.page
        return Answer(200, {"count": len(rows), "start": start, "discussions": rows[start : start + self.page]})

    def _whoami(self, body: bytes, token: str | None) -> Answer:
        if token is None:
            return refused(401, "Invalid username or password.")
        return Answer(200, {"type": "user", "name": self.tokens[token][0], "auth": {"type": "access_token"}})

    def _paths(self, commit: Commit, body: bytes, **_: Any) -> Answer:
        wanted = [path.rstrip("/") for path in parse_qs(body.decode()).get("paths", [])]
        return Answer(200, [row for row in self._rows(commit) if row["path"] in wanted])

    def _commit(
        self, repo: Repo, body: bytes, revision: str, query: dict[str, list[str]], user: str | None, **_: Any
    ) -> Answer:
        if self.before_commit:
            self.before_commit.pop(0)()
        lines = [json.loads(line) for line in body.splitlines()]
        header, rest = lines[0]["value"], lines[1:]
        head = repo.at(revision)
        assert head is not None
        if header.get("parentCommit", head.oid) != head.oid:
            return refused(412, "A commit has happened since. Please refresh and try again.")
        files = dict(head.files)
        for line in rest:
            value, path = line["value"], line["value"]["path"]
            if line["key"] == "file":
                files[path] = Blob(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.storage:
                    return refused(400, "LFS pointer pointed to a file that does not exist")
                files[path] = Blob(self.storage[value["oid"]], lfs=True)
            elif files.pop(path, None) is None:
                return refused(404, "A file with this name doesn't exist", "EntryNotFound")
        made = repo.made(head.oid, header["summary"], files, tuple((e["key"], e["value"]["path"]) for e in rest))
        page = f"{self.url}/datasets/{repo.name}"
        facts = {"success": True, "commitOid": made.oid, "commitUrl": f"{page}/commit/{made.oid}", "hookOutput": ""}
        if "create_pr" in query:
            number = len(repo.requests) + 1
            repo.requests[number] = PullRequest(header["summary"], str(user), commits=[made])
            facts["pullRequestUrl"] = f"{page}/discussions/{number}"
        elif revision == "main":
            repo.commits.append(made)
        else:
            repo.line(revision).append(made)
        return Answer(200, facts)

    def _resolve(self, commit: Commit, path: str, **_: Any) -> Answer:
        headers = {"X-Repo-Commit": commit.oid}
        if (blob := commit.files.get(path)) is None:
            missing = refused(404, "Entry not found", "EntryNotFound")
            return Answer(404, missing.body, missing.headers | headers)
        if not blob.lfs:
            return Answer(200, blob.data, headers | {"ETag": f'"{blob.oid}"'})
        linked = {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(len(blob.data))}
        return Answer(
            302, b"", headers | linked | {"Location": f"{self.store}/storage/{blob.sha256}?X-Amz-Signature=r3ad"}
        )


_API = r"/api/(?P<kind>datasets|models)/(?P<name>[^/]+/[^/]+)"
_PAGE = r"/(?:(?P<kind>datasets)/)?(?P<name>[^/]+/[^/]+)"
_ROUTES: tuple[tuple[str, str, Route], ...] = (
    ("GET", r"/api/whoami-v2", LocalHub._whoami),
    ("GET", _API + r"/refs", LocalHub._refs),
    ("POST", _API + r"/tag/(?P<revision>[^/]+)", LocalHub._tag),
    ("GET", _API + r"/discussions", LocalHub._discussions),
    ("POST", _API + r"/paths-info/(?P<revision>[^/]+)", LocalHub._paths),
    ("POST", r"/api/repos/create", LocalHub._create),
    ("POST", r"/api/validate-yaml", LocalHub._validate),
    ("GET", _API + r"(?:/revision/(?P<revision>[^/]+))?", LocalHub._info),
    ("GET", _API + r"/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?", LocalHub._tree),
    ("GET", _API + r"/commits/(?P<revision>[^/]+)", LocalHub._history),
    ("POST", _API + r"/preupload/(?P<revision>[^/]+)", LocalHub._preupload),
    ("POST", _API + r"/commit/(?P<revision>[^/]+)", LocalHub._commit),
    ("POST", r"/(?P<kind>datasets)/(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch", LocalHub._batch),
    ("GET HEAD", _PAGE + r"/resolve/(?P<revision>[^/]+)/(?P<path>.+)", LocalHub._resolve),
)


class _Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes; else each reply waits for the client's delayed ACK
    hub: LocalHub

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        line = f"{self.command} {urlsplit(self.path).path}"
        kill = self.hub.kill
        if kill is not None and len(self.hub.asked) + 1 == kill.at:
            if kill.after:
                self.hub.answer(self.command, self.path, self.headers["Host"], token, body)
            self.hub.kill = None
            os.kill(kill.pid, signal.SIGKILL)
            self.close_connection = True
            return
        fault = next((f for f in self.hub.faults if f.times and re.search(f.match, line)), None)
        if fault is None or fault.after:
            answer = self.hub.answer(self.command, self.path, self.headers["Host"], token, body)
        else:
            self.hub.asked.append(Asked(line, self.headers["Host"], token))
            answer = Answer(fault.status, fault.body, {"Content-Type": "text/html"} | fault.headers)
        if fault is not None:
            fault.times -= 1
            if fault.after:
                self.close_connection = True
                return
        self._send(answer)

    do_HEAD = do_POST = do_PUT = do_GET

    def _send(self, answer: Answer) -> None:
        data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        kind = {} if isinstance(answer.body, bytes) else {"Content-Type": "application/json"}
        self.send_response(answer.status)
        for key, value in (kind | answer.headers | {"Content-Length": str(len(data))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@contextmanager
def local_hub(page: int = 1000) -> Iterator[LocalHub]:
    """A running Hub; `page`: entries a page of a tree."""
    hub = LocalHub(page)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Door", (_Door,), {"hub": hub}))
    server.daemon_threads = True
    hub.url, hub.store = (f"http://{host}:{server.server_port}" for host in ("127.0.0.1", "localhost"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
