"""A second version of a bundle that answers a share of the requests, and is compared with the first one."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable

from hallmark.serving.stages import Branch

_COMPARED_AT_ONCE = 2


class Canary:
    """A second version of the one bundle: who is asked by it, and what is compared.

    Args:
        branch: the second version.
        share: of the requests, answered by it.
        compare_share: of the requests, asked of both.
    """

    def __init__(self, branch: Branch, share: float, compare_share: float):
        self.branch, self.share, self.compare_share = branch, share, compare_share
        self._comparing: set[asyncio.Task] = set()

    def answers(self, request_id: str) -> bool:
        """Whether a request is answered by it."""
        return _fraction(f"answer {request_id}") < self.share

    def compares(self, request_id: str) -> bool:
        """Whether a request is asked of both versions."""
        return len(self._comparing) < _COMPARED_AT_ONCE and _fraction(f"compare {request_id}") < self.compare_share

    def start(self, comparison: Awaitable[None]) -> None:
        """Compare in the background; few at a time, so that requests do not wait for it."""
        task = asyncio.ensure_future(comparison)
        self._comparing.add(task)
        task.add_done_callback(self._comparing.discard)


def _fraction(text: str) -> float:
    """A number from 0 to 1 that is drawn anew for every text, and the same one for the same."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
