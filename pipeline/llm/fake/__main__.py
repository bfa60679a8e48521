"""`python -m pipeline.llm.fake`: play a script until stopped."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from pipeline.errors import SeedmillError
from pipeline.llm.fake.provider import port_taken
from pipeline.llm.fake.script import Script, load_script
from pipeline.llm.fake.server import HOST, start


def main(argv: Sequence[str] | None = None) -> int:
    """`--script faults.yaml --port N [--port-file PATH]`; the exit code."""
    parser = argparse.ArgumentParser(
        prog="seedmill fake-provider",
        description="A local server with OpenAI's endpoints that replies by a script, at no cost.",
    )
    parser.add_argument("--script", metavar="FILE", help="YAML; default: the script that rehearsals use")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--port-file", metavar="PATH", type=Path, help="where to write the port once it is open")
    arguments = parser.parse_args(argv)
    try:
        script = load_script(arguments.script)
        uvloop.run(_play(script, arguments.port, arguments.port_file))
    except SeedmillError as error:
        print(f"seedmill: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        pass
    return 0


async def _play(script: Script, port: int, port_file: Path | None) -> None:
    try:
        runner, server, port = await start(script, port)
    except OSError as error:
        raise port_taken(port, error) from error
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(f"fake provider: http://{HOST}:{port}/v1 (bill: http://{HOST}:{port}/fake/bill)", flush=True)
    if port_file is not None:
        part = port_file.with_name(f"{port_file.name}.part")
        part.write_text(str(port))
        os.replace(part, port_file)  # whoever waits for the file never reads half of it
    await stop.wait()
    bill = server.bill.shown()
    await runner.cleanup()
    price = "unknown" if bill["usd"] is None else f"{bill['usd']:.6f} USD"
    print(f"fake provider: {bill['requests']} requests, {bill['finished']} finished replies, bill {price}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
