"""What can go wrong when the API server is asked: one exception type for each case that callers tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ApiError(Exception):
    """An answer that is not a success, or none. `code` is the HTTP status, 0 where no answer came; `reason` the API's word for it."""

    def __init__(self, message: str, *, code: int = 0, reason: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.retry_after = retry_after


class NoAnswer(ApiError):
    """The API server could not be reached, or did not answer in time. Whether the request was carried out is not known."""


class Unauthorized(ApiError):
    """The credentials are not accepted, also after they were read again."""


class Forbidden(ApiError):
    """The operator's role does not allow it, a quota is used up, or a policy refuses it."""


class NotFound(ApiError):
    """No such object, or no such kind."""


class Conflict(ApiError):
    """The object changed since it was read, or a precondition does not hold."""


class AlreadyExists(ApiError):
    """An object of that name is there."""


class Gone(ApiError):
    """The resource version asked for is too old: list again."""


class Invalid(ApiError):
    """The object breaks a rule of the API server or of an admission policy."""


class TooManyRequests(ApiError):
    """The API server asks for patience, and the retries allowed are used up."""


class NotLeading(ApiError):
    """This process may not write: it does not hold the lease, or can't be sure that it still does."""


_BY_CODE: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}


def error_of(what: str, code: int, status: Mapping[str, Any], retry_after: float | None = None) -> ApiError:
    """The exception for an answer: `what` was asked, `status` is the body, a metav1 Status where the API server itself answered."""
    reason = str(status.get("reason") or "")
    said = str(status.get("message") or "no message")
    kind = _BY_CODE.get(code, ApiError)
    if code == 409 and reason == "AlreadyExists":
        kind = AlreadyExists
    if reason in ("Expired", "Gone"):
        kind = Gone
    return kind(f"{what}: {code} {reason or 'error'}: {said}"[:2000], code=code, reason=reason, retry_after=retry_after)
