"""datatrove's n-gram decontamination at its defaults (12 words), questions included, on the texts of a JSON file.

Run by benchmarks/decontamination.py in an environment of its own: python THIS source.json target.json
Its indexer loads lighteval's tasks; here the index is written with the filter's own tokenizer, hashes and settings.
"""

import importlib.metadata
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter
from datatrove.utils.logging import logger
from datatrove.utils.text import ngrams, simplify_text

logger.remove()


def main() -> None:
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    config = NGramsDecontConfig(find_query_ngrams=True)
    with tempfile.TemporaryDirectory() as folder:
        step = NGramsDecontFilter(folder, config)
        hashes = set()
        for text in given["known"]:
            words = step.tokenizer.word_tokenize(simplify_text(text, config.norm_config))
            hashes.update(step.hash_func(" ".join(gram)) for gram in ngrams(words, config.n_grams))
        path = Path(folder) / "known.index.hashes"
        np.array(sorted(hashes), dtype=config.hash_config.np_descr).tofile(path)
        step.filter(Document(text="load the index", id="0"))
        found = {}
        began = time.perf_counter()
        for name, texts in given["texts"].items():
            found[name] = [step.filter(Document(text=text, id="0")) is not True for text in texts]
        seconds = time.perf_counter() - began
    version = importlib.metadata.version("datatrove")
    Path(sys.argv[2]).write_text(json.dumps({"version": version, "found": found, "seconds": seconds}))


if __name__ == "__main__":
    main()
