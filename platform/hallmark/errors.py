"""The one exception tree. Every message names the thing, what was found and what was wanted."""

from __future__ import annotations

from typing import ClassVar


class HallmarkError(Exception):
    """Base of every error that a user can cause or cure.

    `http_status` and `title` are what the gateway answers with when the error reaches it.
    """

    http_status = 400
    title = "Bad request"


class ConfigError(HallmarkError):
    """A configuration file or override has an unknown key or a value out of range."""

    title = "Invalid configuration"


class DataError(HallmarkError):
    """A folder, table or manifest cannot be used as given."""

    http_status = 422
    title = "Unusable data"


class DecodeError(HallmarkError):
    """The bytes are not a photograph that hallmark accepts.

    `reason` is one of `empty`, `too_many_bytes`, `too_many_pixels`, `too_small`, `unknown_format`, `corrupt`.
    """

    title = "Unusable photograph"

    _STATUS: ClassVar = {"too_many_bytes": 413, "too_many_pixels": 413, "unknown_format": 415}

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason
        self.http_status = self._STATUS.get(reason, 422)

    def __reduce__(self):
        return type(self), (self.reason, str(self))


class BundleError(HallmarkError):
    """A bundle is missing, incomplete, damaged or of another kind than wanted."""

    http_status = 409
    title = "Unusable bundle"


class GalleryError(HallmarkError):
    """A gallery or one of its versions is missing, damaged or was built with another bundle."""

    http_status = 409
    title = "Unusable gallery"


class UnknownVersionError(GalleryError):
    """A gallery has no version of that number, or has it no more."""

    http_status = 404
    title = "Unknown gallery version"


class UnknownReferenceError(HallmarkError):
    """The latest version of a gallery has no such reference."""

    http_status = 404
    title = "Unknown reference"


class EnrolmentError(HallmarkError):
    """A photograph contradicts what is enrolled already."""

    http_status = 409
    title = "Conflicting reference"


class CertificateError(HallmarkError):
    """A certificate or its key is not what it should be, or photographs cannot be certified together."""

    http_status = 422
    title = "Unusable certificate"


class WeightsError(HallmarkError):
    """Backbone weights cannot be loaded, or hold values that are not finite."""

    title = "Unusable weights"


class OutputError(HallmarkError):
    """A result cannot be written where it was asked for."""

    title = "Unwritable output"


class ResourceError(HallmarkError):
    """The cluster or machine lacks what the work needs (a port, CPUs, GPUs)."""

    http_status = 503
    title = "Too few resources"


class DivergedError(HallmarkError, FloatingPointError):
    """Training has reached a loss or gradient that is not finite."""

    title = "Training diverged"


class SweepError(HallmarkError):
    """A sweep came to no result."""

    title = "Sweep failed"


class ServiceError(HallmarkError):
    """A hallmark service refused a request, or could not be reached.

    `status` is the HTTP status, 0 where there was no answer; `title`, `detail` and `reason` are those of the problem
    document; `retry_after` is in seconds where the service named it; `request_id` is what to quote in a report.
    """

    http_status = 502
    title = "Service failed"

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        reason: str | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
    ):
        super().__init__(f"{title}: {detail}" if detail else title)
        self.status, self.title, self.detail, self.reason = status, title, detail, reason
        self.retry_after, self.request_id = retry_after, request_id

    def __reduce__(self):
        told = (self.status, self.title, self.detail, self.reason, self.retry_after, self.request_id)
        return type(self), told
