"""Compiled loops over whole columns of text: JSON read and written, ids, without a Python object a row."""
