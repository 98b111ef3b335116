# Policies to attach to the roles of the service accounts: stages, promotion, Airflow, MLflow, and the teams that use releases.
# None may change the bucket itself, or remove a version for good.
locals {
  bucket = "arn:${data.aws_partition.current.partition}:s3:::${var.bucket}"
}

data "aws_partition" "current" {}

# What every stage reads and writes. Releases it reads alone; a probe is written and removed to see whether the store keeps
# two promotions apart.
data "aws_iam_policy_document" "stages" {
  statement {
    sid     = "ReadWrite"
    actions = ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    resources = [
      "${local.bucket}/data/*",
      "${local.bucket}/runs/*",
      "${local.bucket}/releases/probe/*",
      "${local.bucket}/forecasts/*",
    ]
  }

  statement {
    sid       = "ReadReleasesAndWorkloads"
    actions   = ["s3:GetObject"]
    resources = ["${local.bucket}/releases/*", "${local.bucket}/workloads/*"]
  }

  # Data and runs are tidied up; what was released, and the ledger that says so, stays.
  statement {
    sid       = "TidyUp"
    actions   = ["s3:DeleteObject"]
    resources = ["${local.bucket}/data/*", "${local.bucket}/runs/*", "${local.bucket}/releases/probe/*"]
  }

  statement {
    sid       = "List"
    actions   = ["s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads"]
    resources = [local.bucket]
  }

  dynamic "statement" {
    for_each = var.kms_key_arn == "" ? [] : [var.kms_key_arn]

    content {
      sid       = "Key"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [statement.value]
    }
  }
}

# For promotion, for commands about releases, watch, shadow and tidy, besides what stages may.
data "aws_iam_policy_document" "promotion" {
  source_policy_documents = [data.aws_iam_policy_document.stages.json]

  statement {
    sid       = "WriteReleases"
    actions   = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    resources = ["${local.bucket}/releases/*"]
  }

  # Forecasts of old nights go with their nights; no stage may unsay what was forecast.
  statement {
    sid       = "TidyForecasts"
    actions   = ["s3:DeleteObject"]
    resources = ["${local.bucket}/forecasts/*"]
  }

  # The ledger only grows: an entry is written where there is none, or not at all.
  statement {
    sid       = "AppendOnly"
    effect    = "Deny"
    actions   = ["s3:PutObject"]
    resources = ["${local.bucket}/releases/*/ledger/*"]

    condition {
      test     = "Null"
      variable = "s3:if-none-match"
      values   = ["true"]
    }
  }
}

# Airflow reads the manifests and pages of stages, and params.yaml and workloads/ where these lie below workloads/; it writes
# what operations were told.
data "aws_iam_policy_document" "airflow" {
  statement {
    sid       = "ManifestsAndWorkloads"
    actions   = ["s3:GetObject"]
    resources = ["${local.bucket}/runs/*", "${local.bucket}/workloads/*"]
  }

  # What operations were told, so that one cause is told once.
  statement {
    sid       = "Told"
    actions   = ["s3:PutObject", "s3:DeleteObject"]
    resources = ["${local.bucket}/runs/notify/*"]
  }

  statement {
    sid       = "List"
    actions   = ["s3:ListBucket"]
    resources = [local.bucket]

    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["runs/*", "workloads/*"]
    }
  }

  dynamic "statement" {
    for_each = var.kms_key_arn == "" ? [] : [var.kms_key_arn]

    content {
      sid       = "Key"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [statement.value]
    }
  }
}

data "aws_iam_policy_document" "mlflow" {
  statement {
    sid       = "Artifacts"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    resources = ["${local.bucket}/mlflow/*"]
  }

  statement {
    sid       = "List"
    actions   = ["s3:ListBucket"]
    resources = [local.bucket]

    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["mlflow", "mlflow/*"]
    }
  }

  dynamic "statement" {
    for_each = var.kms_key_arn == "" ? [] : [var.kms_key_arn]

    content {
      sid       = "Key"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [statement.value]
    }
  }
}

data "aws_iam_policy_document" "consumers" {
  statement {
    sid       = "Releases"
    actions   = ["s3:GetObject"]
    resources = ["${local.bucket}/releases/*", "${local.bucket}/forecasts/*"]
  }

  statement {
    sid       = "List"
    actions   = ["s3:ListBucket"]
    resources = [local.bucket]

    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["releases", "releases/*", "forecasts", "forecasts/*"]
    }
  }

  dynamic "statement" {
    for_each = var.kms_key_arn == "" ? [] : [var.kms_key_arn]

    content {
      sid       = "Key"
      actions   = ["kms:Decrypt"]
      resources = [statement.value]
    }
  }
}

resource "aws_iam_policy" "this" {
  for_each = {
    stages    = { text = data.aws_iam_policy_document.stages.json, what = "read and write data, runs, forecasts; read releases" }
    promotion = { text = data.aws_iam_policy_document.promotion.json, what = "write releases, besides what stages may" }
    airflow   = { text = data.aws_iam_policy_document.airflow.json, what = "read manifests of stages and workloads, keep what operations were told" }
    mlflow    = { text = data.aws_iam_policy_document.mlflow.json, what = "keep MLflow's artifacts" }
    consumers = { text = data.aws_iam_policy_document.consumers.json, what = "read releases and forecasts" }
  }

  name        = "${var.bucket}-${each.key}"
  description = "Nightstill: ${each.value.what}"
  policy      = each.value.text
}
