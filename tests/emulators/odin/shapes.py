"""The documented request bodies as pydantic models, and the two error shapes (research/odin.md, 1.2 to 1.8).

Unknown fields are refused: the live service may ignore them, but a client must not come to depend on that.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

FILE_TYPES = frozenset({"pdf", "docx", "txt", "md", "html", "csv", "json", "xml", "mp3", "mp4"})


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


def _form_bool(value: Any) -> Any:
    return {"true": True, "false": False}.get(value, value)


FormBool = Annotated[bool, BeforeValidator(_form_bool)]


class AddFileForm(Shape):
    """Form fields beside the file; v2 has no `path`."""

    project_id: str = Field(min_length=1)
    metadata: str
    path: str = Field("/", pattern=r"^/")
    force: FormBool = False
    file_type: str = ""
    is_quick_upload: FormBool = False

    @field_validator("metadata")
    @classmethod
    def _flat_json_object(cls, text: str) -> str:
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("metadata must be a JSON object")
        wrong = [k for k, v in value.items() if not isinstance(v, str)]
        if wrong:
            raise ValueError(f"metadata values must be strings: {', '.join(wrong)}")
        return text


class PageBody(Shape):
    page: int = Field(1, ge=1)
    items_per_page: int = Field(30, ge=1)
    filters: dict[str, Any] = {}
    name_search: str | None = None
    content_keys: list[str] | None = None
    path: str = "/"
    recursive: bool = False


class NameSearchBody(Shape):
    search_keys: list[str]


class FetchBody(Shape):
    project_id: str
    content_keys: list[str] = Field(min_length=1)


class ChunksBody(Shape):
    content_key: str = Field(min_length=1)
    page: int = Field(1, ge=1)
    page_size: int = Field(10, ge=1, le=100)


class Resource(Shape):
    name: str = Field(min_length=1)
    key: str | None = None
    doc_type: str | None = None


class DeleteBody(Shape):
    project_id: str
    resources: list[Resource] = Field(min_length=1)


class RemoveForm(Shape):
    project_id: str
    name: str = Field(min_length=1)


class StatusQuery(Shape):
    project_id: str
    file_name: str = Field(min_length=1)


class MetadataBody(Shape):
    metadata: dict[str, str]


def vendor_error(status: int, code: str, message: str, *fields: str) -> tuple[int, dict[str, Any]]:
    """ODIN's own shape."""
    error: dict[str, Any] = {"code": code, "message": message}
    if fields:
        error["invalid_fields"] = list(fields)
    return status, {"status_code": status, "error": error}


def fastapi_error(error: ValidationError, where: Literal["body", "query"] = "body") -> tuple[int, dict[str, Any]]:
    """FastAPI's 422, as pydantic writes it."""
    detail = [{"loc": [where, *e["loc"]], "msg": e["msg"], "type": e["type"]} for e in error.errors()]
    return 422, {"detail": detail}


def missing_field(name: str) -> tuple[int, dict[str, Any]]:
    return 422, {"detail": [{"loc": ["body", name], "msg": "Field required", "type": "missing"}]}
