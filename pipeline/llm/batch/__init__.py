"""Calls by the batch: OpenAI's files and batches endpoints, behind the same `ask` as single calls."""
