"""What infra/terraform says of the bucket and of who may do what in it, read without Terraform."""

import re
from pathlib import Path
from typing import Any

import hcl2
import pytest

FOLDER = Path(__file__).parents[3] / "infra" / "terraform"
STORE = "${local.bucket}"


def plain(value: Any) -> Any:
    """A parsed value without the quotes and marks that the parser leaves; expressions stay as they are."""
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items() if key != "__is_block__"}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value[1:-1] if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"' else value


def parsed(name: str) -> dict[str, Any]:
    with (FOLDER / name).open() as file:
        found: dict[str, Any] = plain(hcl2.load(file))
    return found


def resources(name: str, block: str = "resource") -> dict[str, Any]:
    return {
        f"{kind}.{label}": body
        for one in parsed(name)[block]
        for kind, rest in one.items()
        for label, body in rest.items()
    }


BUCKET = resources("bucket.tf")
ACCESS = resources("access.tf", "data")


def statements(who: str) -> dict[str, dict[str, Any]]:
    return {one["sid"]: one for one in ACCESS[f"aws_iam_policy_document.{who}"]["statement"]}


def granted(who: str) -> set[tuple[str, str]]:
    """Pairs of action and resource, the latter below the bucket."""
    return {
        (action, re.sub(re.escape(STORE), "", resource).lstrip("/"))
        for one in statements(who).values()
        if one.get("effect") != "Deny"
        for action in one["actions"]
        for resource in one["resources"]
    }


def test_every_file_is_read() -> None:
    assert sorted(path.name for path in FOLDER.glob("*.tf")) == [
        "access.tf",
        "bucket.tf",
        "outputs.tf",
        "variables.tf",
        "versions.tf",
    ]
    for path in FOLDER.glob("*.tf"):
        assert parsed(path.name)


def test_nothing_in_the_bucket_is_public() -> None:
    block = BUCKET["aws_s3_bucket_public_access_block.store"]
    flags = ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets")
    assert [block[flag] for flag in flags] == [True] * 4
    (rule,) = BUCKET["aws_s3_bucket_ownership_controls.store"]["rule"]
    assert rule["object_ownership"] == "BucketOwnerEnforced"


def test_versions_are_kept_and_the_bucket_is_not_destroyed() -> None:
    (versioning,) = BUCKET["aws_s3_bucket_versioning.store"]["versioning_configuration"]
    assert versioning["status"] == "Enabled"
    assert BUCKET["aws_s3_bucket.store"]["lifecycle"][0]["prevent_destroy"] is True


def test_it_is_encrypted() -> None:
    (rule,) = BUCKET["aws_s3_bucket_server_side_encryption_configuration.store"]["rule"]
    algorithm = rule["apply_server_side_encryption_by_default"][0]["sse_algorithm"]
    assert "AES256" in algorithm and "aws:kms" in algorithm


def test_only_tls_is_answered() -> None:
    (statement,) = resources("bucket.tf", "data")["aws_iam_policy_document.bucket"]["statement"]
    assert (statement["effect"], statement["actions"]) == ("Deny", ["s3:*"])
    assert statement["resources"] == [STORE, f"{STORE}/*"]
    (condition,) = statement["condition"]
    assert (condition["test"], condition["variable"], condition["values"]) == ("Bool", "aws:SecureTransport", ["false"])
    assert statement["principals"][0]["identifiers"] == ["*"]


def test_what_nobody_needs_any_more_goes() -> None:
    rules = {rule["id"]: rule for rule in BUCKET["aws_s3_bucket_lifecycle_configuration.store"]["rule"]}
    assert set(rules) == {"noncurrent", "multipart", "checkpoints"}
    assert all(rule["status"] == "Enabled" for rule in rules.values())
    # An expiry without a prefix would take releases with it.
    expiring = {name for name, rule in rules.items() if "days" in rule.get("expiration", [{}])[0]}
    assert expiring == {"checkpoints"}
    assert rules["checkpoints"]["filter"][0]["prefix"] == "runs/checkpoints/"
    assert "abort_incomplete_multipart_upload" in rules["multipart"]


def test_stages_cannot_unmake_a_release() -> None:
    found = granted("stages")
    assert {("s3:GetObject", f"{folder}/*") for folder in ("data", "runs", "releases", "forecasts")} <= found
    writable = {place for action, place in found if action == "s3:PutObject"}
    assert writable == {"data/*", "runs/*", "forecasts/*", "releases/probe/*"}, "only promotion may release"
    removable = {place for action, place in found if action.startswith("s3:Delete")}
    assert removable == {"data/*", "runs/*", "releases/probe/*"}


def test_promotion_adds_releases_and_cannot_overwrite_the_ledger() -> None:
    assert granted("promotion") == {
        (action, "releases/*") for action in ("s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
    } | {("s3:DeleteObject", "forecasts/*")}
    rule = statements("promotion")["AppendOnly"]
    assert (rule["effect"], rule["actions"]) == ("Deny", ["s3:PutObject"])
    assert rule["resources"] == [f"{STORE}/releases/*/ledger/*"]
    (condition,) = rule["condition"]
    assert (condition["test"], condition["variable"], condition["values"]) == ("Null", "s3:if-none-match", ["true"])


def test_whoever_writes_objects_may_encrypt_them() -> None:
    for who in ("stages", "airflow", "mlflow"):
        (key,) = ACCESS[f"aws_iam_policy_document.{who}"]["dynamic"]
        (content,) = key["statement"]["content"]
        assert content["actions"] == ["kms:Decrypt", "kms:GenerateDataKey"], who


def test_airflow_and_consumers_read_only_what_is_theirs() -> None:
    assert granted("airflow") - {("kms:Decrypt", "${statement.value}")} == {
        ("s3:GetObject", "runs/*"),
        ("s3:GetObject", "workloads/*"),
        ("s3:PutObject", "runs/notify/*"),
        ("s3:DeleteObject", "runs/notify/*"),
        ("s3:ListBucket", ""),
    }
    assert granted("consumers") == {
        ("s3:GetObject", "releases/*"),
        ("s3:GetObject", "forecasts/*"),
        ("s3:ListBucket", ""),
    }
    for who, places in (("airflow", ("runs", "workloads")), ("consumers", ("releases", "forecasts"))):
        (condition,) = statements(who)["List"]["condition"]
        assert all(value.startswith(places) for value in condition["values"])


@pytest.mark.parametrize("who", ["stages", "promotion", "airflow", "mlflow", "consumers"])
def test_nobody_may_everything_or_change_the_bucket(who: str) -> None:
    for action, place in granted(who):
        assert "*" not in action
        assert place != "*"
        assert not action.startswith(("s3:PutBucket", "s3:DeleteBucket", "s3:PutLifecycle", "s3:PutEncryption"))
        assert action not in ("s3:DeleteObjectVersion", "s3:BypassGovernanceRetention", "s3:PutObjectAcl")


def test_versions_are_pinned() -> None:
    (terraform,) = parsed("versions.tf")["terraform"]
    assert terraform["required_version"].startswith(">= 1.")
    assert terraform["required_providers"][0]["aws"]["version"].startswith("~> ")


def test_every_variable_is_described_and_those_that_can_be_wrong_are_checked() -> None:
    found = {name: body for one in parsed("variables.tf")["variable"] for name, body in one.items()}
    assert all(body["description"] and "type" in body for body in found.values())
    assert {name for name, body in found.items() if "validation" in body} == set(found) - {"offline", "tags"}
