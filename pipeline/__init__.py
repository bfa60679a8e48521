"""What moves records: stages, LLM calls, disk, parallelism and the command line."""
