"""The endpoints: each takes a checked request and gives status and body (shapes: research/odin.md, 1.2 to 1.7)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote

from pydantic import ValidationError

from tests.emulators.odin import shapes
from tests.emulators.odin.documents import Document, KnowledgeBase
from tests.emulators.odin.multipart import MalformedMultipartError, Part, parse_multipart

Answer = tuple[int, Any]
S = TypeVar("S", bound=shapes.Shape)
_CREDENTIAL_NAMES = re.compile(r"(?i)(api[-_]?key|api[-_]?secret|token)=")


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


class Refusal(Exception):
    """An answer other than 200, raised from the depth of a check."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(answer)


@dataclass(frozen=True)
class Access:
    api_key: str
    api_secret: str


class Routes:
    """Dispatch, access check and the endpoints of one project."""

    def __init__(self, base: KnowledgeBase, access: Access, max_file_bytes: int, metadata_style: str) -> None:
        self._base = base
        self._access = access
        self._max_file_bytes = max_file_bytes
        self._metadata_style = metadata_style
        pid = r"/project/(?P<pid>[^/]+)"
        self._table: list[tuple[str, re.Pattern[str], Callable[..., Answer]]] = [
            (method, re.compile(pattern), handler)
            for method, pattern, handler in (
                ("POST", r"/(?P<version>v[23])/project/knowledge/add/file", self._add_file),
                ("GET", r"/project/knowledge/status", self._status),
                ("DELETE", r"/project/knowledge/delete", self._delete),
                ("DELETE", r"/project/knowledge/remove", self._remove),
                ("POST", r"/tools/kb/fetch_documents", self._fetch),
                ("GET", r"/projects", self._projects),
                ("GET", pid + r"/knowledge", self._list),
                ("POST", r"(?:/v3)?" + pid + r"/knowledgebase", self._page),
                ("POST", pid + r"/search/documents", self._search_names),
                ("POST", pid + r"/document/chunks", self._chunks),
                ("GET", r"/v2" + pid + r"/knowledge/(?P<name>[^/]+)/metadata", self._get_metadata),
                ("PATCH", pid + r"/knowledge/(?P<name>[^/]+)/metadata", self._patch_metadata),
                ("GET", pid, self._project),
            )
        ]

    def answer(self, request: Request) -> Answer:
        """Status and JSON body for a request; never raises for what a client may send."""
        try:
            return self._answer(request)
        except Refusal as refusal:
            return refusal.answer

    def _answer(self, request: Request) -> Answer:
        fitting = [(m, p.fullmatch(request.path), h) for m, p, h in self._table if p.fullmatch(request.path)]
        if not fitting:
            return 404, {"detail": "Not Found"}
        for method, match, handler in fitting:
            if method == request.method and match:
                self._check_access(request)
                names = {k: unquote(v) for k, v in match.groupdict().items()}
                if "pid" in names:
                    self._check_project(names.pop("pid"))
                return handler(request, **names)
        return 405, {"detail": "Method Not Allowed"}

    def _check_access(self, request: Request) -> None:
        if _CREDENTIAL_NAMES.search(request.query):
            raise Refusal(shapes.vendor_error(400, "VALIDATION_ERROR", "Credentials in the URL", "query"))
        if "application/json" not in request.headers.get("accept", ""):
            raise Refusal(shapes.vendor_error(400, "VALIDATION_ERROR", "Accept must be application/json", "accept"))
        key, secret = request.headers.get("x-api-key"), request.headers.get("x-api-secret")
        if not key or not secret:
            raise Refusal(shapes.vendor_error(401, "AUTHENTICATION_REQUIRED", "Authentication required"))
        if key != self._access.api_key:
            raise Refusal(shapes.vendor_error(400, "INVALID_API_KEY", "The API key is invalid or malformed"))
        if secret != self._access.api_secret:
            raise Refusal(shapes.vendor_error(400, "INVALID_CREDENTIALS", "Invalid credentials"))

    def _check_project(self, project_id: str) -> None:
        if project_id != self._base.project_id:
            raise Refusal(shapes.vendor_error(404, "PROJECT_NOT_FOUND", "Project not found", "project_id"))

    def _json(self, request: Request, shape: type[S]) -> S:
        if not request.headers.get("content-type", "").startswith("application/json"):
            detail = [{"loc": ["body"], "msg": "Input should be a valid dictionary", "type": "model_attributes_type"}]
            raise Refusal((422, {"detail": detail}))
        try:
            return shape.model_validate_json(request.body)
        except ValidationError as error:
            raise Refusal(shapes.fastapi_error(error)) from error

    def _add_file(self, request: Request, version: str) -> Answer:
        form, file = self._form(request)
        if version == "v2" and "path" in form.model_fields_set:
            raise Refusal(shapes.vendor_error(400, "VALIDATION_ERROR", "v2 knows no path", "path"))
        self._check_project(form.project_id)
        self._check_file(file)
        key = str(file.filename)
        document = self._base.add(
            key, file.content, json.loads(form.metadata), path=form.path, media_type=file.media_type, force=form.force
        )
        if document is None:
            return shapes.vendor_error(409, "FILE_ALREADY_EXISTS", "A file with this name already exists", "file")
        return 200, {
            "message": "File added successfully", "content": document.text[:200], "document_data": {},
            "document_key": document.document_key, "url": None, "uploaded_by": document.metadata.get("uploaded_by"),
            "status": self._base.status(document), "size": len(document.content), "data_type_id": None,
        }  # fmt: skip

    def _form(self, request: Request) -> tuple[shapes.AddFileForm, Part]:
        try:
            parts = parse_multipart(request.headers.get("content-type", ""), request.body)
            if len({p.name for p in parts}) != len(parts):
                raise MalformedMultipartError("a field is sent twice")
            fields = {p.name: p.content.decode("utf-8") for p in parts if p.filename is None}
            form = shapes.AddFileForm.model_validate(fields)
        except (MalformedMultipartError, UnicodeDecodeError) as error:
            raise Refusal((422, {"detail": str(error)})) from error
        except ValidationError as error:
            raise Refusal(shapes.fastapi_error(error)) from error
        files = [p for p in parts if p.filename is not None]
        if len(files) != 1 or files[0].name != "file":
            raise Refusal(shapes.missing_field("file"))
        return form, files[0]

    def _check_file(self, file: Part) -> None:
        name = file.filename or ""
        if len(file.content) > self._max_file_bytes:
            raise Refusal(shapes.vendor_error(413, "FILE_TOO_LARGE", "The file is larger than allowed", "file"))
        if not name or "/" in name or "\\" in name or len(name.encode()) > 255:
            raise Refusal(shapes.vendor_error(400, "VALIDATION_ERROR", "Invalid file name", "file"))
        if name.rsplit(".", 1)[-1].lower() not in shapes.FILE_TYPES:
            raise Refusal(shapes.vendor_error(400, "VALIDATION_ERROR", "Unsupported file type", "file"))
        if not file.content or not file.media_type:
            raise Refusal(shapes.vendor_error(400, "VALIDATION_ERROR", "Empty file or no media type", "file"))

    def _status(self, request: Request) -> Answer:
        try:
            query = shapes.StatusQuery.model_validate({k: v[0] for k, v in parse_qs(request.query).items()})
        except ValidationError as error:
            return shapes.fastapi_error(error, "query")
        self._check_project(query.project_id)
        return 200, {"status": self._base.status(self._document(query.file_name))}

    def _document(self, name: str) -> Document:
        document = self._base.get(name)
        if document is None:
            raise Refusal(shapes.vendor_error(404, "DOCUMENT_NOT_FOUND", "Document not found"))
        return document

    def _delete(self, request: Request) -> Answer:
        body = self._json(request, shapes.DeleteBody)
        self._check_project(body.project_id)
        for resource in body.resources:
            if not self._base.delete(resource.name):
                return shapes.vendor_error(404, "DOCUMENT_NOT_FOUND", "Document not found")
        return 200, {"message": "Deleted"}

    def _remove(self, request: Request) -> Answer:
        fields = {k: v[0] for k, v in parse_qs(request.body.decode("utf-8")).items()}
        try:
            form = shapes.RemoveForm.model_validate(fields)
        except ValidationError as error:
            return shapes.fastapi_error(error)
        self._check_project(form.project_id)
        self._base.delete(self._document(form.name).key)
        return 200, {"message": "Removed"}

    def _fetch(self, request: Request) -> Answer:
        body = self._json(request, shapes.FetchBody)
        self._check_project(body.project_id)
        found = [d for k in body.content_keys if (d := self._base.get(k))]
        return 200, {
            "documents": [
                {
                    "content_key": d.key,
                    "content": d.text if self._base.chunks(d) else "",
                    "metadata": self._metadata(d),
                    "doc_type": "txt",
                }
                for d in found
            ]
        }

    def _projects(self, request: Request) -> Answer:
        return 200, {"projects": [{"id": self._base.project_id, "name": "Emulated", "type": "kb_chat"}]}

    def _project(self, request: Request) -> Answer:
        return 200, {"project_data": {"id": self._base.project_id}, "test_groups": [], "role": {}}

    def _list(self, request: Request) -> Answer:
        return 200, {
            "knowledge_base": {
                d.key: {
                    "upload_date": d.upload_date, "doc_type": "txt", "url": "", "status": self._base.status(d),
                    "metadata": self._metadata(d),
                }
                for d in self._base.all().values()
            }
        }  # fmt: skip

    def _page(self, request: Request) -> Answer:
        body = self._json(request, shapes.PageBody)
        documents = sorted(self._base.all().values(), key=lambda d: d.key)
        if body.content_keys is not None:
            documents = [d for d in documents if d.key in body.content_keys]
        if body.name_search:
            documents = [d for d in documents if body.name_search.lower() in d.key.lower()]
        recursive = body.recursive or "recursive=true" in request.query
        documents = [d for d in documents if d.path == body.path or (recursive and d.path.startswith(body.path))]
        start = (body.page - 1) * body.items_per_page
        page = documents[start : start + body.items_per_page]
        return 200, {"docs": [self._entry(d) for d in page], "folders": [], "kb_info": {}}

    def _entry(self, document: Document) -> dict[str, Any]:
        return {
            "id": document.document_key, "content_key": document.key, "upload_date": document.upload_date,
            "doc_type": "txt", "url": "", "status": self._base.status(document), "path": document.path,
            "document_id": document.document_key, "metadata": self._metadata(document),
        }  # fmt: skip

    def _metadata(self, document: Document) -> dict[str, Any]:
        """ODIN's own fields and the sender's: beside them, below `custom_metadata`, or kept to itself."""
        own = {"file_name": document.key, "word_count": len(document.text.split()), "char_count": len(document.text)}
        if self._metadata_style == "custom":
            return {**own, "custom_metadata": document.metadata}
        return {**own, **document.metadata} if self._metadata_style == "flat" else own

    def _search_names(self, request: Request) -> Answer:
        wanted = [k.lower() for k in self._json(request, shapes.NameSearchBody).search_keys]
        found = [d for d in self._base.all().values() if any(k in d.key.lower() for k in wanted)]
        return 200, {"documents": [{"content_key": d.key, "metadata": self._metadata(d)} for d in found]}

    def _chunks(self, request: Request) -> Answer:
        body = self._json(request, shapes.ChunksBody)
        chunks = self._base.chunks(self._document(body.content_key))
        start = (body.page - 1) * body.page_size
        page = [{"id": start + i, "content": c} for i, c in enumerate(chunks[start : start + body.page_size])]
        pages = -(-len(chunks) // body.page_size)
        return 200, {"chunks": page, "total_chunks": len(chunks), "total_pages": pages, "current_page": body.page}

    def _get_metadata(self, request: Request, name: str) -> Answer:
        document = self._document(name)
        entry = {"id": document.document_key, "content_key": document.key, "doc_type": "txt"}
        if "content_required=true" in request.query:
            entry["content"] = document.text
        return 200, {**entry, "metadata": self._metadata(document)}

    def _patch_metadata(self, request: Request, name: str) -> Answer:
        body = self._json(request, shapes.MetadataBody)
        self._base.set_metadata(self._document(name).key, body.metadata)
        return 200, {"message": "Updated"}
