"""The Kubernetes manifests: valid for the API, and they fit each other, the image and the programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from croniter import croniter
from support import ROOT
from support.image_steps import read
from support.known_settings import OF_BACKEND, OF_CONNECTOR, understood

from connector.settings import load_settings
from ml_backend.rest.app import create_app
from ml_backend.rest.auth import OPEN_PATH
from ml_backend.settings import Settings as BackendSettings

FOLDER = ROOT / "deploy" / "kubernetes"
Manifest = dict[str, Any]
STEPS = read(ROOT / "Dockerfile")


def manifests() -> list[Manifest]:
    files = [*FOLDER.glob("*.yaml"), FOLDER / "secret.yaml.example"]
    documents = [one for file in files for one in yaml.safe_load_all(file.read_text())]
    return [one for one in documents if one["kind"] != "Kustomization"]


MANIFESTS = {f"{one['kind']}/{one['metadata']['name']}": one for one in manifests()}
PODS = {
    "ml-backend": MANIFESTS["Deployment/ml-backend"]["spec"]["template"],
    "console": MANIFESTS["Deployment/console"]["spec"]["template"],
    "connector": MANIFESTS["CronJob/connector"]["spec"]["jobTemplate"]["spec"]["template"],
}


def container(pod: str) -> Manifest:
    (found,) = PODS[pod]["spec"]["containers"]
    return dict(found)


def given(pod: str) -> dict[str, str]:
    """The environment that a pod's container is given."""
    found: dict[str, str] = {}
    for source in container(pod).get("envFrom", []):
        if "configMapRef" in source:
            found |= MANIFESTS[f"ConfigMap/{source['configMapRef']['name']}"]["data"]
        else:
            found |= MANIFESTS[f"Secret/{source['secretRef']['name']}"]["stringData"]
    for one in container(pod).get("env", []):
        reference = one["valueFrom"]["secretKeyRef"]
        found[one["name"]] = MANIFESTS[f"Secret/{reference['name']}"]["stringData"][reference["key"]]
    return found


@pytest.mark.parametrize("version", ["1.28", "1.37"])
@pytest.mark.parametrize("name", MANIFESTS)
def test_it_fits_the_api(name: str, version: str) -> None:
    assert str(kubernetes_validate.validate(MANIFESTS[name], version, strict=True)).startswith(version)


def test_the_api_knows_no_such_field() -> None:
    wrong = yaml.safe_load(yaml.safe_dump(MANIFESTS["CronJob/connector"]))
    wrong["spec"]["concurencyPolicy"] = "Forbid"
    with pytest.raises(kubernetes_validate.ValidationError, match="concurencyPolicy"):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


def test_the_kustomization_has_all_of_them() -> None:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    assert sorted(kustomization["resources"]) == sorted(
        file.name for file in FOLDER.glob("*.yaml") if file.name != "kustomization.yaml"
    )
    (image,) = kustomization["images"]
    assert {container(pod)["image"] for pod in PODS} == {image["name"]}


@pytest.mark.parametrize("pod", PODS)
def test_every_setting_is_known(pod: str) -> None:
    known = OF_CONNECTOR | OF_BACKEND
    assert set(given(pod)) <= known
    if pod != "ml-backend":
        assert set(given(pod)) >= {"LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY", "ML_BACKEND_URL", "CONNECTOR_STATE"}
    else:
        assert set(given(pod)) & {"LABEL_STUDIO_API_KEY", "CONNECTOR_STATE"} == set()


def test_the_programs_take_what_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (given("connector") | given("ml-backend")).items():
        monkeypatch.setenv(name, value or "filled-in")
    assert load_settings().ml_backend_url == "http://ml-backend:9090"
    cores = int(container("ml-backend")["resources"]["requests"]["cpu"])
    assert (BackendSettings().threads, BackendSettings().processes) == (cores, cores)


@pytest.mark.parametrize("pod", PODS)
def test_no_variable_of_a_service_is_taken_for_a_setting(pod: str) -> None:
    """Kubernetes tells pods of the Service ml-backend by ML_BACKEND_PORT=tcp://…, unless it is told not to."""
    service = MANIFESTS["Service/ml-backend"]["metadata"]["name"]
    assert f"{service.upper().replace('-', '_')}_PORT" in OF_BACKEND
    assert PODS[pod]["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_a_probe_asks_a_route_that_needs_no_credentials(probe: str, tmp_path: Path) -> None:
    asked = container("ml-backend")[probe]["httpGet"]
    (port,) = container("ml-backend")["ports"]
    assert asked == {"path": OPEN_PATH, "port": port["name"]}
    assert asked["path"] in create_app(BackendSettings(model_dir=tmp_path)).openapi()["paths"]


def test_the_service_leads_to_the_backend() -> None:
    service = MANIFESTS["Service/ml-backend"]["spec"]
    (port,) = service["ports"]
    (named,) = container("ml-backend")["ports"]
    assert service["selector"].items() <= PODS["ml-backend"]["metadata"]["labels"].items()
    assert port["targetPort"] == named["name"]
    (exposed,) = (step.value for step in STEPS if step.name == "EXPOSE")
    assert {str(named["containerPort"]), str(port["port"])} == {exposed}
    for kind in ("ml-backend", "console"):
        spec = MANIFESTS[f"Deployment/{kind}"]["spec"]
        assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


def test_one_pod_has_the_models() -> None:
    """SQLite's files are not for network file systems, nor for two nodes."""
    deployment = MANIFESTS["Deployment/ml-backend"]["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    assert MANIFESTS["PersistentVolumeClaim/models"]["spec"]["accessModes"] == ["ReadWriteOnce"]
    (models,) = (one for one in PODS["ml-backend"]["spec"]["volumes"] if "persistentVolumeClaim" in one)
    assert f"PersistentVolumeClaim/{models['persistentVolumeClaim']['claimName']}" in MANIFESTS
    mounts = {one["name"]: one["mountPath"] for one in container("ml-backend")["volumeMounts"]}
    (environment,) = (step.value for step in STEPS if step.name == "ENV" and "ML_BACKEND_MODEL_DIR" in step.value)
    assert f"ML_BACKEND_MODEL_DIR={mounts[models['name']]} " in environment


def test_syncs_follow_each_other_and_never_overlap() -> None:
    cron = MANIFESTS["CronJob/connector"]["spec"]
    assert croniter.is_valid(cron["schedule"])
    assert cron["concurrencyPolicy"] == "Forbid"
    assert PODS["connector"]["spec"]["restartPolicy"] == "Never"
    assert understood(container("connector")["args"]) == "connector sync"


@pytest.mark.parametrize("pod", PODS)
def test_no_pod_runs_as_root_or_writes_to_the_image(pod: str) -> None:
    spec = PODS[pod]["spec"]
    (user,) = (step.value for step in STEPS if step.name == "USER")
    assert (spec["securityContext"]["runAsNonRoot"], spec["securityContext"]["runAsUser"]) == (True, int(user))
    assert spec["automountServiceAccountToken"] is False
    assert container(pod)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {one["name"] for one in spec["volumes"]} == {one["name"] for one in container(pod)["volumeMounts"]}
    assert "memory" in container(pod)["resources"]["limits"]
