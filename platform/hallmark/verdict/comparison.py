"""Comparing queries with one gallery version: templates made once, evidence for each query."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Protocol

from hallmark.errors import DecodeError, GalleryError
from hallmark.types import Authenticity, Described, Details, Member, Retrieved, Verdict
from hallmark.verdict.calibration import Calibration
from hallmark.verdict.decide import examine
from hallmark.verdict.evidence import Evidence, weigh
from hallmark.verdict.gates import complaint
from hallmark.verdict.template import Template, VerificationConfig

_RECENT = 1000
"""References whose details are kept in memory: some 60 MB at the default sizes."""


class References(Protocol):
    """What a gallery version gives."""

    def details(self, rows: Sequence[int]) -> list[Details]:
        """Of rows, in the order asked."""

    def members(self, product: str, part: str, authenticity: Authenticity, limit: int) -> list[Member]:
        """References of a product and part."""


class Comparison:
    """Evidence for queries against one gallery version; safe to share between threads."""

    def __init__(self, references: References, threshold_match: float, config: VerificationConfig):
        self._references, self._threshold_match, self._config = references, threshold_match, config
        self._templates: dict[tuple[str, str], Template] = {}
        self._recent: OrderedDict[int, Details] = OrderedDict()
        self._lock = Lock()

    def evidence(self, query: Described, retrieved: Retrieved) -> Evidence:
        """Everything that speaks for or against a query."""
        candidates = self._details([candidate.row for candidate in retrieved.candidates])
        template = None if retrieved.product is None else self.template(retrieved.product, retrieved.part)
        return weigh(query, retrieved, candidates, template, self._threshold_match, self._config)

    def _details(self, rows: Sequence[int]) -> list[Details]:
        """Of rows, in order; those that were asked for lately are still at hand."""
        with self._lock:
            missing = [row for row in rows if row not in self._recent]
            self._recent.update(zip(missing, self._references.details(missing), strict=True))
            found = [self._recent[row] for row in rows]
            for row in rows:
                self._recent.move_to_end(row)
            while len(self._recent) > _RECENT:
                self._recent.popitem(last=False)
        return found

    def template(self, product: str, part: str) -> Template:
        """The registered references of a product and part; made when first asked for."""
        with self._lock:
            if (product, part) not in self._templates:
                genuine, counterfeit = (
                    self._references.members(product, part, side, self._config.num_members)
                    for side in (Authenticity.GENUINE, Authenticity.COUNTERFEIT)
                )
                try:
                    template = Template(genuine, counterfeit, self._config.kind(part), self._config)
                except DecodeError as error:  # no fault of the photograph that is asked about
                    raise GalleryError(
                        f"references of {product}, {part}: damaged ({error}); enrol them again"
                    ) from None
                self._templates[product, part] = template
            return self._templates[product, part]


class Examiner:
    """Verdicts against one gallery version: evaluation and serving both come here."""

    def __init__(self, references: References, calibration: Calibration, bundle_id: str):
        self._calibration, self._bundle_id = calibration, bundle_id
        self._comparison = Comparison(references, calibration.threshold_match, calibration.verification)

    def examine(
        self,
        query: Described,
        retrieved: Retrieved,
        request_id: str | None = None,
        timings_ms: Mapping[str, float] | None = None,
    ) -> Verdict:
        """The verdict about one photograph.

        No work is spent on details where retrieval or the photograph's quality settles the verdict already.
        """
        calibration = self._calibration
        settled = (
            retrieved.product is None
            or retrieved.global_similarity < calibration.threshold_global
            or complaint(query.quality, calibration.quality) is not None
        )
        if settled and calibration.verification.stop_when_settled:
            evidence = weigh(query, retrieved, [], None, calibration.threshold_match, calibration.verification)
        else:
            evidence = self._comparison.evidence(query, retrieved)
        return examine(query, retrieved, evidence, calibration, self._bundle_id, request_id, timings_ms)
