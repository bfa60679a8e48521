"""What a quality model is worth, as a page of text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.quality.figures import beats_chance, beats_length


def as_text(manifest: Mapping[str, Any], folder: Path) -> str:
    """The manifest's figures for people, with what they mean for the use of the model."""
    found, counts, line = manifest["figures"], manifest["counts"], manifest["threshold"]
    total = sum(counts[part]["rows"] for part in ("train", "calibration", "held_out"))
    good = sum(counts[part]["good"] for part in ("train", "calibration", "held_out"))
    least = f"{manifest['score']} from {manifest['good']:g}"
    paragraphs = [
        [
            f"{total:,} judged rows of run '{manifest['source']['run']}', {good:,} of them good ({least}); "
            f"{_judge(manifest)}",
            f"trained on {counts['train']['rows']:,}, calibrated on {counts['calibration']['rows']:,}, measured on "
            f"{found['rows']:,} held-out rows with {found['good']:,} good ones (95% intervals);",
            "no near-duplicate of a row is in another part",
        ],
        _table(found),
        [
            f"threshold {line['probability']:.4f}, chosen on {line['chosen_on_good']:,} good rows for a recall of "
            f"{line['recall']:g}: expect {line['recall_expected']:.3f} on average, and at least "
            f"{line['recall_at_least']:.3f} in 95 of 100 such samples",
            *_confusion(found["at_threshold"]["confusion"]),
        ],
        _languages(manifest),
        _warnings(manifest),
        [
            f"written to {folder}; score other rows at no cost with an entry",
            f"  - {{stage: quality, classifier: {folder}, threshold: model}}",
        ],
    ]
    return "\n\n".join("\n".join(lines) for lines in paragraphs if lines)


def _judge(manifest: Mapping[str, Any]) -> str:
    judge = manifest["source"]["judge"]
    if not judge:
        return "who judged is not known"
    return "judged by " + ", ".join(sorted(str(model["model"]) for model in judge.values()))


def _figure(value: list[float] | None) -> str:
    return "-" if value is None else f"{value[0]:.3f} ({value[1]:.3f} to {value[2]:.3f})"


def _table(found: Mapping[str, Any]) -> list[str]:
    length = found["baselines"]["length"]
    half, kept = found["at_half"], found["at_threshold"]
    rows = [
        ("", "this model", "length only"),
        ("AUC", _figure(found["auc"]), _figure(length["auc"])),
        ("AUC above length only", _figure(found["baselines"]["auc_above_length"]), ""),
        ("Spearman with the judge's score", _figure(found["spearman"]), ""),
        ("Spearman with the answer's length", _figure(found["spearman_with_length"]), ""),
        ("Brier score", _figure(found["brier"]), ""),
        ("  of the share of good rows alone", f"{found['baselines']['share_brier']:.3f}", ""),
        ("agreement at probability 0.5", _figure(half["agreement"]), _figure(length["at_half"]["agreement"])),
        ("  always the larger class", _figure(found["baselines"]["majority_agreement"]), ""),
        ("  Cohen's kappa", _figure(half["kappa"]), ""),
        ("at the threshold: recall of good", _figure(kept["recall"]), _figure(length["at_threshold"]["recall"])),
        ("  precision", _figure(kept["precision"]), _figure(length["at_threshold"]["precision"])),
        ("  share kept", _figure(kept["kept"]), _figure(length["at_threshold"]["kept"])),
        ("  agreement", _figure(kept["agreement"]), _figure(length["at_threshold"]["agreement"])),
        ("  Cohen's kappa", _figure(kept["kappa"]), ""),
    ]
    return _aligned(rows)


def _confusion(cells: Mapping[str, int]) -> list[str]:
    rows = [
        ("held-out rows", "kept", "dropped"),
        ("  good to the judge", f"{cells['good_kept']:,}", f"{cells['good_dropped']:,}"),
        ("  not good", f"{cells['bad_kept']:,}", f"{cells['bad_dropped']:,}"),
    ]
    return _aligned(rows)


def _languages(manifest: Mapping[str, Any]) -> list[str]:
    found, learnt = manifest["figures"]["languages"], manifest["languages"]
    rows = [("language", "trained on", "good", "held out good", "AUC", "recall", "precision", "share kept")]
    for tag in sorted({*found, *learnt}):
        trained = learnt.get(tag)
        told = found.get(tag)
        numbers = (f"{trained['rows']:,}", f"{trained['good']:,}") if trained else ("too few", "")
        if told is None:
            rows.append((tag, *numbers, "too few", "", "", "", ""))
            continue
        area = "-" if told["auc"] is None else f"{told['auc']:.3f}"
        shares = [_figure(told[name]) for name in ("recall", "precision", "kept")]
        rows.append((tag, *numbers, f"{told['good']:,}", area, shares[0], shares[1], shares[2]))
    return [*_aligned(rows), "rows in a language it was not trained on are left without a score"]


def _warnings(manifest: Mapping[str, Any]) -> list[str]:
    found = manifest["figures"]
    if not beats_chance(found):
        return [
            "warning: on held-out rows this model is not better than a coin: its scores mean nothing; judge more rows, "
            "or accept that this judge's scores cannot be told from the words",
        ]
    if not beats_length(found):
        return [
            "warning: on held-out rows this model is not better than the lengths of question and answer alone; a rule "
            "on length would do as well, or more judged rows are needed",
        ]
    return []


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
