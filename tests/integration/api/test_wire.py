"""Every answer of the API, also to nonsense and in trouble, is one that its documentation promises."""

from __future__ import annotations

import jsonschema
import pytest

from api.problems import TABLE
from jobs.errors import JobsError
from photomend.stack.redis import RedisServer
from tests.integration.api.conftest import Service, make_settings, problem


def test_answers_have_the_form_that_the_documentation_promises(service):
    document = service.call("GET", "/openapi.json").json()

    def check(name, value):
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(value)

    said = [service.submit(metadata={"a": "b"}) for _ in range(3)]
    service.finish(service.claim(said[0]["id"]))
    service.fail(service.claim(said[1]["id"]))
    service.beat(service.claim(said[2]["id"]), "detect", 10)
    read = [service.call("GET", job["urls"]["self"]).json() for job in said]
    assert [job["status"] for job in read] == ["succeeded", "failed", "processing"]
    for job in [*said, *read]:
        check("JobView", job)
    check("JobPage", service.call("GET", "/v1/jobs").json())
    check("UploadView", service.call("POST", "/v1/uploads", json={"content_type": "image/png", "size": 9}).json())
    check("ModelsView", service.call("GET", "/v1/models").json())
    check("Problem", service.call("GET", "/nothing").json())
    check("Problem", service.call("GET", f"{said[1]['urls']['self']}/result").json())


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1/jobs/", "/v1/nothing", "/v1/jobs/a/b/c", "/problems/none"])
def test_an_unknown_address_is_a_problem(service, path):
    said = problem(service.call("GET", path), 404, "not_found")
    assert said["instance"] == path


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/jobs", "GET, POST"),
        ("PATCH", "/v1/jobs/job_1", "DELETE, GET"),
        ("GET", "/v1/uploads", "POST"),
        ("POST", "/livez", "GET"),
        ("TRACE", "/docs", "GET"),
    ],
)
def test_a_method_that_an_address_does_not_answer_is_a_problem_that_names_those_it_does(service, method, path, allow):
    answer = service.call(method, path)
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allow


def test_the_address_of_a_problem_tells_what_it_means(service):
    for code, row in TABLE.items():
        said = service.call("GET", f"/problems/{code}").json()
        assert (said["status"], said["title"]) == (row.status, row.title)


def test_an_error_that_nobody_foresaw_gives_no_traceback_away(service, monkeypatch):
    def broken(*_args, **_words):
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(service.store, "get", broken)
    answer = service.call("GET", "/v1/jobs/job_" + "0" * 32)
    problem(answer, 500, "internal")
    assert "hunter2" not in answer.text


def test_an_error_of_the_contract_that_is_not_in_the_table_is_internal(service, monkeypatch):
    class Strange(JobsError):
        code = "strange"

    def broken(*_args, **_words):
        raise Strange("s3://secret/key")

    monkeypatch.setattr(service.store, "get", broken)
    answer = service.call("GET", "/v1/jobs/job_" + "0" * 32)
    problem(answer, 500, "internal")
    assert "secret" not in answer.text


def test_the_process_lives_while_what_it_needs_is_away_and_says_what_that_is(service):
    assert service.call("GET", "/livez").json() == {"status": "alive", "checks": {}}
    said = problem(service.call("GET", "/readyz"), 503, "not_ready")
    assert said["checks"]["store"] == "ok"
    assert said["checks"]["storage"] != "ok"


def test_without_redis_every_call_says_so_and_asks_to_come_back(tmp_path, redis_settings, no_storage):
    server = RedisServer(tmp_path)
    server.start()
    service = Service(make_settings(redis_settings, redis_url=server.url), blobs=no_storage)
    said = service.submit()
    server.stop()
    for method, path in (("GET", "/v1/jobs"), ("GET", said["urls"]["self"]), ("POST", said["urls"]["cancel"])):
        answer = service.call(method, path)
        problem(answer, 503, "store_unavailable")
        assert int(answer.headers["retry-after"]) > 0
    answer = service.call("POST", "/v1/jobs", json={"input": "s3://photos/a.jpg"})
    problem(answer, 503, "store_unavailable")
    assert "127.0.0.1" not in answer.text
    assert service.call("GET", "/livez").status_code == 200
    service.store.close()


def test_the_documentation_is_a_page_that_needs_nothing_from_elsewhere(service):
    page = service.call("GET", "/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for text in ("/v1/jobs/{job_id}/events", "gfpgan-1.4", "callback_refused"):
        assert text in page.text
    assert "<script" not in page.text
    assert "src=" not in page.text
