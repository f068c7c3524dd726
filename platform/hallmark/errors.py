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
