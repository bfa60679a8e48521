"""A provider that costs nothing: a real HTTP server with OpenAI's endpoints; a script decides its replies and failures.

Users rehearse a recipe on it, tests drive every path with it, benchmarks time clients against it. See
`script.schema.json` for all that a script can say and `rehearsal.yaml` for one.
"""
