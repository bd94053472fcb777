"""The emulator itself: it accepts what is documented, refuses what is not, and tells what it saw."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from tests.channelscribe.odin.parts import VirtualClock
from tests.emulators.odin import OdinEmulator
from tests.emulators.odin.documents import cut_chunks

META = json.dumps({"sha256": "1"})


def _headers(odin: OdinEmulator) -> dict[str, str]:
    key, secret = odin.credentials
    return {"X-API-KEY": key, "X-API-SECRET": secret, "Accept": "application/json"}


def _ask(odin: OdinEmulator, method: str, path: str, **rest: Any) -> requests.Response:
    headers = _headers(odin) | rest.pop("headers", {})
    return requests.request(
        method, odin.base_url + path.format(pid=odin.project_id), headers=headers, timeout=10, **rest
    )


def _add(odin: OdinEmulator, name: str = "a.txt", content: bytes = b"hello world", **form: Any) -> requests.Response:
    data = {"project_id": odin.project_id, "metadata": META} | form
    files = {"file": (name, content, "text/plain")}
    return _ask(odin, "POST", "/v3/project/knowledge/add/file", data=data, files=files)


def test_a_document_goes_through_its_states_and_into_chunks(odin: OdinEmulator, clock: VirtualClock) -> None:
    answer = _add(odin, content=" ".join(f"w{i}" for i in range(200)).encode()).json()
    assert {"message", "content", "document_data", "document_key", "status", "size"} <= answer.keys()
    states = [answer["status"]]
    for _ in range(2):
        clock.sleep(4.0)
        states.append(
            _ask(odin, "GET", f"/project/knowledge/status?project_id={odin.project_id}&file_name=a.txt").json()[
                "status"
            ]
        )
    assert states == ["queued", "syncing", "synced"]
    body = {"content_key": "a.txt", "page": 2, "page_size": 2}
    chunks = _ask(odin, "POST", "/project/{pid}/document/chunks", json=body).json()
    assert (chunks["total_chunks"], chunks["total_pages"], chunks["current_page"]) == (4, 2, 2)
    assert [c["id"] for c in chunks["chunks"]] == [2, 3]


def test_an_existing_file_needs_force(odin: OdinEmulator) -> None:
    assert [_add(odin).status_code, _add(odin).status_code, _add(odin, force="true").status_code] == [200, 409, 200]
    assert odin.uploads("a.txt") == 2
    assert odin.sends() == 3


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"metadata": "[]"}, "metadata"),
        ({"metadata": '{"a": 1}'}, "metadata"),
        ({"metadata": '{"a": {"b": "c"}}'}, "metadata"),
        ({"metadata": "{'a': 'b'}"}, "metadata"),
        ({"force": "yes"}, "force"),
        ({"path": "folder"}, "path"),
        ({"sync": "true"}, "sync"),
        ({"project_id": ""}, "project_id"),
    ],
)
def test_undocumented_fields_are_refused_as_fastapi_does(odin: OdinEmulator, form: dict[str, Any], field: str) -> None:
    answer = _add(odin, **form)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", field]
    assert odin.documents == {}


@pytest.mark.parametrize(("name", "content"), [("a.exe", b"x"), ("noextension", b"x"), ("a.txt", b"")])
def test_files_of_other_types_and_empty_ones_are_refused(odin: OdinEmulator, name: str, content: bytes) -> None:
    answer = _add(odin, name=name, content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/project/{pid}/knowledgebase", {"page": 0}),
        ("POST", "/project/{pid}/knowledgebase", {"content_keys": "a.txt"}),
        ("POST", "/project/{pid}/search/documents", {}),
        ("POST", "/project/{pid}/document/chunks", {"content_key": "a", "page_size": 101}),
        ("POST", "/tools/kb/fetch_documents", {"content_keys": ["a"]}),
        ("DELETE", "/project/knowledge/delete", {"project_id": "x", "resources": []}),
    ],
)
def test_wrong_bodies_are_refused(odin: OdinEmulator, method: str, path: str, body: dict[str, Any]) -> None:
    assert _ask(odin, method, path, json=body).status_code == 422


@pytest.mark.parametrize("body", [b"", b"nonsense", b"--b\r\n\r\n--b--\r\n", b"--b\r\nX: y\r\n\r\nz\r\n--b--\r\n"])
def test_a_body_that_is_not_multipart_is_refused(odin: OdinEmulator, body: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = _ask(odin, "POST", "/v3/project/knowledge/add/file", data=body, headers=headers)
    assert answer.status_code == 422


def test_every_listing_finds_a_document_by_its_parts(odin: OdinEmulator) -> None:
    for name in ("b.txt", "a.txt", "c.txt"):
        assert _add(odin, name=name).status_code == 200
    page = _ask(
        odin, "POST", "/v3/project/{pid}/knowledgebase?recursive=true", json={"page": 2, "items_per_page": 2}
    ).json()
    assert [d["content_key"] for d in page["docs"]] == ["c.txt"]
    named = _ask(odin, "POST", "/project/{pid}/knowledgebase", json={"name_search": "B.T"}).json()
    assert [d["content_key"] for d in named["docs"]] == ["b.txt"]
    partial = _ask(odin, "POST", "/project/{pid}/search/documents", json={"search_keys": ["a."]}).json()
    assert [d["content_key"] for d in partial["documents"]] == ["a.txt"]
    assert sorted(_ask(odin, "GET", "/project/{pid}/knowledge").json()["knowledge_base"]) == ["a.txt", "b.txt", "c.txt"]


def test_metadata_can_be_read_and_changed(odin: OdinEmulator) -> None:
    _add(odin)
    assert _ask(odin, "PATCH", "/project/{pid}/knowledge/a.txt/metadata", json={"metadata": {"k": "v"}}).ok
    read = _ask(odin, "GET", "/v2/project/{pid}/knowledge/a.txt/metadata?content_required=true").json()
    assert read["metadata"]["custom_metadata"] == {"k": "v"}
    assert read["content"] == "hello world"


def test_strangers_are_refused_with_the_documented_codes(odin: OdinEmulator) -> None:
    assert (
        requests.get(odin.base_url + "/projects", headers={"Accept": "application/json"}, timeout=10).status_code == 401
    )
    wrong_key = _ask(odin, "GET", "/projects", headers={"X-API-KEY": "no"})
    wrong_secret = _ask(odin, "GET", "/projects", headers={"X-API-SECRET": "no"})
    assert (wrong_key.status_code, wrong_key.json()["error"]["code"]) == (400, "INVALID_API_KEY")
    assert (wrong_secret.status_code, wrong_secret.json()["error"]["code"]) == (400, "INVALID_CREDENTIALS")
    assert _ask(odin, "GET", "/no/such/path").json() == {"detail": "Not Found"}
    assert _ask(odin, "GET", "/v3/project/knowledge/add/file").status_code == 405


def test_the_snapshot_is_json_and_keeps_no_key(odin: OdinEmulator) -> None:
    _add(odin)
    text = json.dumps(odin.snapshot())
    assert json.loads(text)["documents"]["a.txt"]["text"] == "hello world"
    assert not [c for c in odin.credentials if c in text]
    assert odin.environment()["ODIN_BASE_URL"] == odin.base_url


def test_stopping_twice_and_starting_again_keeps_the_documents(odin: OdinEmulator) -> None:
    _add(odin)
    odin.stop()
    odin.stop()
    odin.start()
    assert _ask(odin, "GET", "/projects").ok
    assert list(odin.documents) == ["a.txt"]


def test_blank_text_has_no_chunks_and_every_word_of_other_text_is_in_one() -> None:
    assert cut_chunks(" \n ") == []
    for count in (1, 15, 16, 17, 63, 64, 65, 112, 113, 500):
        words = [f"w{i}" for i in range(count)]
        chunks = [c.split() for c in cut_chunks(" ".join(words))]
        assert {w for c in chunks for w in c} == set(words)
        assert max(map(len, chunks)) <= 64
