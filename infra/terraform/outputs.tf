output "bucket" {
  description = "The bucket's name."
  value       = aws_s3_bucket.store.id
}

output "settings" {
  description = "What Airflow and the stages are told of it."
  value = {
    NIGHTSTILL_RUN_STORE     = "s3://${var.bucket}/runs"
    NIGHTSTILL_RELEASE_STORE = "s3://${var.bucket}/releases"
    NIGHTSTILL_DVC_REMOTE    = "s3://${var.bucket}/data"
    NIGHTSTILL_FORECASTS     = "s3://${var.bucket}/forecasts"
    AWS_DEFAULT_REGION       = var.region
  }
}

output "policies" {
  description = "ARNs of the policies, by who needs them."
  value       = { for who, policy in aws_iam_policy.this : who => policy.arn }
}
