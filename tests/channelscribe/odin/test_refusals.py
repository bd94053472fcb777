"""Refusals of every documented and undocumented shape become the right error, with the setting to mend in it."""

from __future__ import annotations

import contextlib
import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from channelscribe.core.errors import ChannelscribeError, EnvironmentFailure, Permanent, Transient
from channelscribe.odin.answers import Answer, Trouble
from channelscribe.odin.client import OdinClient
from channelscribe.odin.documents import read_document, read_documents, read_metadata
from channelscribe.odin.failures import failure_of, read_problem
from tests.channelscribe.odin.conftest import MakeClient
from tests.channelscribe.odin.parts import START, Work
from tests.emulators.odin import OdinEmulator

ADD = "/add/file"


def test_good_credentials_pass(client: OdinClient) -> None:
    client.check()


@pytest.mark.parametrize("field", ["api_key", "api_secret"])
def test_wrong_credentials_stop_the_run_before_any_work(
    odin: OdinEmulator, make_client: MakeClient, work: Work, field: str
) -> None:
    client = make_client(**{field: "wrong-value-123"})
    for action in (client.check, lambda: work.publish(client), lambda: client.find(work.key)):
        with pytest.raises(EnvironmentFailure, match="ODIN_API_KEY and ODIN_API_SECRET") as caught:
            action()
        assert caught.value.code == "odin_credentials"
    assert odin.sends() == 0
    assert len(odin.log) == 3


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"status_code": 400, "error": {"code": "INVALID_API_KEY", "message": "bad"}}),
        (400, {"status_code": 400, "error": {"code": "INVALID_CREDENTIALS", "message": "bad"}, "detail": "x"}),
        (400, {"status_code": 400, "error": {"code": "INVALID_OR_EXPIRED_JWT_TOKEN", "message": "bad"}}),
        (401, None),
        (401, {"detail": "Not authenticated"}),
        (403, "<html><h1>Forbidden</h1></html>"),
        (403, {"detail": "Project access denied"}),
    ],
)
def test_every_refusal_of_credentials_stops_the_run(
    odin: OdinEmulator, client: OdinClient, work: Work, status: int, body: Any
) -> None:
    odin.faults.add(path=ADD, status=status, body=body)
    with pytest.raises(EnvironmentFailure, match="ODIN_API_KEY and ODIN_API_SECRET"):
        work.publish(client)
    assert odin.sends() == 1


def test_an_unknown_project_stops_the_run(make_client: MakeClient, work: Work) -> None:
    client = make_client(project_id="nobodysproject")
    for action in (client.check, lambda: work.publish(client), lambda: client.find(work.key)):
        with pytest.raises(EnvironmentFailure, match="ODIN_PROJECT_ID") as caught:
            action()
        assert caught.value.code == "odin_project"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"detail": "Project not found"}),
        (404, {"status_code": 404, "error": {"code": "NOT_FOUND", "message": "Project x does not exist"}}),
        (
            400,
            {
                "status_code": 400,
                "error": {"code": "VALIDATION_ERROR", "message": "?", "invalid_fields": ["project_id"]},
            },
        ),
        (422, {"detail": [{"loc": ["body", "project_id"], "msg": "unknown", "type": "value_error"}]}),
    ],
)
def test_a_project_refused_in_any_shape_stops_the_run(
    odin: OdinEmulator, client: OdinClient, work: Work, status: int, body: Any
) -> None:
    odin.faults.add(path=ADD, status=status, body=body)
    with pytest.raises(EnvironmentFailure, match="ODIN_PROJECT_ID"):
        work.publish(client)


def test_a_host_without_the_project_endpoint_is_asked_for_its_list(odin: OdinEmulator, make_client: MakeClient) -> None:
    odin.faults.add(path="/project/", status=404, body={"detail": "Not Found"}, times=-1)
    make_client().check()
    with pytest.raises(EnvironmentFailure, match="ODIN_PROJECT_ID"):
        make_client(project_id="nobodysproject").check()


def test_a_host_that_can_tell_nothing_does_not_block_the_run(odin: OdinEmulator, client: OdinClient) -> None:
    odin.faults.missing("/project")
    client.check()


@pytest.mark.parametrize("body", ["<html>Welcome</html>", ""])
def test_a_web_page_in_place_of_odin_names_the_base_url(odin: OdinEmulator, client: OdinClient, body: str) -> None:
    odin.faults.add(status=200, body=body, times=-1)
    with pytest.raises(EnvironmentFailure, match="ODIN_BASE_URL"):
        client.check()


@pytest.mark.parametrize(
    ("status", "body", "named"),
    [
        (422, {"detail": [{"loc": ["body", "metadata"], "msg": "Invalid JSON", "type": "json"}]}, "metadata"),
        (
            400,
            {"error": {"code": "VALIDATION_ERROR", "message": "no", "invalid_fields": ["file", "path"]}},
            "file, path",
        ),
        (422, {"detail": "unprocessable"}, "unprocessable"),
        (400, {"error": "plain text"}, "plain text"),
        (400, {"error": {"code": 7, "message": None, "invalid_fields": "x", "error_id": "e-77"}}, "e-77"),
        (418, "<html><style>x</style><p>teapot</p></html>", "teapot"),
        (400, "", "400"),
    ],
)
def test_a_document_that_is_refused_is_permanent_and_says_why(
    odin: OdinEmulator, client: OdinClient, work: Work, status: int, body: Any, named: str
) -> None:
    odin.faults.add(path=ADD, status=status, body=body)
    with pytest.raises(Permanent) as caught:
        work.publish(client)
    assert named in str(caught.value)
    assert work.key in str(caught.value)
    assert odin.sends() == 1


def test_too_large_is_permanent_on_either_side(clock: Any, make_client: MakeClient, work: Work) -> None:
    with pytest.raises(Permanent) as caught:
        work.publish(make_client(max_document_bytes=10))
    assert caught.value.code == "odin_too_large"
    with OdinEmulator(max_file_bytes=10) as small:
        client = make_client(base_url=small.base_url)
        with pytest.raises(Permanent) as caught:
            work.publish(client)
        assert caught.value.code == "odin_too_large"
        assert small.sends() == 1


@pytest.mark.parametrize(("status", "hint"), [(402, "credits"), (407, "HTTPS_PROXY")])
def test_what_only_the_operator_can_mend_stops_the_run(
    odin: OdinEmulator, client: OdinClient, work: Work, status: int, hint: str
) -> None:
    odin.faults.add(path=ADD, status=status)
    with pytest.raises(EnvironmentFailure, match=hint):
        work.publish(client)


def test_a_host_without_the_way_in_stops_the_run(odin: OdinEmulator, client: OdinClient, work: Work) -> None:
    odin.faults.missing(ADD)
    with pytest.raises(EnvironmentFailure, match="ODIN_BASE_URL"):
        work.publish(client)


def test_a_conflict_with_our_own_content_is_adopted(odin: OdinEmulator, client: OdinClient, work: Work) -> None:
    first = work.publish(client)
    odin.faults.add(path="/knowledgebase", status=200, body={"docs": []})  # a look that came too early
    second = work.publish(client)
    assert not second.sent
    assert second.upload.document_key == first.upload.document_key
    assert odin.uploads() == 1


def test_a_conflict_with_another_content_replaces_it(odin: OdinEmulator, client: OdinClient, work: Work) -> None:
    work.publish(client)
    odin.faults.add(path="/knowledgebase", status=200, body={"docs": []})
    changed = work.saying("[00:00 - 00:01] later\n")
    assert changed.publish(client).sent
    assert odin.documents[work.key].content == changed.content


def test_a_conflict_despite_force_is_permanent(odin: OdinEmulator, client: OdinClient, work: Work) -> None:
    odin.faults.add(path=ADD, status=409, times=-1)
    with pytest.raises(Permanent) as caught:
        client.add(work.key, work.content, {"sha256": "1"}, force=True)
    assert caught.value.code == "odin_conflict"
    assert odin.sends() == 1


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["error", "detail", "code", "message", "invalid_fields", "loc", "msg"]), inner
        )
    ),
    max_leaves=12,
)


@given(status=st.integers(100, 599), value=ANY_JSON)
def test_any_json_body_becomes_one_error_of_one_sentence(status: int, value: Any) -> None:
    error = failure_of(Answer(status, json.dumps(value).encode()), "testing", START)
    assert isinstance(error, ChannelscribeError)
    assert error.code.startswith("odin_")
    assert "\n" not in str(error)
    assert len(str(error)) < 6000


@given(status=st.integers(100, 599), body=st.binary(max_size=400))
def test_any_bytes_become_one_error(status: int, body: bytes) -> None:
    answer = Answer(status, body)
    assert isinstance(failure_of(answer, "testing", START), ChannelscribeError)
    assert len(read_problem(answer).message) <= 200


@pytest.mark.parametrize("trouble", [t for t in Trouble if t])
def test_every_trouble_on_the_wire_has_a_sentence(trouble: Trouble) -> None:
    error = failure_of(Answer(0, trouble=trouble, detail="why"), "testing", START)
    assert error.code.startswith("odin_")
    assert str(error).endswith((".", "again."))


@given(value=ANY_JSON)
def test_documents_of_any_shape_are_read_without_an_exception(value: Any) -> None:
    entry = value if isinstance(value, dict) else {"metadata": value, "id": value, "status": value}
    assert isinstance(read_document(entry).key, str)
    assert all(isinstance(v, str) for v in read_metadata(value).values())
    assert isinstance(list(read_documents({"docs": value}, "docs")), list)


def test_an_untrusted_certificate_names_the_variable_that_mends_it(make_client: MakeClient, tmp_path: Path) -> None:
    with _tls_server(tmp_path) as port, pytest.raises(EnvironmentFailure, match="SSL_CERT_FILE") as caught:
        make_client(base_url=f"https://127.0.0.1:{port}").check()
    assert caught.value.code == "odin_certificate"
    assert caught.value.__context__ is None


def test_https_at_a_host_that_speaks_http_is_transient(odin: OdinEmulator, make_client: MakeClient) -> None:
    with pytest.raises(Transient, match="ODIN_BASE_URL"):
        make_client(base_url=odin.base_url.replace("http:", "https:")).check()


@contextlib.contextmanager
def _tls_server(folder: Path) -> Iterator[int]:
    """A port that shows a certificate which nobody signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    pem = folder / "server.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem.write_bytes(secret + builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
