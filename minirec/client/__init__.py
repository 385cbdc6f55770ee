"""The SDK: `from minirec.client import MiniRec`. Light: an HTTP library and pydantic, nothing of the models."""

from minirec.client._async.client import AsyncMiniRec
from minirec.client._sync.client import MiniRec
from minirec.client.errors import (
    APIConnectionError,
    APIError,
    APIResponseError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    InternalServerError,
    JobCancelledError,
    JobFailedError,
    JobStateError,
    MiniRecError,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RateLimitError,
    StackError,
    UnprocessableError,
    WaitTimeoutError,
)
from minirec.client.raw import RawResponse
from minirec.client.warnings import DatasetWarning

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIResponseError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncMiniRec",
    "AuthenticationError",
    "BadRequestError",
    "ConfigurationError",
    "ConflictError",
    "DatasetWarning",
    "InternalServerError",
    "JobCancelledError",
    "JobFailedError",
    "JobStateError",
    "MiniRec",
    "MiniRecError",
    "NotFoundError",
    "PayloadTooLargeError",
    "PermissionDeniedError",
    "RateLimitError",
    "RawResponse",
    "StackError",
    "UnprocessableError",
    "WaitTimeoutError",
]
