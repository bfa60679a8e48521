"""The command that tells what is known of the servers: `servers`."""

import argparse
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.llm.models import ModelSpec
    from pipeline.llm.servers import Server


def servers(arguments: argparse.Namespace) -> int:
    """`seedmill servers [RECIPE]`: all that are known, or the ones behind a recipe's models."""
    if arguments.recipe is None:
        from pipeline.llm.servers import known_servers

        found = [_known(server) for server in known_servers()]
    else:
        from pipeline.models import Models
        from pipeline.recipe import load_recipe

        recipe = load_recipe(arguments.recipe, arguments.set)
        with Models(recipe, os.environ, outputs=arguments.outputs, run=recipe.name, idle=True) as models:
            found = [_taken(spec) for spec in models.specs.values()]
    if arguments.json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
    else:
        print("\n".join(_table(found)))
    return 0


def _known(server: "Server") -> dict[str, Any]:
    return {
        "server": server.name,
        "key": server.api_key_env or "-",
        "json": ", ".join(server.json) or "-",
        "samples": server.samples,
        "texts": server.texts,
        "left out": ", ".join(server.refuse) or "-",
        "recognised by": ", ".join(server.hosts) or f"port {server.port}",
    }


def _taken(spec: "ModelSpec") -> dict[str, Any]:
    """What a role's server is taken for; rules for the model are in it."""
    from pipeline.llm.servers import normalised

    kind = spec.kind
    probe: dict[str, Any] = dict.fromkeys(_PARAMETERS, 1)
    fitted = kind.fitted(probe, spec.model, chat=True)
    return {
        "role": spec.role,
        "model": spec.model,
        "at": normalised(spec.base_url) if spec.base_url else "embedded",
        "server": kind.name or "unknown",
        "key": spec.api_key_env or "-",
        "json": ", ".join(kind.rule("json", spec.model)) or "-",
        "samples": kind.rule("samples", spec.model),
        "texts": kind.rule("texts", spec.model),
        "left out": ", ".join(name for name in _PARAMETERS if name not in fitted and name != "max_tokens") or "-",
    }


_PARAMETERS = (
    *("max_tokens", "temperature", "top_p", "seed", "n", "stop", "presence_penalty", "frequency_penalty"),
    *("logit_bias", "logprobs", "top_logprobs"),
)


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    names = list(rows[0])
    lines = [names, *([str(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
