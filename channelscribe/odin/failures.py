"""Turns what the ODIN host answered into one error of the tree, with the sentence that mends it.

Both documented shapes are read (the vendor's `error` object and FastAPI's `detail`), and whatever else a gateway in
between may send. Statuses that the vendor does not document follow their HTTP meaning (research/odin.md, 1.8).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from channelscribe.core.errors import ChannelscribeError, EnvironmentFailure, Permanent, Throttled, Transient
from channelscribe.core.redact import redact
from channelscribe.odin.answers import Answer, Trouble

_LONGEST_QUOTE = 200
_LONGEST_READ = 20_000
_CREDENTIAL_CODES = re.compile(r"API_KEY|API_SECRET|CREDENTIALS|JWT_TOKEN|AUTHENTICATION|UNAUTHORIZED", re.IGNORECASE)
_UNKNOWN_PROJECT = re.compile(
    r"project\b.{0,80}\b(not found|not exist|unknown|invalid)|(no|unknown|invalid) project", re.I
)
_ABOUT_DOCUMENT = re.compile(r"document|file|resource|knowledge", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Problem:
    """What an error body says, as far as it says anything."""

    code: str = ""
    message: str = ""
    fields: tuple[str, ...] = ()
    error_id: str = ""

    def __str__(self) -> str:
        said = ": ".join(part for part in (self.code, self.message) if part)
        fields = f" [{', '.join(self.fields)}]" if self.fields else ""
        return said + fields + (f" (error id {self.error_id})" if self.error_id else "")


def read_problem(answer: Answer) -> Problem:
    """The error body in whichever shape it came; never raises."""
    data = answer.object
    if data is None:
        page = _masked(answer.body[: 2 * _LONGEST_READ].decode("utf-8", "replace"))
        return Problem(message=_quote(re.sub(r"<[^>]*>", " ", page)))
    error = data.get("error")
    if isinstance(error, dict):
        fields = error.get("invalid_fields")
        named = tuple(_quote(f) for f in fields[:20]) if isinstance(fields, list) else ()
        message = error.get("message") or data.get("detail") or ""
        error_id = error.get("error_id") or data.get("error_id") or ""
        return Problem(_quote(error.get("code") or ""), _quote(message), named, _quote(error_id))
    detail = data.get("detail", error if error is not None else data.get("message", ""))
    return _read_detail(detail)


def _read_detail(detail: Any) -> Problem:
    """FastAPI's `detail`: a sentence, or a list of one object for each wrong field."""
    if not isinstance(detail, list):
        return Problem(message=_quote(detail or ""))
    items = [d for d in detail[:20] if isinstance(d, dict)]
    places = [d.get("loc") for d in items]
    fields = tuple(_quote(".".join(map(str, p[1:] or p))) for p in places if isinstance(p, list) and p)
    return Problem(message=_quote("; ".join(str(d.get("msg", "")) for d in items)), fields=fields)


def _quote(value: Any) -> str:
    """A foreign text, fit for one line of ours."""
    text = " ".join("".join(c if c.isprintable() else " " for c in _masked(str(value))).split())
    return text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…"


def _masked(text: str) -> str:
    """Masked before it is cut or changed, so that no half of a secret stays."""
    return redact(text[: 2 * _LONGEST_READ])[:_LONGEST_READ]


def lacks_route(answer: Answer) -> bool:
    """The host has no such endpoint at all (FastAPI's own 404, or 405)."""
    return answer.status == 405 or (answer.status == 404 and answer.object == {"detail": "Not Found"})


def names_unknown_project(answer: Answer) -> bool:
    """The host says that the project, and not a document in it, does not exist."""
    if answer.status not in {400, 404, 422}:
        return False
    problem = read_problem(answer)
    if "project_id" in problem.fields or "PROJECT_NOT_FOUND" in problem.code.upper():
        return True
    return bool(_UNKNOWN_PROJECT.search(problem.message)) and not _ABOUT_DOCUMENT.search(problem.message)


def refuses_credentials(answer: Answer) -> bool:
    if answer.status in {401, 403}:
        return True
    return answer.status == 400 and bool(_CREDENTIAL_CODES.search(read_problem(answer).code))


def concerns_only_the_question(answer: Answer) -> bool:
    """A refusal of this one request, not of who asks or of the project asked about."""
    refused = answer.status in {400, 404, 405, 409, 413, 422}
    return refused and not refuses_credentials(answer) and not names_unknown_project(answer)


def unknown_project(said: str) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"ODIN does not know the project in ODIN_PROJECT_ID for these credentials ({said}); "
        "copy the id from the project's address in ODIN's web page.",
        code="odin_project",
    )


def failure_of(answer: Answer, doing: str, now: datetime, retry_after_s: float | None = None) -> ChannelscribeError:
    """The error for an answer that is not a success; `doing` completes "while ..."."""
    if answer.trouble is not Trouble.NONE:
        return _failure_without_answer(answer, doing)
    problem = read_problem(answer)
    said = f"ODIN answered {answer.status}{f' ({problem})' if str(problem) else ''} while {doing}"
    if refuses_credentials(answer):
        return EnvironmentFailure(
            f"{said}; check ODIN_API_KEY and ODIN_API_SECRET, and their access to the project in ODIN_PROJECT_ID.",
            code="odin_credentials",
        )
    if names_unknown_project(answer):
        return unknown_project(str(problem))
    return _failure_by_status(answer, said, now, retry_after_s)


def _failure_by_status(answer: Answer, said: str, now: datetime, retry_after_s: float | None) -> ChannelscribeError:
    status = answer.status
    again = now + timedelta(seconds=retry_after_s) if retry_after_s is not None else None
    if status == 429:
        return Throttled(f"{said}; uploads wait until ODIN takes more.", code="odin_throttled", retry_after=again)
    if status in {402, 407} or lacks_route(answer):
        return EnvironmentFailure(f"{said}; {_MEND.get(status, _MEND_ROUTE)}", code=f"odin_{status}")
    if status == 413:
        return Permanent(f"{said}; the document is larger than ODIN takes.", code="odin_too_large")
    if status == 409:
        return Permanent(f"{said}; a different document has this name, rename or delete it.", code="odin_conflict")
    if answer.retryable:
        code = "odin_bad_answer" if status < 300 else "odin_unavailable"
        hint = "the answer is not JSON, check ODIN_BASE_URL if this persists" if status < 300 else "try again later"
        return Transient(f"{said}; {hint}.", code=code, retry_after=again)
    return Permanent(f"{said}; ODIN does not accept this document as it is.", code="odin_rejected")


_MEND = {
    402: "the account has no credits left, top it up.",
    407: "the proxy wants a login, put it into HTTPS_PROXY.",
}
_MEND_ROUTE = "this host lacks an endpoint that is needed, check ODIN_BASE_URL."


def _failure_without_answer(answer: Answer, doing: str) -> ChannelscribeError:
    detail = f" ({_quote(answer.detail)})" if answer.detail else ""
    match answer.trouble:
        case Trouble.CERTIFICATE:
            reason = f"ODIN's certificate is not trusted{detail}; name your certificate bundle in SSL_CERT_FILE."
            return EnvironmentFailure(reason, code="odin_certificate")
        case Trouble.PROXY_LOGIN:
            return EnvironmentFailure(f"The proxy wants a login{detail}; put it into HTTPS_PROXY.", code="odin_407")
        case Trouble.REDIRECT:
            reason = f"ODIN's address leads elsewhere{detail} and keys are not sent there; check ODIN_BASE_URL."
            return EnvironmentFailure(reason, code="odin_redirect")
        case Trouble.ADDRESS:
            return EnvironmentFailure(f"ODIN_BASE_URL cannot be used{detail}; correct it.", code="odin_base_url")
        case Trouble.TOO_LARGE:
            return Transient(f"ODIN's answer was too large to read while {doing}; try again.", code="odin_bad_answer")
        case Trouble.TIMEOUT:
            return Transient(
                f"ODIN did not answer in time while {doing}{detail}; try again later.", code="odin_timeout"
            )
        case _:
            reason = f"The connection to ODIN failed while {doing}{detail}; check the network and ODIN_BASE_URL."
            return Transient(reason, code="odin_connection")
