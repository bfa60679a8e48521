"""The Hugging Face Hub, the only file that imports its library: fetching an embedded model's file."""

import re
from pathlib import Path

from pipeline.errors import UsageError


def fetch_model(uri: str) -> Path:
    """Download a model file, or find it in the Hub's own cache.

    Args:
        uri: `hf://owner/repo/path/in/repo.gguf`; `@revision` may follow the repository.

    Raises:
        UsageError: not such a URI, no such file, or the Hub cannot be reached.
    """
    found = re.fullmatch(r"hf://([^/@]+/[^/@]+)(?:@([^/]+))?/(.+)", uri)
    if found is None:
        raise UsageError(f"{uri}: not a file on the Hub", "write hf://owner/repo/file.gguf")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repo, revision, name = found.groups()
    try:
        return Path(hf_hub_download(repo, name, revision=revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        why = str(error).strip().splitlines()[0]
        raise UsageError(
            f"{uri}: cannot be fetched: {why}",
            "is the name right? HF_TOKEN opens private repositories, HF_ENDPOINT names a mirror",
        ) from error
