"""Errors of the Data API in Google's shape, with the texts that public logs show.

Everything in this package that refuses a request raises one.
"""

from __future__ import annotations

from typing import Any

QUOTA_HTML = (
    "The request cannot be completed because you have exceeded your "
    '<a href="/youtube/v3/getting-started#quota">quota</a>.'
)


class ApiError(Exception):
    """One refusal: status, reason and body."""

    def __init__(
        self,
        code: int,
        message: str,
        reason: str,
        domain: str = "youtube.parameter",
        *,
        location: str = "",
        location_type: str = "parameter",
        status: str = "",
        details: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason
        entry = {"message": message, "domain": domain, "reason": reason}
        if location:
            entry |= {"location": location, "locationType": location_type}
        error: dict[str, Any] = {"code": code, "message": message, "errors": [entry]}
        if status:
            error["status"] = status
        if details:
            error["details"] = details
        self.body = {"error": error}


def info(reason: str, **metadata: str) -> list[dict[str, Any]]:
    return [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
            "domain": "googleapis.com",
            "metadata": {"service": "youtube.googleapis.com", **metadata},
        }
    ]


def violation(description: str, field: str = "") -> list[dict[str, Any]]:
    entry = {"description": description, **({"field": field} if field else {})}
    return [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [entry]}]


def quota_exceeded() -> ApiError:
    return ApiError(403, QUOTA_HTML, "quotaExceeded", "youtube.quota")


def not_found() -> ApiError:
    return ApiError(404, "Requested entity was not found.", "notFound", "global", status="NOT_FOUND")


def no_filter(expected: str) -> ApiError:
    message = f"No filter selected. Expected one of: {expected}"
    return ApiError(400, message, "missingRequiredParameter", location="parameters.", location_type="other")
