"""Who may come in, how often, and the record of what they did: the same for every place that wants a key."""

# Annotations stay objects here: FastAPI reads those of the dependencies, which name things of their closure.

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from hallmark.serving.audit import AuditLog
from hallmark.serving.auth import AuthenticationError, Detail, Key, KeyRing, NotAllowedError, Scope, allow
from hallmark.serving.limits import Limits
from hallmark.serving.metrics import Metrics
from hallmark.serving.problems import answer_to, request_id
from hallmark.serving.stages import Graph

if TYPE_CHECKING:
    from hallmark.serving.certificate import Issuer

_LOOPBACK = {"127.0.0.1", "::1"}
_OWN_NAMES = {"127.0.0.1", "localhost", "[::1]"}
_READING = 0.1
"""What a request that only reads costs of a key's rate; one that examines or changes costs 1."""
_REFUSED = (401, 403, 429)
_GONE = 499
_HASHING_AT_ONCE = 2
"""Unknown keys checked at a time: each takes a CPU for 50 ms and 16 MB."""


@dataclass
class Services:
    """What the places behind the door work with; one for each gateway."""

    graph: Graph
    keys: KeyRing | None = None
    """None lets anyone on this machine in; requests from elsewhere are refused then."""
    limits: Limits | None = None
    """None where there are no keys."""
    audit: AuditLog | None = None
    """None records nothing."""
    metrics: Metrics = field(default_factory=Metrics)
    issuer: "Issuer | None" = None
    """None issues no certificates."""
    hashing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_HASHING_AT_ONCE))


@dataclass(frozen=True)
class Caller:
    """Whoever asks."""

    key: Key | None
    """None on a service without keys."""

    @property
    def key_id(self) -> str | None:
        """Public part of the key."""
        return self.key.key_id if self.key else None

    @property
    def detail(self) -> Detail:
        """How much of a verdict they see."""
        return self.key.detail if self.key else Detail.FULL


_bearer = HTTPBearer(auto_error=False, description="a key made by `hallmark keys add`")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def needs(services: Callable[[], Services], scope: Scope | None, costs: bool = True) -> Callable[..., Any]:
    """A dependency that lets a caller in, or raises.

    It runs before the body is read: whoever may not come in need not send 250 MB first.

    Args:
        services: gives them, at each request.
        scope: that the key must have; None = any key.
        costs: whether the request counts against the key's rate.
    """

    async def caller(request: Request, credentials: Credentials) -> Caller:
        own = services()
        if own.audit is not None:
            own.audit.check()
        if own.keys is None:
            _check_own_machine(request)
            return Caller(None)
        key = await _authenticated(own, request, credentials.credentials if credentials else None)
        request.state.key_id = key.key_id
        if scope is not None:
            allow(key, scope)
        if costs and key.rate_per_minute is not None:
            cost = _READING if request.method == "GET" else 1.0
            await asyncio.to_thread(own.limits.take, key.key_id, key.rate_per_minute, cost)
        return Caller(key)

    return caller


async def spend(services: Services, caller: Caller, photographs: int) -> None:
    """Count photographs against the caller's quota of the day.

    Raises:
        RateLimitedError: there is no room for them today.
    """
    if caller.key is not None and caller.key.daily_quota is not None:
        await asyncio.to_thread(services.limits.spend, caller.key.key_id, caller.key.daily_quota, photographs)


async def _authenticated(services: Services, request: Request, token: str | None) -> Key:
    if not token:
        return services.keys.authenticate(None)
    key = services.keys.recall(token)
    if key is not None:
        return key
    address = request.client.host if request.client else ""
    async with services.hashing:
        await asyncio.to_thread(services.limits.check_guesses, address)
        try:
            return await asyncio.to_thread(services.keys.authenticate, token)
        except AuthenticationError:
            await asyncio.to_thread(services.limits.count_guess, address)
            raise


def _check_own_machine(request: Request) -> None:
    """Let in what this machine asks of itself, and no web page that somebody on it has opened."""
    if request.client is None or request.client.host not in _LOOPBACK:
        raise NotAllowedError("this service runs without keys and answers its own machine only")
    asked, origin = request.headers.get("host", ""), request.headers.get("origin")
    if _without_port(asked) not in _OWN_NAMES:
        raise NotAllowedError("this service runs without keys and answers to localhost only, not to another name")
    if origin is not None and origin.partition("://")[2] != asked:
        raise NotAllowedError("this service runs without keys and answers no other web page than its own")


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def note(request: Request, **told: Any) -> None:
    """Say what the record of this request is to hold beside its outcome."""
    if not hasattr(request.state, "record"):
        request.state.record = {}
    request.state.record |= told


def recorded(services: Callable[[], Services]) -> type[APIRoute]:
    """Routes that count every request, and log every verdict, every change and every key that is refused."""

    class RecordedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            inner = super().get_route_handler()

            async def handler(request: Request) -> Response:
                began = perf_counter()
                try:
                    answer = await inner(request)
                except Exception as error:
                    answer = answer_to(request, error)
                    note(request, reason=getattr(error, "reason", None) or type(error).__name__)
                except asyncio.CancelledError:
                    _record(services(), request, self.path_format, _GONE, perf_counter() - began)
                    raise
                try:
                    _record(services(), request, self.path_format, answer.status_code, perf_counter() - began)
                except Exception as error:  # the log is full or gone: better no answer than an unlogged one
                    return answer_to(request, error)
                return answer

            return handler

    return RecordedRoute


def _record(services: Services, request: Request, place: str, status: int, seconds: float) -> None:
    told = getattr(request.state, "record", {})
    services.metrics.request(place, request.method, status, seconds, told.get("reason"))
    if services.audit is None or (request.method == "GET" and status not in _REFUSED):
        return
    services.audit.write(
        {
            "request_id": request_id(request),
            "key_id": getattr(request.state, "key_id", None),
            "route": f"{request.method} {place}",
            "status": status,
            "milliseconds": round(1e3 * seconds, 1),
            **told,
        }
    )
