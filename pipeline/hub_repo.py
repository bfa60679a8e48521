"""A dataset repository on the Hub, as it is at one commit."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read at the import below, as in pipeline/hub.py

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.hf_api import RepoFile

from pipeline.hub_faults import Call, status_of
from pipeline.release import SUMS, HubFile

TITLE = "seedmill: "
"""How our commits and pull requests begin; a repository without one holds nothing of ours that could be deleted."""

_TIMEOUT_S = 15.0
_OPEN = ("open", "draft")


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a release goes, and as whom."""

    api: HfApi
    repo: str
    private: bool
    call: Call

    @property
    def url(self) -> str:
        """Where people find it."""
        return f"{self.api.endpoint}/datasets/{self.repo}"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The repository at one commit."""

    head: str | None
    private: bool
    files: Mapping[str, HubFile]


def look(target: Target, revision: str | None = None) -> Seen | None:
    """The repository at the newest commit of a branch (main); None when there is none, or none for this token."""
    try:
        info = target.api.dataset_info(target.repo, revision=revision, timeout=_TIMEOUT_S)
    except HfHubHTTPError as error:
        # Somebody without a token gets 401 for what is private and for what does not exist.
        if status_of(error) == 404 or (status_of(error) == 401 and target.call.token is None):
            return None
        raise
    return Seen(head=info.sha, private=bool(info.private), files=tree(target, info.sha))


def tree(target: Target, commit: str | None) -> dict[str, HubFile]:
    """Every file at a commit."""
    entries = target.api.list_repo_tree(target.repo, recursive=True, revision=commit, repo_type="dataset")
    return {
        entry.path: HubFile(entry.size, entry.blob_id)
        if entry.lfs is None
        else HubFile(entry.lfs.size, entry.blob_id, entry.lfs.sha256)
        for entry in entries
        if isinstance(entry, RepoFile)
    }


def released_before(target: Target, seen: Seen) -> bool:
    """Whether a commit of ours is in its history."""
    commits = target.api.list_repo_commits(target.repo, repo_type="dataset", revision=seen.head)
    return any(commit.title.startswith(TITLE) for commit in commits)


def read_sums(target: Target, seen: Seen) -> str:
    """The text of its SHA256SUMS."""
    with tempfile.TemporaryDirectory() as folder:  # the user's cache is not for our bookkeeping
        path = target.api.hf_hub_download(target.repo, SUMS, repo_type="dataset", revision=seen.head, local_dir=folder)
        return Path(path).read_text(encoding="utf-8", errors="replace")


def open_request(target: Target) -> int | None:
    """The number of the newest open pull request that we made with this token, or None."""
    found = [
        request
        for request in target.api.get_repo_discussions(target.repo, repo_type="dataset", discussion_type="pull_request")
        if request.status in _OPEN and request.is_pull_request and request.title.startswith(TITLE)
    ]
    if not found:
        return None
    me = target.api.whoami(cache=True)["name"]
    return max((request.num for request in found if request.author == me), default=None)


def tags(target: Target) -> dict[str, str]:
    """Tag -> the commit it is on."""
    refs = target.api.list_repo_refs(target.repo, repo_type="dataset")
    return {tag.name: tag.target_commit for tag in refs.tags}
