"""Errors as OpenAI's API has them: {"error": {"message", "type", "param", "code", "request_id"}}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ... import errors as g4v_errors
from ..._memory import lacks_memory

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class ApiError(Exception):
    """A request that is answered with an error.

    status: of HTTP. code: a word for programs. param: the field that is at fault. headers: of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = dict(headers or {})
        self.detail: str | None = None  # for the log alone

    def again(self) -> ApiError:
        """The same error, to be raised where this one is kept: what is raised refers to the frames that it
        leaves, and where these refer to it all of them stay until Python collects.
        """
        other = ApiError(self.status, self.message, self.code, self.param, self.headers)
        other.detail = self.detail
        return other

    def body(self, request_id: str) -> dict[str, Any]:
        """The body of the response, and the chunk of a stream that ends with this error."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": error | {"request_id": request_id}}


def bad_request(message: str, param: str | None = None, code: str = "invalid_value") -> ApiError:
    """400: a field that cannot be used."""
    return ApiError(400, message, code, param)


def not_found(what: str) -> ApiError:
    """404: there is no such thing, or it belongs to another key."""
    return ApiError(404, f"{what} does not exist; it may have expired", "not_found")


def shutting_down() -> ApiError:
    """503: the server ends."""
    return ApiError(503, "the server is shutting down; send the request again", "server_shutdown")


# Class of g4v.errors -> status and code.
_KNOWN: dict[type[g4v_errors.Error], tuple[int, str]] = {
    g4v_errors.ArgumentError: (400, "invalid_value"),
    g4v_errors.VideoError: (400, "invalid_video"),
    g4v_errors.ContextFull: (400, "context_length_exceeded"),
    g4v_errors.UnsafeVideo: (400, "content_filter"),
    g4v_errors.Cancelled: (503, "cancelled"),
    g4v_errors.DeadlineExceeded: (504, "timeout"),
    g4v_errors.OutputError: (507, "insufficient_storage"),
    g4v_errors.GeneratorError: (502, "generator_error"),
    g4v_errors.RuntimeUnavailable: (500, "runtime_error"),
    g4v_errors.BundleError: (500, "bundle_error"),
}


def as_api_error(error: BaseException) -> ApiError:
    """Any exception as an answer; one that was not foreseen does not show its words to the client."""
    if isinstance(error, ApiError):
        return error
    if lacks_memory(error):
        words = "the server has not enough memory for this now; try again later, or ask for less"
        fault = ApiError(503, words, "no_memory", headers={"Retry-After": "5"})
        fault.detail = repr(error)
        return fault
    fault = ApiError(500, "a fault of the server; its log has the request id", "internal_error")
    for kind, (status, code) in _KNOWN.items():
        if isinstance(error, kind):
            fault = ApiError(status, str(error), code)
    if fault.status >= 500:
        fault.detail = repr(error)
    return fault
