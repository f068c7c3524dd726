"""Tells a genuine product from a counterfeit by its photographs."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hallmark.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]


def __getattr__(name: str) -> Any:
    # Not at the top: whoever imports a stage need not wait for HTTP.
    if name in __all__:
        from hallmark import client

        return getattr(client, name)
    raise AttributeError(f"module 'hallmark' has no attribute {name!r}")
