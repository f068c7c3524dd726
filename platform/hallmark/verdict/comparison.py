"""Comparing queries with one gallery version: templates made once, evidence for each query."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

from threadpoolctl import threadpool_limits

from hallmark.errors import DecodeError, GalleryError
from hallmark.types import Authenticity, Candidate, Described, Details, Member, Retrieved, Verdict
from hallmark.verdict.calibration import Calibration
from hallmark.verdict.decide import examine
from hallmark.verdict.evidence import Evidence, weigh
from hallmark.verdict.gates import complaint
from hallmark.verdict.template import Template, VerificationConfig

_RECENT = 1000
"""References whose details are kept in memory: some 60 MB at the default sizes."""
_TEMPLATES = 100
"""Products and parts whose templates are kept in memory."""
_SIDES = (Authenticity.GENUINE, Authenticity.COUNTERFEIT)


class References(Protocol):
    """What a gallery version gives."""

    def details(self, rows: Sequence[int]) -> list[Details]:
        """Of rows, in the order asked."""

    def members(self, product: str, part: str, authenticity: Authenticity, limit: int) -> list[Member]:
        """References of a product and part."""

    def member_ids(self, product: str, part: str, authenticity: Authenticity, limit: int) -> list[str]:
        """The reference ids of those members."""

    def follow(self, older: References) -> None:
        """Take over what another version of the same gallery has in memory."""


@dataclass(frozen=True)
class _Made:
    """A template, and the reference ids of the members that it was made of; genuine ones, then counterfeit ones."""

    member_ids: tuple[tuple[str, ...], ...]
    template: Template


class Comparison:
    """Evidence for queries against one gallery version; safe to share between threads."""

    def __init__(self, references: References, threshold_match: float, config: VerificationConfig):
        self._references, self._threshold_match, self._config = references, threshold_match, config
        self._templates: OrderedDict[tuple[str, str], _Made] = OrderedDict()
        self._former: dict[tuple[str, str], _Made] = {}
        self._recent: OrderedDict[str, Details] = OrderedDict()
        self._lock = Lock()

    def updated(self, references: References) -> Comparison:
        """The same against another version of the gallery.

        Everything is known by reference_id, which names all that a verdict reads of a reference; rows differ from
        version to version. A template is kept where its product and part have the same members.
        """
        newer = Comparison(references, self._threshold_match, self._config)
        references.follow(self._references)
        with self._lock:
            known = {**self._former, **self._templates}
            newer._former = dict(list(known.items())[-_TEMPLATES:])
            newer._recent = self._recent.copy()
        return newer

    def evidence(self, query: Described, retrieved: Retrieved) -> Evidence:
        """Everything that speaks for or against a query; one without cues has no details to compare."""
        if not len(query.details.weights):
            return weigh(query, retrieved, [], None, self._threshold_match, self._config)
        candidates = self._details(retrieved.candidates)
        template = None if retrieved.product is None else self.template(retrieved.product, retrieved.part)
        return weigh(query, retrieved, candidates, template, self._threshold_match, self._config)

    def _details(self, candidates: Sequence[Candidate]) -> list[Details]:
        """Of candidates, in order; those that were asked for lately are still at hand."""
        with self._lock:
            missing = [one for one in candidates if one.reference_id not in self._recent]
            read = self._references.details([one.row for one in missing])
            self._recent.update(zip((one.reference_id for one in missing), read, strict=True))
            found = [self._recent[one.reference_id] for one in candidates]
            for one in candidates:
                self._recent.move_to_end(one.reference_id)
            while len(self._recent) > _RECENT:
                self._recent.popitem(last=False)
        return found

    def template(self, product: str, part: str) -> Template:
        """The registered references of a product and part; made when first asked for."""
        with self._lock:
            key = product, part
            if key not in self._templates:
                self._templates[key] = self._kept(*key) or self._made(*key)
            self._templates.move_to_end(key)
            while len(self._templates) > _TEMPLATES:
                self._templates.popitem(last=False)
            return self._templates[key].template

    def _kept(self, product: str, part: str) -> _Made | None:
        """An older version's, if it was made of the same references."""
        former = self._former.pop((product, part), None)
        if former is None:
            return None
        members = tuple(
            tuple(self._references.member_ids(product, part, side, self._config.num_members)) for side in _SIDES
        )
        return former if former.member_ids == members else None

    def _made(self, product: str, part: str) -> _Made:
        sides = [self._references.members(product, part, side, self._config.num_members) for side in _SIDES]
        try:
            template = Template(*sides, self._config.kind(part), self._config)
        except DecodeError as error:  # no fault of the photograph that is asked about
            raise GalleryError(f"references of {product}, {part}: damaged ({error}); enrol them again") from None
        return _Made(tuple(tuple(member.reference_id for member in side) for side in sides), template)


class Examiner:
    """Verdicts against one gallery version: evaluation and serving both come here."""

    def __init__(self, references: References, calibration: Calibration, bundle_id: str):
        # Matrices here are small: more threads are no faster, and while they wait they keep cores from the network.
        threadpool_limits(1, user_api="blas")
        self._calibration, self._bundle_id = calibration, bundle_id
        self._comparison = Comparison(references, calibration.threshold_match, calibration.verification)

    def updated(self, references: References) -> Examiner:
        """The same against another version of the gallery; verdicts are those of an examiner made anew."""
        newer = copy(self)
        newer._comparison = self._comparison.updated(references)
        return newer

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
            retrieved.global_similarity is None
            or retrieved.global_similarity < calibration.threshold_global
            or complaint(query.quality, calibration.quality) is not None
        )
        if settled and calibration.verification.stop_when_settled:
            evidence = weigh(query, retrieved, [], None, calibration.threshold_match, calibration.verification)
        else:
            evidence = self._comparison.evidence(query, retrieved)
        return examine(query, retrieved, evidence, calibration, self._bundle_id, request_id, timings_ms)
