"""Where numbers come from: what a commit did, and what made a point of a light curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .store import Commit

Result = dict[str, Any]


def commit_facts(night: str, records: Sequence[Mapping[str, Any]]) -> Result:
    """What a commit's metadata tells of a night: enough for the history, without opening the commit.

    Parameters
    ----------
    night : str
        The night.
    records : sequence of mapping
        The records of its filters, as `Transaction.write_night` gets them.

    Returns
    -------
    dict
        `night`, `filters`, `frames` (found), `frames_used`, `config_digest`, `software`, and `precision`: filter to the
        scatter of its steadiest star from point to point (relative), where it is known.
    """
    return {
        "night": night,
        "filters": [r["filter"] for r in records],
        "frames": sum(r["frames"] for r in records),
        "frames_used": sum(r["frames_used"] for r in records),
        "config_digest": records[0]["config_digest"],
        "software": records[0]["software"],
        "precision": {r["filter"]: r["precision"] for r in records if r.get("precision") is not None},
    }


def commit_line(commit: Commit, tags: Sequence[str] = ()) -> str:
    """One commit in one line."""
    facts = commit.metadata
    parts = [f"{commit.id}  {commit.time:%Y-%m-%d %H:%M:%S}  {commit.message}"]
    if "frames_used" in facts:
        parts.append(f"{facts['frames_used']} of {facts['frames']} frames")
    if precision := facts.get("precision"):
        parts.append(", ".join(f"{1e3 * v:.2f} ppt {k}".strip() for k, v in precision.items()))
    if "config_digest" in facts:
        parts.append(f"settings {facts['config_digest'][:8]}, dphot {facts['software']['dphot']}")
    for word, key in (("demoted", "demoted"), ("restored", "restored")):
        for name, stars in facts.get(key, {}).items():
            parts.append(
                f"{word} {'stars' if len(stars) > 1 else 'star'} {', '.join(map(str, stars))} {name}".strip()
            )
    if tags:
        parts.append(f"tag {', '.join(tags)}")
    if commit.state:
        parts.append(commit.state)
    return "; ".join(parts)
