"""The local stack's servers are real, keep their data, and do not outlive us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest
import redis
from botocore.config import Config
from botocore.exceptions import ClientError

from photomend.stack.errors import PortTaken, ServerFailed
from photomend.stack.ports import free_ports
from photomend.stack.process import Child
from photomend.stack.redis import RedisServer
from photomend.stack.swift import S3Server


def s3_client(server: S3Server, **overrides: str):
    names = {
        "endpoint_url": server.endpoint_url,
        "aws_access_key_id": server.access_key,
        "aws_secret_access_key": server.secret_key,
        "region_name": server.region,
    }
    plain = Config(request_checksum_calculation="when_required", response_checksum_validation="when_required")
    return boto3.client("s3", config=plain, **(names | overrides))


def is_alive(pid: int) -> bool:
    try:
        # A zombie still has a pid but runs no more.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(claim, timeout_s: float = 10.0) -> bool:
    give_up_at = time.monotonic() + timeout_s
    while not claim() and time.monotonic() < give_up_at:
        time.sleep(0.05)
    return claim()


def test_a_redis_that_was_killed_has_its_data_after_the_next_start(tmp_path):
    server = RedisServer(tmp_path)
    server.start()
    with redis.Redis.from_url(server.url) as client:
        client.set("kept", "yes")
        client.config_set("appendfsync", "always")  # so that the test need not wait a second for the disk
        client.set("also-kept", "yes")
    os.kill(server.child.pid, signal.SIGKILL)
    assert wait_until(lambda: not server.child.is_running)
    server.stop()

    server.start()
    with redis.Redis.from_url(server.url) as client:
        assert client.get("kept") == b"yes"
        assert client.get("also-kept") == b"yes"
    server.stop()


def test_redis_never_evicts_and_listens_on_loopback_only(redis_server):
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        assert client.config_get("bind")["bind"] == "127.0.0.1"
        assert client.config_get("appendonly")["appendonly"] == "yes"


def test_a_port_that_is_taken_is_said_so(redis_server, tmp_path):
    with pytest.raises(PortTaken, match=str(redis_server.port)):
        RedisServer(tmp_path, port=redis_server.port).start()


def test_objects_survive_a_restart_of_the_s3_server_on_another_port(tmp_path):
    server = S3Server(tmp_path)
    server.start()
    s3_client(server).create_bucket(Bucket="album")
    s3_client(server).put_object(Bucket="album", Key="aunt/1931.jpg", Body=b"pixels", ContentType="image/jpeg")
    first_url, first_secret = server.endpoint_url, server.secret_key
    server.stop()

    server.start()
    assert server.endpoint_url != first_url
    assert server.secret_key == first_secret
    answer = s3_client(server).get_object(Bucket="album", Key="aunt/1931.jpg")
    assert answer["Body"].read() == b"pixels"
    assert answer["ContentType"] == "image/jpeg"
    server.stop()


def test_the_s3_server_refuses_a_wrong_secret(s3_server, bucket):
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        s3_client(s3_server, aws_secret_access_key="guess").list_objects_v2(Bucket=bucket)


def test_a_listing_names_what_was_put(s3_server, bucket):
    for n in range(5):
        s3_client(s3_server).put_object(Bucket=bucket, Key=f"photo-{n}.png", Body=b"x")

    def listed():
        return [item["Key"] for item in s3_client(s3_server).list_objects_v2(Bucket=bucket).get("Contents", [])]

    assert wait_until(lambda: listed() == [f"photo-{n}.png" for n in range(5)])


def test_the_updaters_run_without_complaint(s3_server, bucket):
    updaters = s3_server.children[0]
    assert updaters.name == "S3 (updaters)"
    assert updaters.is_running
    assert "Traceback" not in updaters.output()


def test_a_bucket_that_was_deleted_is_gone_at_once_and_can_be_made_again(s3_server):
    client = s3_client(s3_server)
    for _ in range(2):
        client.create_bucket(Bucket="comes-and-goes")
        client.put_object(Bucket="comes-and-goes", Key="a", Body=b"a")
        client.delete_object(Bucket="comes-and-goes", Key="a")
        client.delete_bucket(Bucket="comes-and-goes")
        with pytest.raises(ClientError, match="NoSuchBucket"):
            client.get_object(Bucket="comes-and-goes", Key="a")
        with pytest.raises(ClientError, match="NoSuchBucket"):
            client.put_object(Bucket="comes-and-goes", Key="a", Body=b"a")


@pytest.mark.timeout(120)
def test_objects_come_and_go_without_asking_for_their_bucket_and_late_entries_get_into_its_listing(tmp_path):
    server = S3Server(tmp_path)
    server.start()
    try:
        client = s3_client(server)
        client.create_bucket(Bucket="known")
        client.put_object(Bucket="known", Key="first", Body=b"1")
        asked = [child.pid for child in server.children if "account" in child.name or "container" in child.name]
        assert len(asked) == 2
        for pid in asked:
            os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        assert client.get_object(Bucket="known", Key="first")["Body"].read() == b"1"
        assert time.monotonic() - began < 5.0, "it waited for who does not answer"
        client.put_object(Bucket="known", Key="late", Body=b"2")
        for pid in asked:
            os.kill(pid, signal.SIGCONT)

        def listed() -> list[str]:
            return [line["Key"] for line in client.list_objects_v2(Bucket="known").get("Contents", [])]

        assert wait_until(lambda: listed() == ["first", "late"], timeout_s=40.0), listed()
    finally:
        server.stop()


def test_every_server_process_ends_when_its_parent_is_killed(tmp_path):
    starter = """
import sys, time
from pathlib import Path
from photomend.stack.redis import RedisServer
from photomend.stack.swift import S3Server
r, s = RedisServer(Path(sys.argv[1]) / "redis"), S3Server(Path(sys.argv[1]) / "s3")
r.start(); s.start()
print(*[c.pid for c in (r.child, *s.children)], flush=True)
time.sleep(600)
"""
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", starter, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=root
    ) as parent:
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 6
        assert all(is_alive(pid) for pid in pids)
        parent.kill()
    assert wait_until(lambda: not any(is_alive(pid) for pid in pids))


def test_a_child_that_ends_while_starting_is_reported_with_its_last_words(tmp_path):
    child = Child("clock", [sys.executable, "-c", "print('no spring'); raise SystemExit(3)"], log=tmp_path / "log")
    with pytest.raises(ServerFailed, match="clock ended with status 3") as caught:
        child.wait_until(lambda: False, timeout_s=10)
    assert caught.value.log_tail == "no spring"


def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(tmp_path):
    stubborn = (
        "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    child = Child("mule", [sys.executable, "-c", stubborn], log=tmp_path / "log")
    child.wait_until(lambda: "up" in child.output(), timeout_s=10)
    assert child.stop(grace_s=0.2) == -signal.SIGKILL


def test_free_ports_are_different_from_each_other():
    assert len(set(free_ports(20))) == 20
