"""One file per family of commands: each takes parsed arguments and returns an exit code."""
