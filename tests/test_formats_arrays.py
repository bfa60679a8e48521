"""Arrays of Python values are what pyarrow makes of them, and bring no pandas along."""

import subprocess
import sys
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.arrays import array_of
from tests.runs import ROOT

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
PAIR = pa.struct([("key", pa.string()), ("value", pa.float64())])
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    pa.string(): TEXT,
    pa.large_string(): TEXT,
    pa.float64(): st.floats(allow_nan=False),
    pa.int32(): st.integers(0, 2**31 - 1),
    pa.bool_(): st.booleans(),
    pa.list_(pa.string()): st.lists(TEXT, max_size=3),
    pa.list_(PAIR): st.lists(st.fixed_dictionaries({"key": TEXT, "value": st.floats(allow_nan=False)}), max_size=3),
}


@pytest.mark.parametrize("kind", VALUES, ids=str)
@given(data=st.data())
def test_it_is_pyarrows_array(kind: Any, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.none() | VALUES[kind], max_size=8))
    made = array_of(values, kind)
    assert made.type == kind
    assert made.equals(pa.array(values, type=kind))


def test_numbers_may_be_whole_and_lists_tuples() -> None:
    assert array_of([1, 2.5], pa.float64()).to_pylist() == [1.0, 2.5]
    assert array_of([("a", "b"), ()], pa.list_(pa.string())).to_pylist() == [["a", "b"], []]


RUN = """
import json, sys, tempfile
from pathlib import Path
from pipeline.__main__ import main
folder = Path(tempfile.mkdtemp(dir=sys.argv[1]))
rows = [{"instruction": f"Name a number above {n}.", "input": "", "output": f"{n + 1} is above {n}."} for n in range(9)]
(folder / "rows.json").write_text(json.dumps(rows))
code = main(["clean", str(folder / "rows.json"), "--engine", "local", "--outputs", str(folder / "out"), "--quiet"])
print(code, "pandas" in sys.modules, "ray" in sys.modules)
"""


def test_a_cleaning_run_imports_neither_pandas_nor_ray(tmp_path: Any) -> None:
    done = subprocess.run([sys.executable, "-c", RUN, str(tmp_path)], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip().splitlines()[-1] == "0 False False", done.stderr
