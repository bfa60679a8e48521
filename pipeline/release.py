"""A release: what publishing a folder changes in a dataset repository, file by file."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import DataError, UsageError
from pipeline.store import sha256_of

SUMS = "SHA256SUMS"
"""The file of a release that lists its others, as `sha256sum` writes it; what it lists is ours."""

_LOCAL = "manifest.json"

_LISTED = re.compile(r"^([0-9a-f]{64}) [ *](.+)$", re.MULTILINE)
_FACTS = ("repo", "url", "hub", "why", "private", "dry_run", "commit", "request", "tag")


@dataclass(frozen=True)
class HubFile:
    """A file in the repository.

    Attributes:
        size: bytes of the content, not of an LFS pointer.
        oid: git's id of the blob.
        sha256: of the content, when it is kept in LFS (or Xet) storage; the oid is then the pointer's.
    """

    size: int
    oid: str
    sha256: str | None = None


@dataclass(frozen=True)
class Change:
    """One file of a release: its path in the repository, its size in bytes, and its size before when it was there."""

    path: str
    bytes: int
    was: int | None = None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What a release does: every file of the folder and of the repository is in exactly one of these.

    Attributes:
        left: files of the repository that are not ours, and stay.
    """

    added: tuple[Change, ...] = ()
    changed: tuple[Change, ...] = ()
    deleted: tuple[Change, ...] = ()
    unchanged: tuple[Change, ...] = ()
    left: tuple[Change, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether the repository holds the release already."""
        return not (self.added or self.changed or self.deleted)

    def counts(self) -> str:
        """`2 added, 1 deleted, 5 unchanged`."""
        named = {key: len(getattr(self, key)) for key in ("added", "changed", "deleted", "unchanged")}
        return ", ".join(f"{count} {key}" for key, count in named.items() if count) or "no files"


@dataclass(frozen=True, kw_only=True)
class Published:
    """What publishing did, or would do.

    Attributes:
        hub: how the repository was found: `there`, `absent`, or `unreachable` (only when rehearsing).
        why: a sentence when it was not there.
        private: how the repository is, or would be made.
        commit: the commit made; None when there was nothing to do or it was a rehearsal.
        request: the pull request that has it (`refs/pr/N`), or `new` for one that would be opened; None for none.
        tag: the tag that was made, or would be; None when none was wished for or it is there already.
        notes: what else people should be told.
    """

    repo: str
    url: str
    hub: Literal["there", "absent", "unreachable"]
    private: bool
    dry_run: bool
    difference: Difference
    why: str | None = None
    commit: str | None = None
    request: str | None = None
    tag: str | None = None
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON values; files by what happens to them."""
        facts = {key: getattr(self, key) for key in _FACTS}
        return {**facts, **asdict(self.difference), "notes": list(self.notes)}

    def sentence(self) -> str:
        """The same for people: a table and a sum for a rehearsal, else a sentence; notes on lines of their own."""
        text = "\n".join(self._rehearsed()) if self.dry_run else self._done()
        return "\n".join([text, *(f"note: {note}" for note in self.notes)])

    def _done(self) -> str:
        found, sort = self.difference, "private" if self.private else "public"
        tagged = f"; tagged {self.tag}" if self.tag else ""
        where = (
            f"{self.url} ({sort})" if self.request is None else f"pull request {self.request} of {self.url} ({sort})"
        )
        if found.empty:
            return f"nothing to publish: {where} already holds these {len(found.unchanged)} files{tagged}"
        sent = size_text(sum(change.bytes for change in (*found.added, *found.changed)))
        done = "proposed in" if self.request else "published to"
        return f"{done} {where}: {found.counts()}; {sent} in commit {(self.commit or '')[:12]}{tagged}"

    def _rehearsed(self) -> Iterator[str]:
        found = self.difference
        yield f"rehearsal for {self.repo} ({'private' if self.private else 'public'}); nothing was sent"
        if self.why:
            yield f"{self.why}; every file counts as new"
        kinds = (("add", found.added), ("change", found.changed), ("delete", found.deleted))
        rows = [(kind, change) for kind, changes in kinds for change in changes]
        rows += [("keep", change) for change in found.unchanged] + [("not ours", change) for change in found.left]
        width = max((len(change.path) for _, change in rows), default=0)
        for kind, change in rows:
            was = "" if change.was is None or kind != "change" else f"  (was {size_text(change.was)})"
            yield f"  {kind:<8}  {change.path:<{width}}  {size_text(change.bytes):>9}{was}"
        sent = size_text(sum(change.bytes for change in (*found.added, *found.changed)))
        yield "nothing would change" if found.empty else f"{found.counts()}; {sent} to upload"
        if self.request and not found.empty:
            yield "as a new pull request" if self.request == "new" else f"added to the open pull request {self.request}"
        if self.tag:
            yield f"tagged {self.tag}"


def local_files(folder: Path) -> dict[str, Path]:
    """The files of a release: path in the repository -> file. Hidden files and the exporter's manifest stay here.

    Raises:
        UsageError: there is no such folder, or nothing in it.
    """
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files = {name: path for name, path in found.items() if not hidden(name) and name != _LOCAL}
    if not files:
        raise UsageError(f"there is nothing to publish in {folder}", "export the run first: seedmill run … --to export")
    return files


NOTHING_SENT = "nothing was uploaded, since "


def would_stop(error: DataError) -> str:
    """What a rehearsal says of something that would stop a release."""
    return f"publishing would stop, since {error.message.removeprefix(NOTHING_SENT)}; {error.hint}"


def check_sums(files: Mapping[str, Path]) -> None:
    """Refuse files that are not what SHA256SUMS says; a folder without it is taken as it is.

    Raises:
        DataError: a file was changed or deleted after the export.
    """
    if SUMS not in files:
        return
    text = files[SUMS].read_text(encoding="utf-8", errors="replace")
    for digest, name in _LISTED.findall(text):
        if name not in files or sha256_of(files[name]) != digest:
            problem = "is not what was exported" if name in files else "is missing"
            raise DataError(
                f"nothing was uploaded: {name} {problem} (see {files[SUMS]})",
                "delete the export folder and export again",
            )


def check_tag(tag: str | None, pull_request: bool) -> None:
    """Refuse what cannot be a tag, or a tag on what is only proposed.

    Raises:
        UsageError: either.
    """
    if tag is None:
        return
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", tag) or tag.endswith((".", ".lock")) or ".." in tag:
        raise UsageError(f"'{tag}' cannot be a tag", "write something like v1.0, or 'auto'")
    if pull_request:
        raise UsageError("a pull request cannot be tagged", "publish without --tag, and tag it when it is merged")


def next_version(tags: Iterable[str]) -> str:
    """The version after the highest `vN.M` among the tags; v1.0 when there is none."""
    found = [(int(m[1]), int(m[2])) for tag in tags if (m := re.fullmatch(r"v(\d{1,9})\.(\d{1,9})", tag))]
    major, minor = max(found, default=(1, -1))
    return f"v{major}.{minor + 1}"


def compare(files: Mapping[str, Path], there: Mapping[str, HubFile], listed: Iterable[str] | None) -> Difference:
    """What must change for the repository to hold these files and nothing else that is ours.

    Args:
        files: path in the repository -> file.
        there: path -> file, as the repository is.
        listed: paths that our last release listed; None when no release there is ours, and so nothing to be deleted.
    """
    sizes = {name: path.stat().st_size for name, path in files.items()}
    ours = set() if listed is None else {SUMS, *listed}
    stale = [name for name in there if name not in files]
    equal = {name for name in files if name in there and _same(files[name], there[name])}
    changes = {name: Change(name, size, there[name].size if name in there else None) for name, size in sizes.items()}
    gone = {name: Change(name, there[name].size) for name in stale}
    return Difference(
        added=_sorted(changes[name] for name in files if name not in there),
        changed=_sorted(changes[name] for name in files if name in there and name not in equal),
        unchanged=_sorted(changes[name] for name in equal),
        deleted=_sorted(gone[name] for name in stale if name in ours and not hidden(name)),
        left=_sorted(gone[name] for name in stale if name not in ours or hidden(name)),
    )


def listed_in(sums: str) -> list[str]:
    """The paths in a file that `sha256sum` or our exporter wrote; other lines are passed over."""
    return [name for _, name in _LISTED.findall(sums)]


def git_oid(path: Path) -> str:
    """The id git gives to a file's content: sha1 over `blob <size>\\0` and the bytes."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def size_text(count: int) -> str:
    """Bytes for people, in decimal units as the Hub shows them."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _same(path: Path, there: HubFile) -> bool:
    if path.stat().st_size != there.size:
        return False
    return git_oid(path) == there.oid if there.sha256 is None else sha256_of(path) == there.sha256


def hidden(name: str) -> bool:
    """Whether a file, or a folder it is in, begins with a dot: never published and never deleted."""
    return any(part.startswith(".") for part in name.split("/"))


def _sorted(changes: Iterable[Change]) -> tuple[Change, ...]:
    return tuple(sorted(changes, key=lambda change: change.path))
