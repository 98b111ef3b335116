terraform {
  required_version = ">= 1.6"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.80"
    }
  }

  # State holds no secrets of ours, yet belongs to the team: `terraform init -backend-config=…`.
  backend "s3" {}
}

provider "aws" {
  region = var.region

  # For a plan without an account, as the tests make one.
  skip_credentials_validation = var.offline
  skip_requesting_account_id  = var.offline
  skip_metadata_api_check     = var.offline

  default_tags {
    tags = merge({ application = "nightstill" }, var.tags)
  }
}
