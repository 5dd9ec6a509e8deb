"""Kubernetes: kustomize renders every overlay, the published schemas accept it, and it fits the code and the images."""

from __future__ import annotations

import json
import os
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import PodMonitor, PrometheusRule, ServiceMonitor

from api.settings import ApiSettings
from tests.tools import tool
from tests.unit.test_deployment import SETTINGS, check_command, readable
from worker.settings import WorkerSettings

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
OVERLAYS = sorted(path.parent.name for path in (KUBERNETES / "overlays").glob("*/kustomization.yaml"))
GPU_OVERLAYS = {
    "gpu": "nvidia.com/gpu",
    "spot": "nvidia.com/gpu",
    "fleet": "nvidia.com/gpu",
    "mig": "nvidia.com/mig-2g.20gb",
}
FOLDERS = [*(f"overlays/{name}" for name in OVERLAYS), "fetch-weights"]
OTHERS = {
    "ScaledObject": ScaledObject,
    "ServiceMonitor": ServiceMonitor,
    "PodMonitor": PodMonitor,
    "PrometheusRule": PrometheusRule,
}
#: The oldest that has `preStop: sleep` without a switch, and the newest that the schemas know.
VERSIONS = ("1.30", kubernetes_validate.latest_version())

Resource = dict[str, Any]


@cache
def rendered(folder: str) -> tuple[Resource, ...]:
    done = subprocess.run(
        [tool("kubectl"), "kustomize", str(KUBERNETES / folder)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return tuple(yaml.safe_load_all(done.stdout))


def named(folder: str, kind: str, name: str) -> Resource:
    (found,) = (one for one in rendered(folder) if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


def pods(folder: str) -> dict[str, Resource]:
    """Pod specs by the name of what makes them."""
    return {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]
        for one in rendered(folder)
        if one["kind"] in {"Deployment", "Job"}
    }


def worker(overlay: str) -> tuple[Resource, Resource]:
    """The worker's pod spec, and its only container."""
    pod = pods(f"overlays/{overlay}")["photomend-worker"]
    (container,) = pod["containers"]
    return pod, container


def tried_first(overlay: str) -> Resource:
    """What looks whether the worker could work, before it starts."""
    (container,) = pods(f"overlays/{overlay}")["photomend-worker"]["initContainers"]
    return container


def environment(container: Resource) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container.get("env", ())}


def unknown(given: Any, kept: Any, path: str = "") -> list[str]:
    """Where ``given`` has keys that a model did not keep."""
    if isinstance(given, dict):
        lost = [f"{path}.{key}" for key in given if key not in kept]
        return lost + [one for key in given if key in kept for one in unknown(given[key], kept[key], f"{path}.{key}")]
    if isinstance(given, list):
        return [one for a, b in zip(given, kept, strict=True) for one in unknown(a, b, f"{path}[]")]
    return []


def faults_of_custom(resource: Resource) -> list[str]:
    """What the operator's own definition does not know; raises where it refuses."""
    model = OTHERS[resource["kind"]].model_validate(resource)
    return unknown(resource, model.model_dump(mode="json", by_alias=True, exclude_none=True))


@cache
def check_builtin(resource: str, version: str) -> None:
    """Most of what an overlay has is the base's, word for word: once is enough."""
    kubernetes_validate.validate(json.loads(resource), version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_what_is_rendered_fits_the_published_schemas(folder, version):
    builtin = [one for one in rendered(folder) if one["kind"] not in OTHERS]
    assert builtin
    for resource in builtin:
        check_builtin(json.dumps(resource, sort_keys=True), version)


def test_the_schemas_would_refuse_a_word_that_they_do_not_know():
    resource = yaml.safe_load(yaml.safe_dump(named("overlays/cpu", "Deployment", "photomend-api")))
    resource["spec"]["template"]["spec"]["terminationGracePeriod"] = 30
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(resource, VERSIONS[-1], strict=True)


def test_what_operators_add_fits_their_definitions():
    custom = [one for one in rendered("overlays/fleet") if one["kind"] in OTHERS]
    assert {one["kind"] for one in custom} == set(OTHERS)
    assert [fault for one in custom for fault in faults_of_custom(one)] == []


def test_the_definitions_would_refuse_what_they_do_not_know():
    scaled = yaml.safe_load(yaml.safe_dump(named("overlays/fleet", "ScaledObject", "photomend-worker")))
    scaled["spec"]["maxReplicas"] = 3
    assert faults_of_custom(scaled) == [".spec.maxReplicas"]
    scaled["spec"]["maxReplicaCount"] = "many"
    with pytest.raises(ValueError, match="maxReplicaCount"):
        faults_of_custom(scaled)


def test_only_the_fleet_needs_what_a_cluster_may_not_have():
    for folder in FOLDERS:
        assert folder == "overlays/fleet" or not {one["kind"] for one in rendered(folder)} & set(OTHERS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_process_runs_a_command_that_exists_with_settings_that_it_reads(folder):
    for name, pod in pods(folder).items():
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            # The images' entry point comes first, or nobody would wait for what a killed process leaves behind.
            assert "command" not in container, name
            check_command(container["args"])
            given = environment(container)
            for source in container.get("envFrom", ()):
                given |= named(folder, "ConfigMap", source["configMapRef"]["name"])["data"]
            assert given
            assert set(given) <= readable(SETTINGS[container["args"][1]]), name
            secrets = {item["path"] for v in pod["volumes"] for item in v.get("secret", {}).get("items", ())}
            files = {setting.removesuffix("_FILE"): at for setting, at in given.items() if setting.endswith("_FILE")}
            assert files == {secret: f"/run/secrets/{secret}" for secret in secrets}


def test_the_settings_are_valid_values():
    (words,) = (one["data"] for one in rendered("overlays/cpu") if one["kind"] == "ConfigMap")
    words = words | {"PHOTOMEND_S3_SECRET_ACCESS_KEY": "by file"}
    settings = ApiSettings(**{name.removeprefix("PHOTOMEND_").lower(): value for name, value in words.items()})
    assert settings.bucket == "photomend"
    words = environment(worker("cpu")[1])
    assert WorkerSettings(**{name.removeprefix("PHOTOMEND_").lower(): value for name, value in words.items()})


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_pod_is_confined_and_whatever_it_writes_is_a_volume(folder):
    for pod in pods(folder).values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            assert container["securityContext"] == {
                "readOnlyRootFilesystem": True,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            mounts = {mount["name"] for mount in container["volumeMounts"]}
            assert mounts == volumes


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_worker_finds_its_folders_where_the_image_expects_them(overlay):
    _, container = worker(overlay)
    image = (KUBERNETES.parent / "worker.Dockerfile").read_text()
    (declared,) = re.findall(r"^VOLUME (\[.*\])$", image, re.MULTILINE)
    places = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(yaml.safe_load(declared)) <= places


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_worker_gets_longer_to_stop_than_it_takes_to_drain(overlay):
    pod, container = worker(overlay)
    assert pod["terminationGracePeriodSeconds"] >= float(environment(container)["PHOTOMEND_DRAIN_S"]) + 10
    assert "lifecycle" not in container


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_api_is_taken_from_the_proxies_before_it_stops(overlay):
    from api.__main__ import GRACE_S

    pod = pods(f"overlays/{overlay}")["photomend-api"]
    (container,) = pod["containers"]
    wait_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= wait_s + GRACE_S + 5


@pytest.mark.parametrize("overlay", sorted(GPU_OVERLAYS))
def test_a_worker_pod_has_one_gpu_or_slice_and_one_process_on_it(overlay):
    _, container = worker(overlay)
    devices = {name: count for name, count in container["resources"]["limits"].items() if name.startswith("nvidia.com")}
    assert devices == {GPU_OVERLAYS[overlay]: "1"}
    assert container["args"][:3] == ["photomend", "worker", "--gpus"]
    assert container["image"].startswith("photomend-worker:")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_worker_pod_tries_itself_on_what_it_will_work_on(overlay):
    _, container = worker(overlay)
    first = tried_first(overlay)
    assert first["args"] == [*container["args"], "--self-test"]
    assert first["image"] == container["image"]
    assert first["resources"] == container["resources"]
    assert {one["name"] for one in container["env"]} == {one["name"] for one in first["env"]}


def test_a_keeper_is_asked_by_its_image_s_own_check_whether_it_lives():
    (container,) = pods("overlays/gpu")["photomend-keeper"]["containers"]
    for probe in ("startupProbe", "livenessProbe"):
        check_command(container[probe]["exec"]["command"])
    assert environment(container)["PHOTOMEND_ALIVE_PATH"].startswith("/tmp/")
    assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_a_worker_without_a_gpu_asks_for_none_and_has_the_smaller_image():
    _, container = worker("cpu")
    assert not [name for name in container["resources"]["limits"] if "nvidia" in name]
    assert container["args"][2:] == ["--cpu", "1"]
    assert container["image"].startswith("photomend-worker-cpu:")
    assert set(GPU_OVERLAYS) | {"cpu"} == set(OVERLAYS)


def test_only_workers_are_put_on_machines_that_may_be_taken_away():
    specs = pods("overlays/spot")
    assert "nodeSelector" in specs["photomend-worker"]
    assert not any("nodeSelector" in specs[name] for name in ("photomend-api", "photomend-keeper"))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_deployment_has_a_budget_for_disruptions_that_lets_nodes_be_drained(overlay):
    folder = f"overlays/{overlay}"
    for name in ("photomend-api", "photomend-keeper", "photomend-worker"):
        deployment, budget = named(folder, "Deployment", name), named(folder, "PodDisruptionBudget", name)
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert deployment["spec"].get("replicas", 1) > budget["spec"].get("minAvailable", 0)


def reached(folder: str, labels: dict[str, str]) -> list[Resource]:
    """Everything that pods with these labels may connect to."""

    def chosen(selector: Resource) -> bool:
        wanted = selector.get("matchLabels", {})
        listed = selector.get("matchExpressions", ())
        return wanted.items() <= labels.items() and all(labels.get(one["key"]) in one["values"] for one in listed)

    return [
        rule
        for one in rendered(folder)
        if one["kind"] == "NetworkPolicy" and chosen(one["spec"]["podSelector"])
        for rule in one["spec"].get("egress", ())
    ]


def test_only_the_keeper_reaches_the_internet_and_no_private_address_there():
    folder = "overlays/gpu"
    closed = named(folder, "NetworkPolicy", "photomend-closed")["spec"]
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    blocks = {
        name: [
            place["ipBlock"]
            for rule in reached(folder, {"app.kubernetes.io/name": name})
            for place in rule["to"]
            if "ipBlock" in place
        ]
        for name in ("photomend-api", "photomend-keeper", "photomend-worker")
    }
    assert blocks["photomend-api"] == blocks["photomend-worker"] == []
    everywhere, six = blocks["photomend-keeper"]
    assert (everywhere["cidr"], six["cidr"]) == ("0.0.0.0/0", "2000::/3")
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8"} <= set(
        everywhere["except"]
    )


@pytest.mark.parametrize("name", ["photomend-api", "photomend-keeper", "photomend-worker"])
def test_everyone_reaches_names_redis_and_the_storage(name):
    ports = {
        port["port"]
        for rule in reached("overlays/gpu", {"app.kubernetes.io/name": name})
        for port in rule["ports"]
        if "port" in port
    }
    assert ports == {53, 6379, 8333}


def test_the_metrics_are_open_to_the_monitoring_namespace_alone():
    (open_to,) = named("overlays/fleet", "NetworkPolicy", "photomend-metrics")["spec"]["ingress"]
    assert [port["port"] for port in open_to["ports"]] == ["metrics"]
    (place,) = open_to["from"]
    assert place["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    (others,) = named("overlays/fleet", "NetworkPolicy", "photomend-api")["spec"]["ingress"]
    assert [port["port"] for port in others["ports"]] == ["http"]


def test_the_component_for_traces_says_where_to_and_opens_the_way_there(tmp_path):
    base, component = (
        os.path.relpath(KUBERNETES / name, tmp_path.resolve()) for name in ("overlays/cpu", "components/tracing")
    )
    (tmp_path / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: photomend\n"
        f"resources: [{base}]\ncomponents: [{component}]\n"
    )
    here = str(tmp_path.resolve())
    (words,) = (one for one in rendered(here) if one["kind"] == "ConfigMap")
    where = urlsplit(words["data"]["OTEL_EXPORTER_OTLP_ENDPOINT"])
    assert ApiSettings(traces=words["data"]["PHOTOMEND_TRACES"]).traces
    assert words["data"]["PHOTOMEND_BUCKET"] == "photomend", "added to what is there"
    for pod in pods(here).values():
        (source,) = pod["containers"][0]["envFrom"]
        assert source["configMapRef"]["name"] == words["metadata"]["name"]
    policy = named(here, "NetworkPolicy", "photomend-traces")
    for version in VERSIONS:
        kubernetes_validate.validate(policy, version, strict=True)
    for name in pods(here):
        new = [rule for rule in reached(here, {"app.kubernetes.io/name": name}) if rule in policy["spec"]["egress"]]
        assert [port["port"] for rule in new for port in rule["ports"]] == [where.port]
        namespace = where.hostname.split(".")[1]
        assert new[0]["to"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] == namespace


def test_workers_are_scaled_by_the_backlog_and_never_on_a_figure_that_is_missing():
    scaled = named("overlays/fleet", "ScaledObject", "photomend-worker")["spec"]
    assert scaled["scaleTargetRef"]["name"] == "photomend-worker"
    (trigger,) = scaled["triggers"]
    assert "photomend_backlog_work_seconds" in trigger["metadata"]["query"]
    assert trigger["metadata"]["ignoreNullValues"] == "false"
    assert scaled["fallback"]["replicas"] >= 1
    # Two that set one number would fight.
    assert "replicas" not in named("overlays/fleet", "Deployment", "photomend-worker")["spec"]
    assert "replicas" in named("overlays/spot", "Deployment", "photomend-worker")["spec"]


def test_what_is_watched_is_there():
    monitor = named("overlays/fleet", "ServiceMonitor", "photomend-api")["spec"]
    service = named("overlays/fleet", "Service", "photomend-api")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {one["port"] for one in monitor["endpoints"]} <= {one["name"] for one in service["spec"]["ports"]}
    asked = named("overlays/fleet", "PodMonitor", "photomend")["spec"]
    (wanted,) = asked["selector"]["matchExpressions"]
    assert {*wanted["values"], "photomend-api"} == set(pods("overlays/fleet"))
    (config,) = (
        one["data"]
        for one in rendered("overlays/fleet")
        if one["kind"] == "ConfigMap" and one["metadata"]["name"] != "photomend-dashboard"
    )
    for pod in pods("overlays/fleet").values():
        ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
        assert str(ports["metrics"]) == config["PHOTOMEND_METRICS_PORT"]
    groups = named("overlays/fleet", "PrometheusRule", "photomend")["spec"]["groups"]
    named_there = set(re.findall(r'(?:deployment|container)="([a-z-]+)"', str(groups)))
    deployments = {one["metadata"]["name"] for one in rendered("overlays/fleet") if one["kind"] == "Deployment"}
    assert named_there <= deployments | {"api", "keeper", "worker"}


def test_grafana_finds_the_dashboard_by_its_label():
    found = named("overlays/fleet", "ConfigMap", "photomend-dashboard")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    file = KUBERNETES.parent / "observability" / "grafana" / "photomend.json"
    assert json.loads(found["data"]["photomend.json"]) == json.loads(file.read_text())


def test_weights_that_are_fetched_go_where_workers_look():
    fetching = pods("fetch-weights")["photomend-fetch-weights"]
    pod, _ = worker("gpu")
    claims = [
        volume["persistentVolumeClaim"]
        for spec in (fetching, pod)
        for volume in spec["volumes"]
        if volume["name"] == "weights"
    ]
    assert {claim["claimName"] for claim in claims} == {"photomend-weights"}
    assert [claim.get("readOnly", False) for claim in claims] == [False, True]
    rules = reached("fetch-weights", {"app.kubernetes.io/name": "photomend-fetch-weights"})
    assert rules == [{"ports": [{"protocol": "TCP", "port": 443}]}]
