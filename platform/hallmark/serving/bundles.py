"""One or several bundles as one graph: which of them a request is for, whose verdict counts, and the canary."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hallmark.data.preprocess import Box
from hallmark.errors import HallmarkError, UnknownReferenceError
from hallmark.serving.canary import Canary
from hallmark.serving.examining import examine_by, few_at_once
from hallmark.serving.metrics import Metrics
from hallmark.serving.schema import (
    EnrolmentAnswer,
    Health,
    ProductsAnswer,
    ReferencesAnswer,
    RetiredAnswer,
    RollbackAnswer,
    VersionsAnswer,
)
from hallmark.serving.stages import (
    Answered,
    Ask,
    Branch,
    Enrolment,
    Entry,
    Examined,
    Listing,
    NoGalleryError,
    Photograph,
    Query,
    UnknownBundleError,
)
from hallmark.types import Verdict, VerdictLabel

_log = logging.getLogger("hallmark.serving.canary")


@dataclass(frozen=True)
class Served:
    """A bundle and what it is asked about."""

    branch: Branch
    products: frozenset[str] | None = None
    """None = everything."""

    def knows(self, product: str | None) -> bool:
        """Whether a request about a product is for it."""
        return product is None or self.products is None or product in self.products


class Bundles:
    """The graph as the gateway sees it.

    Args:
        served: by order, the first is the default.
        choose: whose verdict counts where a request fits several: see `GraphConfig.choose`.
        canary: a second version of the first.
        metrics: told of the canary.
    """

    def __init__(
        self,
        served: Sequence[Served],
        choose: Literal["product", "fused"] = "product",
        canary: Canary | None = None,
        metrics: Metrics | None = None,
    ):
        self._served, self._choose, self.canary = list(served), choose, canary
        self._metrics = metrics or Metrics()
        self._shares = (canary.share, canary.compare_share) if canary else (0.0, 0.0)

    def direct(self, canary_share: float | None, compare_share: float | None) -> None:
        """Send other shares of the requests to the canary; None = as it was made."""
        if self.canary is not None:
            wanted = (canary_share, compare_share)
            told = [made if share is None else share for made, share in zip(self._shares, wanted, strict=True)]
            self.canary.share, self.canary.compare_share = told

    async def examine(self, queries: Sequence[Query], ask: Ask) -> Examined:
        """The verdicts about photographs of one item, by the bundle that is asked for or fits.

        Raises:
            UnknownBundleError: no such bundle is served, or none for that product.
        """
        asked = self._asked(ask)
        if len(asked) == 1:
            if self.canary is not None and ask.bundle is None and ask.canary:
                return await self._with_canary(queries, ask, self.canary)
            return await examine_by(asked[0], queries, ask)
        told = await asyncio.gather(*[examine_by(branch, queries, ask) for branch in asked])
        return surest(told) if self._choose == "product" or ask.single else unanimous(told)

    async def enrol(self, photographs: Sequence[Photograph], enrolment: Enrolment) -> EnrolmentAnswer:
        """Enrol for every bundle that knows the product; the answer is that of the first of them."""
        branches = self._galleries(enrolment.bundle, enrolment.product)
        answers = []
        for branch in branches:
            entries = await few_at_once([_describing(branch, photograph) for photograph in photographs])
            answers.append(await branch.enrol(entries, enrolment))
        return answers[0]

    async def retire(self, reference_id: str, bundle: str | None) -> RetiredAnswer:
        """Take a reference out of every gallery that has it."""
        answers, unknown = [], None
        for branch in self._galleries(bundle, None):
            try:
                answers.append(await branch.retire(reference_id))
            except UnknownReferenceError as error:
                unknown = unknown or error
        if not answers:
            raise unknown
        return answers[0]

    async def rollback(self, version: int, bundle: str | None) -> RollbackAnswer:
        """Make an earlier version's content the latest."""
        return await self._with_gallery(bundle, writes=True).rollback(version)

    async def references(self, listing: Listing, bundle: str | None) -> ReferencesAnswer:
        """A page of references."""
        return await self._with_gallery(bundle).references(listing)

    async def thumbnail(self, reference_id: str, bundle: str | None) -> bytes | None:
        """JPEG of a reference."""
        return await self._with_gallery(bundle).thumbnail(reference_id)

    async def products(self, bundle: str | None) -> ProductsAnswer:
        """What is enrolled."""
        return await self._with_gallery(bundle).products()

    async def versions(self, bundle: str | None) -> VersionsAnswer:
        """Of the gallery."""
        return await self._with_gallery(bundle).versions()

    async def ready(self) -> Health:
        """Raises while a stage is not ready; the canary need not be, its requests are answered by the first version."""
        states = list(await asyncio.gather(*[served.branch.state() for served in self._served]))
        if self.canary is not None:
            try:
                states.append(await self.canary.branch.state())
            except HallmarkError as error:
                _log.warning("the canary is not ready: %s", error)
        told = states[0].model_dump(exclude={"name"})
        return Health(status="ready", **told, bundles=states)

    def _asked(self, ask: Ask) -> list[Branch]:
        if ask.bundle is not None:
            return [self._one(ask.bundle)]
        asked = [served.branch for served in self._served if served.knows(ask.product)]
        # A product that no bundle names is one that no bundle knows, which is for a verdict to say.
        return asked or [self._served[0].branch]

    def _with_gallery(self, bundle: str | None, writes: bool = False) -> Branch:
        if bundle is None:
            return self._galleries(None, None)[0]
        branch = self._one(bundle, writes)
        if branch.gallery is None:
            raise NoGalleryError(f"bundle {bundle!r}: is served without a gallery, it classifies by itself")
        return branch

    def _one(self, bundle: str, writes: bool = False) -> Branch:
        branches = [served.branch for served in self._served]
        if self.canary is not None and not writes:
            branches.append(self.canary.branch)
        for branch in branches:
            if branch.name == bundle:
                return branch
        names = ", ".join(branch.name for branch in branches)
        raise UnknownBundleError(f"bundle: found {bundle[:60]!r}; wanted one of {names}")

    def _galleries(self, bundle: str | None, product: str | None) -> list[Branch]:
        """One branch for each gallery that is to be changed."""
        if bundle is not None:
            return [self._with_gallery(bundle, writes=True)]
        known = [served.branch for served in self._served if served.knows(product)]
        if not known:
            raise UnknownBundleError(f"product: found {product!r}, which no bundle is served for; wanted one that is")
        kept = [branch for branch in known if branch.gallery is not None]
        if not kept:
            names = ", ".join(branch.name for branch in known)
            raise NoGalleryError(f"bundle {names}: served without a gallery; wanted one that has one")
        return list({branch.gallery: branch for branch in reversed(kept)}.values())[::-1]

    async def _with_canary(self, queries: Sequence[Query], ask: Ask, canary: Canary) -> Examined:
        first = self._served[0].branch
        answering = canary.branch if canary.answers(ask.request_id) else first
        examined, failure = None, None
        if answering is canary.branch:
            try:
                examined = await examine_by(answering, queries, ask)
            except Exception as error:  # the first version answers, and says so itself where it is the client's fault
                failure = error
        if examined is None:
            answering, examined = first, await examine_by(first, queries, ask)
            if failure is not None:
                self._canary_failed(ask, failure)
        if len(queries) == 1 and canary.compares(ask.request_id):
            other = first if answering is canary.branch else canary.branch
            data = await queries[0].photograph.read()
            canary.start(self._compare(examined.photographs[0], other, data, queries[0].box, ask))
        return examined

    async def _compare(self, given: Answered, other: Branch, data: bytes, box: Box | None, ask: Ask) -> None:
        try:
            second = await other.verdict(data, box, ask.product, ask.request_id)
        except Exception as error:
            self._canary_failed(ask, error)
            return
        ours, theirs = _told(given.verdict), _told(second.verdict)
        self._metrics.compared(agree=ours == theirs)
        if ours != theirs:
            names = given.source.name, second.source.name
            _log.warning("request %s: %s says %s, %s says %s", ask.request_id, names[0], ours, names[1], theirs)

    def _canary_failed(self, ask: Ask, error: BaseException) -> None:
        self._metrics.canary_failed()
        _log.warning("request %s: the canary failed: %s: %s", ask.request_id, type(error).__name__, error)


def surest(told: Sequence[Examined]) -> Examined:
    """That of the bundle which is surest that the photographs show one of its products; the first where none is."""
    return max(told, key=_sureness)


def unanimous(told: Sequence[Examined]) -> Examined:
    """That of the surest bundle, made inconclusive where another one that judged the same product says otherwise."""
    base = surest(told)
    ours = base.item or base.photographs[0].verdict
    if ours.p_genuine is None:
        return base
    judged = [(one, one.item or one.photographs[0].verdict) for one in told]
    same = [(one, theirs) for one, theirs in judged if theirs.p_genuine is not None and theirs.product == ours.product]
    if len({theirs.verdict for _, theirs in same}) == 1:
        return base
    said = ", ".join(f"{one.photographs[0].source.name} says {theirs.verdict}" for one, theirs in same)
    update = {
        "verdict": VerdictLabel.INCONCLUSIVE,
        "p_genuine": None,
        "reason": f"The bundles disagree ({said}): a person must look.",
    }
    if base.item is not None:
        return replace(base, item=base.item.model_copy(update=update))
    first = base.photographs[0]
    return replace(base, photographs=(replace(first, verdict=first.verdict.model_copy(update=update)),))


def _sureness(examined: Examined) -> float:
    """How far above its threshold the best photograph's global similarity lies, as a share of all there is above.

    Where nothing was compared it might as well lie at the threshold: any bundle that did compare, and knows the
    product, is surer.
    """
    scores = [one.verdict.scores for one in examined.photographs if one.verdict.verdict != VerdictLabel.NOT_IN_GALLERY]
    return max((_margin(told.global_similarity, told.threshold_global) for told in scores), default=-1e9)


def _margin(similarity: float | None, threshold: float) -> float:
    return 0.0 if similarity is None else (similarity - threshold) / max(1e-6, 1 - threshold)


def _told(verdict: Verdict) -> tuple[str, str | None]:
    return str(verdict.verdict), verdict.product


def _describing(branch: Branch, photograph: Photograph) -> Callable[[], Awaitable[Entry]]:
    async def describing() -> Entry:
        return await branch.describe(await photograph.read(), photograph.name)

    return describing
