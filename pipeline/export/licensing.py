"""The licence of an export: derived from its rows, and never stated over rows that do not allow it."""

from collections.abc import Mapping
from typing import Any

from pipeline.errors import DataError
from pipeline.export.markdown import plain, table
from pipeline.export.survey import Origin, Survey
from pipeline.licenses import CONDITIONS, UNKNOWN, combined, conditions, known, parts, unmet

HUB_LICENSES = frozenset(
    (
        *("apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m", "bigcode-openrail-m"),
        *("bigscience-bloom-rail-1.0", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause", "bsd-3-clause"),
        *("bsd-3-clause-clear", "c-uda", "lppl-1.3c", "lgpl-lr", "deepfloyd-if-license"),
        *("cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0"),
        *("cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"),
        *("cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0", "cdla-permissive-1.0"),
        *("cdla-permissive-2.0", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "eupl-1.2", "agpl-3.0"),
        *("gfdl", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "mpl-2.0", "ms-pl", "ncsa"),
        *("odc-by", "odbl", "ofl-1.1", "openrail++", "osl-3.0", "pddl", "postgresql", "unlicense", "wtfpl", "zlib"),
        *("llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "gemma", "unknown", "other"),
    )
)
"""Licence identifiers that the Hub accepts (hub-docs, repositories-licenses.md)."""

_PAGE = "LICENSE.md"
_SHOWN = 3


def refuse_overstated(survey: Survey, stated: str | None) -> None:
    """Refuse to state a licence for the whole that drops a condition of some rows.

    Raises:
        DataError: names the licences, how many rows are under them, their sources and first ids.
    """
    against = {name: unmet(stated, name) for name in survey.origins} if stated else {}
    found = {name: left for name, left in against.items() if left}
    if not found:
        return
    causes = "; ".join(_cause(name, left, survey.origins[name]) for name, left in found.items())
    whole = combined(part for name in survey.origins for part in parts(name) if part != UNKNOWN)
    fine = sorted({part for name in survey.origins if name not in found for part in parts(name)})
    only = f", or leave those rows out with 'only_licenses: [{', '.join(fine)}]'" if fine else ""
    raise DataError(
        f"the licence '{stated}' cannot be stated over these rows: {causes}",
        f"leave 'export.license' out and it is derived, or state all that holds: 'license: {whole}'{only}",
    )


def _cause(name: str | None, left: tuple[str, ...], origin: Origin) -> str:
    asked = dict.fromkeys(CONDITIONS.get(word, word) for part in left for word in sorted(_telling(part)))
    sources = [plain_source for plain_source, _ in origin.sources.most_common(_SHOWN)]
    ids = ", ".join(origin.ids[:_SHOWN])
    return f"{origin.rows:,} under {name} ({'; '.join(asked)}), from {', '.join(sources)}, such as {ids}"


def _telling(part: str) -> frozenset[str]:
    """The conditions of a part that make it stricter than others; its notice only when there is nothing else."""
    found = conditions(part)
    return found - {"notice"} or found


def license_fields(survey: Survey, stated: str | None) -> dict[str, str]:
    """`license`, and for one that the Hub has no name for also `license_name` and `license_link`."""
    found = {combined([stated])} if stated else {combined([name]) for name in survey.counts["license"]}
    if not found - {None}:
        return {"license": "unknown"}
    if len(found) > 1:
        return _other("mixed")
    name = next(iter(found)) or "unknown"
    return {"license": name} if name in HUB_LICENSES else _other(name.lower().replace(" ", "-"))


def _other(name: str) -> dict[str, str]:
    kept = "".join(c if c.isascii() and (c.isalnum() or c in ".-") else "-" for c in name)[:80]
    return {"license": "other", "license_name": kept, "license_link": _PAGE}


def license_page(survey: Survey, stated: str | None) -> str | None:
    """LICENSE.md, which `license_link` points at; None when the licence needs no explanation."""
    if "license_link" not in license_fields(survey, stated):
        return None
    lines = ["# Licences of the rows", ""]
    if stated:
        lines += [f"The publisher states: {plain(stated)}", ""]
    return "\n".join([*lines, license_table(survey), "", *_explained(survey), ""])


def license_table(survey: Survey) -> str:
    """Licence by licence how many rows are under it and where they come from."""
    rows = []
    for name, origin in sorted(survey.origins.items(), key=lambda item: (-item[1].rows, item[0] or "")):
        sources = ", ".join(plain(source) for source, _ in origin.sources.most_common(_SHOWN))
        more = " and others" if len(origin.sources) > _SHOWN else ""
        rows.append((plain(name or "not known"), f"{origin.rows:,}", sources + more))
    return table(("licence", "rows", "sources"), rows, "lrl")


def _explained(survey: Survey) -> list[str]:
    named = sorted({part for name in survey.origins for part in parts(name)} - {UNKNOWN})
    lines = []
    for part in named:
        facts: Mapping[str, Any] | None = known().get(part)
        if facts is None:
            lines.append(f"- {plain(part)}: nothing is known here of what it asks for; read it.")
            continue
        asked = "; ".join(CONDITIONS[word] for word in facts["conditions"]) or "nothing"
        note = f" In short: {facts['note']}." if "note" in facts else ""
        lines.append(f"- {plain(part)} asks for: {asked}.{note} <{facts['source']}> (as of {facts['as_of']})")
    return lines
