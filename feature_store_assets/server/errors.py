"""What a client is told when a request cannot be answered: a status and a message."""

from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException

from feature_store_assets.errors import (
    FeatureStoreError,
    FunctionNotTrusted,
    NotFound,
    NotServed,
    StoreUnavailable,
    WriteConflict,
    WriteRefused,
)


class Problem(HTTPException):
    """Ends a request with an HTTP status and a message for people.

    Parameters
    ----------
    status, detail
        The status, and the message.
    body
        The JSON that says it; by default an object with the `detail`.
    """

    def __init__(self, status: int, detail: str, body: bytes | None = None) -> None:
        super().__init__(status, detail)
        self.body = msgspec.json.encode({"detail": detail}) if body is None else body


def problem(error: Exception) -> Problem:
    """The answer to a request that raised an error; nothing of an unknown one is told.

    404 for a name that nothing has, 410 for what is not served (any more), 409 for a write that may
    not happen, 422 for data that cannot be used, 503 while a store does not answer, 500 for what is
    our fault.
    """
    if isinstance(error, Problem):
        return error
    if not isinstance(error, FeatureStoreError):
        return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The server failed; its log tells why.")
    status = 422
    if isinstance(error, NotFound):
        status = 404
    elif isinstance(error, NotServed):
        status = 410
    elif isinstance(error, WriteRefused | WriteConflict):
        status = 409
    elif isinstance(error, StoreUnavailable | FunctionNotTrusted):
        status = 503
    elif not isinstance(error, ValueError):
        status = 500
    return Problem(status, str(error))
