"""fastText's language identifier read and applied by ourselves: the labels of its own library, on all processors.

The library's Python binding predicts one text after another and holds the interpreter the while.
"""

from pipeline.lid.model import LanguageModel, read_model
from pipeline.lid.predict import predict

__all__ = ["LanguageModel", "predict", "read_model"]
