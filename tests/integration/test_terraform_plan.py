"""Terraform on infra/terraform: its format, its validity, and the plan for an account that there is none of."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "infra" / "terraform"
TERRAFORM = shutil.which("terraform")
Terraform = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.skipif(TERRAFORM is None, reason="terraform is not installed")


@pytest.fixture(scope="module")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """Runs terraform in a copy whose state is a file, without anybody's credentials."""
    folder = tmp_path_factory.mktemp("terraform")
    for path in FOLDER.glob("*.tf"):
        shutil.copy(path, folder)
    (folder / "backend_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = {**ours, "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "TF_IN_AUTOMATION": "1"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(TERRAFORM), *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    done = run("init", "-input=false", "-no-color")
    if "Failed to query available provider packages" in done.stderr:
        pytest.skip("no registry of providers is reached; TF_CLI_ARGS_init=-plugin-dir=… names a folder of them")
    assert done.returncode == 0, done.stdout + done.stderr
    return run


def plan(terraform: Terraform, *variables: str) -> subprocess.CompletedProcess[str]:
    told = [part for variable in ("offline=true", *variables) for part in ("-var", variable)]
    return terraform("plan", "-input=false", "-no-color", "-out=plan", *told)


@pytest.fixture(scope="module")
def planned(terraform: Terraform) -> dict[str, Any]:
    """What would be made, by address."""
    done = plan(terraform, "bucket=nightstill-test")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(terraform("show", "-json", "plan").stdout)["planned_values"]["root_module"]["resources"]
    return {one["address"]: one["values"] for one in found if one["mode"] == "managed"}


def test_files_are_formatted() -> None:
    assert TERRAFORM is not None
    done = subprocess.run(
        [TERRAFORM, "fmt", "-check", "-recursive", str(FOLDER)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_they_are_valid(terraform: Terraform) -> None:
    done = terraform("validate", "-no-color")
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_would_be_made(planned: dict[str, Any]) -> None:
    kinds = sorted(address.partition(".")[0] for address in planned)
    assert kinds == sorted(
        [
            *5 * ["aws_iam_policy"],
            "aws_s3_bucket",
            "aws_s3_bucket_lifecycle_configuration",
            "aws_s3_bucket_ownership_controls",
            "aws_s3_bucket_policy",
            "aws_s3_bucket_public_access_block",
            "aws_s3_bucket_server_side_encryption_configuration",
            "aws_s3_bucket_versioning",
        ]
    )


def test_policies_as_aws_would_read_them(planned: dict[str, Any]) -> None:
    stages = json.loads(planned['aws_iam_policy.this["stages"]']["policy"])["Statement"]
    removing = [one for one in stages if "s3:DeleteObject" in one["Action"]]
    store = "arn:aws:s3:::nightstill-test"
    assert [sorted(one["Resource"]) for one in removing] == [
        [f"{store}/data/*", f"{store}/releases/probe/*", f"{store}/runs/*"]
    ]
    writing = [one for one in stages if "s3:PutObject" in one["Action"]]
    releases = [name for one in writing for name in one["Resource"] if "/releases/" in name]
    assert releases == [f"{store}/releases/probe/*"], "a stage that trains must not be able to release"
    promotion = json.loads(planned['aws_iam_policy.this["promotion"]']["policy"])["Statement"]
    assert any(
        one["Effect"] == "Allow" and one["Resource"] == f"{store}/releases/*" and "s3:PutObject" in one["Action"]
        for one in promotion
    )
    (append_only,) = (one for one in promotion if one["Effect"] == "Deny")
    assert append_only["Resource"] == f"{store}/releases/*/ledger/*"
    assert not any("s3:DeleteObject" in one["Action"] and f"{store}/releases/*" in one["Resource"] for one in promotion)
    consumers = json.loads(planned['aws_iam_policy.this["consumers"]']["policy"])["Statement"]
    read, listed = sorted(consumers, key=lambda one: str(one["Action"]))
    assert (read["Action"], sorted(read["Resource"])) == (
        "s3:GetObject",
        [f"{store}/forecasts/*", f"{store}/releases/*"],
    )
    assert (listed["Action"], listed["Resource"]) == ("s3:ListBucket", store)
    (tls,) = json.loads(planned["aws_s3_bucket_policy.store"]["policy"])["Statement"]
    assert tls["Effect"] == "Deny" and tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_variables_that_are_wrong_plan_nothing(terraform: Terraform) -> None:
    wrong = {
        "bucket=Night_Still": "A bucket's name has",
        "region=Frankfurt": "A region looks like",
        "kms_key_arn=alias/key": "Give the ARN of a key",
        "noncurrent_days=1": "Keep at least 7 days",
        "checkpoint_days=0": "at least 1 day",
    }
    done = plan(terraform, *wrong)
    said = " ".join(done.stderr.split())
    assert done.returncode != 0 and [text for text in wrong.values() if text not in said] == []
