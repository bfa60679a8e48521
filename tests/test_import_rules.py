"""Data flows one way: who may import what."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted([*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("filters/**/*.py")])

ONLY_IN = {"ray": "pipeline/engine/", "openai": "pipeline/llm/", "huggingface_hub": "pipeline/hub"}

STAGES_MAY_IMPORT = (
    "record",
    "stage",
    "stages",
    "signals",
    "measures",
    "contamination",
    "quality",
    "bulk",
    "similar",
    "llm",
    "formats",
    "errors",
    "licenses",
    "prompt",
    "answer_request",
    "spans",
)


def imports(path: Path) -> list[str]:
    """Every module a file imports, wherever in it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "pipeline":
            found += [f"pipeline.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    for module in imports(path):
        top = module.split(".")[0]
        if top in ONLY_IN:
            assert name.startswith(ONLY_IN[top]), f"{name} imports {module}"
        assert module != "pipeline.__main__", name
        if name.startswith("filters/"):
            assert top in {"polars", "filters", *sys.stdlib_module_names} or module == "pipeline.record", (
                f"{name}: {module}"
            )
        if name.startswith("pipeline/stages/") and top == "pipeline":
            assert module.split(".")[1] in STAGES_MAY_IMPORT, f"{name} imports {module}"


def test_the_command_line_starts_without_heavy_imports() -> None:
    heavy = {"polars", "pyarrow", "ray", "numpy", "openai"}
    code = f"import sys, pipeline.__main__ as m; m.parser(); print(sorted({heavy} & set(sys.modules)))"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
    assert time.monotonic() - began < 20  # a gross bound; the promise of half a second is measured in the benchmarks


def test_every_file_begins_with_what_it_is() -> None:
    for path in FILES:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path
