"""Decisions about results, and the same picture once more."""

from __future__ import annotations

from tests.integration.api.conftest import problem


def done(service, **words):
    job = service.submit(**words)
    service.finish(service.claim(job["id"]))
    return job["id"]


def decide(service, job_id, decision, **words):
    answer = service.call("POST", f"/v1/jobs/{job_id}/review", json={"decision": decision, **words})
    assert answer.status_code == 200, answer.text
    return answer


def ids(service, query):
    return {job["id"] for job in service.call("GET", f"/v1/jobs?{query}").json()["jobs"]}


def test_a_decision_is_kept_in_the_job_and_the_latest_one_counts(service):
    job_id = done(service)
    assert service.call("GET", f"/v1/jobs/{job_id}").json()["review"] is None
    first = decide(service, job_id, "rejected", note="not her \u2014 at all", by="Mia")
    again = decide(service, job_id, "rejected", note="not her \u2014 at all", by="Mia")
    assert (again.headers["etag"], again.json()) == (first.headers["etag"], first.json()), "said twice is said once"
    decide(service, job_id, "accepted")
    job = service.call("GET", f"/v1/jobs/{job_id}").json()
    assert [(r["decision"], r["note"], r["by"]) for r in job["reviews"]] == [
        ("rejected", "not her \u2014 at all", "Mia"),
        ("accepted", "", ""),
    ]
    assert job["review"] == job["reviews"][-1]
    assert job["completed_at"] <= job["reviews"][0]["at"] <= job["review"]["at"]
    assert job["output"], "the result is as it was"


def test_only_a_result_that_is_there_can_be_decided_about(service):
    waiting = service.submit()["id"]
    failed = service.submit()["id"]
    service.fail(service.claim(failed))
    for job_id in (waiting, failed):
        answer = service.call("POST", f"/v1/jobs/{job_id}/review", json={"decision": "accepted"})
        problem(answer, 409, "illegal_state")
        assert service.call("GET", f"/v1/jobs/{job_id}").json()["reviews"] == []
    nowhere = service.call("POST", f"/v1/jobs/job_{'0' * 32}/review", json={"decision": "accepted"})
    problem(nowhere, 404, "job_not_found")
    problem(service.call("POST", f"/v1/jobs/{waiting}/review", json={"decision": "maybe"}), 422, "invalid_request")


def test_a_record_holds_a_hundred_decisions_and_says_so(service):
    job_id = done(service)
    for number in range(100):
        decide(service, job_id, "accepted", note=str(number))
    full = service.call("POST", f"/v1/jobs/{job_id}/review", json={"decision": "rejected"})
    assert "hundred" in problem(full, 409, "illegal_state")["detail"]
    assert service.call("GET", f"/v1/jobs/{job_id}").json()["review"]["note"] == "99"


def test_jobs_are_listed_by_decision_page_by_page(service):
    service.submit()
    jobs = [done(service) for _ in range(6)]
    for job_id in jobs[:2]:
        decide(service, job_id, "accepted")
    decide(service, jobs[2], "accepted")
    decide(service, jobs[2], "rejected")
    assert ids(service, "review=accepted") == set(jobs[:2])
    assert ids(service, "review=rejected") == {jobs[2]}
    assert ids(service, "review=pending") == set(jobs[3:])
    seen, cursor = [], ""
    for _ in range(5):
        page = service.call("GET", f"/v1/jobs?review=pending&limit=2{cursor}").json()
        seen += [job["id"] for job in page["jobs"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == jobs[:2:-1]
    problem(service.call("GET", "/v1/jobs?review=perhaps"), 422, "invalid_request")


def test_redo_is_a_new_job_on_the_same_picture_with_what_is_said_otherwise(service):
    job_id = done(service, options={"scale": 3, "outputs": ["image", "mask"]}, metadata={"order": "7"})
    headers = {"Idempotency-Key": "again"}
    words = {"options": {"strength": 0.4}}
    answer = service.call("POST", f"/v1/jobs/{job_id}/redo", json=words, headers=headers)
    assert answer.status_code == 202, answer.text
    new, old = answer.json(), service.call("GET", f"/v1/jobs/{job_id}").json()
    assert new["replay_of"] == job_id != new["id"]
    assert new["input"] == old["input"]
    assert new["metadata"] == {"order": "7"}
    assert new["options"] == old["options"] | {"strength": 0.4}
    assert answer.headers["location"] == f"/v1/jobs/{new['id']}"
    repeated = service.call("POST", f"/v1/jobs/{job_id}/redo", json=words, headers=headers)
    assert (repeated.json()["id"], repeated.headers["idempotent-replayed"]) == (new["id"], "true")
    other = service.call("POST", f"/v1/jobs/{job_id}/redo", json={}, headers=headers)
    problem(other, 422, "idempotency_mismatch")
    problem(service.call("POST", f"/v1/jobs/{new['id']}/redo", json={}), 409, "illegal_state")
    wrong = service.call("POST", f"/v1/jobs/{job_id}/redo", json={"options": {"strength": 7}})
    assert problem(wrong, 422, "invalid_option")["pointer"] == "/options/strength"


def test_where_a_result_is_can_be_asked_in_json_and_the_input_too(full_service):
    service = full_service
    job_id = done(service, input="s3://photos/scans/a.jpg")
    asked = service.call("GET", f"/v1/jobs/{job_id}/result", headers={"Accept": "application/json"})
    assert (asked.status_code, asked.json()["content_type"]) == (200, "image/png")
    assert asked.json()["url"].startswith(service.settings.s3_endpoint_url)
    assert asked.headers["cache-control"] == "no-store"
    place = service.call("GET", f"/v1/jobs/{job_id}/result?part=input", headers={"Accept": "application/json"}).json()
    assert "/photos/scans/a.jpg?" in place["url"]
    assert place["filename"] == "a.jpg"
    page = done(service, input="s3://photos/page.html")
    place = service.call("GET", f"/v1/jobs/{page}/result?part=input", headers={"Accept": "application/json"}).json()
    assert place["content_type"] == "image/jpeg", "never as a page"
    assert service.call("GET", f"/v1/jobs/{job_id}/result", headers={"Accept": "*/*"}).status_code == 303
