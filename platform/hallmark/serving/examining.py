"""Photographs of one item by one bundle: a few in memory at a time, all held against the same gallery version."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from hallmark.errors import HallmarkError
from hallmark.serving.stages import Answered, Ask, Branch, Examined, NotReadyError, Query

_AT_ONCE = 4
"""Photographs of one request in memory together."""
_SAME_VERSION_TRIES = 3
Result = TypeVar("Result")


async def examine_by(branch: Branch, queries: Sequence[Query], ask: Ask) -> Examined:
    """What one bundle says; photographs of one item are held against one gallery version and one set of thresholds."""
    places = list(range(len(queries)))
    told: dict[int, Answered] = {}
    for _ in range(_SAME_VERSION_TRIES):
        asking = [_asking(branch, queries[place], ask, _name(queries, place)) for place in places]
        told |= zip(places, await few_at_once(asking), strict=True)
        latest = max((one for one in told.values()), key=lambda one: one.verdict.gallery_version)
        places = [place for place, one in told.items() if _basis(one) != _basis(latest)]
        if not places:
            break
    else:
        raise NotReadyError("the gallery changes faster than the photographs can be examined; try again shortly")
    photographs = tuple(told[place] for place in range(len(queries)))
    item = await branch.fuse(photographs) if len(photographs) > 1 else None
    return Examined(photographs, item)


def _basis(answered: Answered) -> tuple[str, int, str]:
    verdict = answered.verdict
    return verdict.bundle_id, verdict.gallery_version, verdict.config_hash


def _asking(branch: Branch, query: Query, ask: Ask, name: str) -> Callable[[], Awaitable[Answered]]:
    async def asking() -> Answered:
        data = await query.photograph.read()
        try:
            answered = await branch.verdict(data, query.box, ask.product, ask.request_id, ask.single)
        except HallmarkError as error:
            if name:
                error.args = (f"{name}: {error}", *error.args[1:])
            raise
        if not ask.overlays:
            return answered
        return replace(answered, overlays=await branch.overlays(data, query.box, answered))

    return asking


async def few_at_once(works: Sequence[Callable[[], Awaitable[Result]]]) -> list[Result]:
    """What several works give, in their order; the first error ends the others."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(work: Callable[[], Awaitable[Result]]) -> Result:
        async with room:
            return await work()

    if len(works) == 1:
        return [await works[0]()]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(work)) for work in works]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _name(queries: Sequence[Query], place: int) -> str:
    """What a message calls a photograph; nothing where there is one."""
    return "" if len(queries) == 1 else f"photograph {place + 1} ({queries[place].photograph.name})"
