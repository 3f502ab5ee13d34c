"""What appends change in the judgement of the comparison stars, as commits tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Verdict:
    """What an append changed in the judgement of one filter."""

    demoted: list[int] = field(default_factory=list)
    """Stars that now turn out to vary."""
    restored: list[int] = field(default_factory=list)
    """Stars that are comparisons again."""
    precision: float = np.nan
    """Scatter of the brightest stars from point to point (relative), in the last night appended: the median of the few
    of least noise, in the aperture in which stars are steadiest. That of the one that scatters least tells of luck:
    among many, some few points lie close together."""

    def after(self, earlier: Verdict | None) -> Verdict:
        """This verdict and an earlier one as one: a star demoted by one and restored by the other did not change."""
        if earlier is None:
            return self
        demoted, restored = ({*getattr(earlier, k), *getattr(self, k)} for k in ("demoted", "restored"))
        precision = self.precision if np.isfinite(self.precision) else earlier.precision
        return Verdict(sorted(demoted - restored), sorted(restored - demoted), precision)


def facts(verdicts: Mapping[str, Verdict]) -> dict[str, dict[str, Any]]:
    """What a commit's metadata tells of the verdicts in its filters (see `dphot.lineage.commit_facts`)."""
    told: dict[str, dict[str, Any]] = {
        key: {name: stars for name, verdict in verdicts.items() if (stars := getattr(verdict, key))}
        for key in ("demoted", "restored")
    }
    told["precision"] = {name: v.precision for name, v in verdicts.items() if np.isfinite(v.precision)}
    return {key: values for key, values in told.items() if values}
