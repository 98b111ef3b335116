variable "bucket" {
  description = "Name of the bucket that holds data, runs and releases."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "A bucket's name has 3 to 63 lower-case letters, digits, dots and dashes."
  }
}

variable "region" {
  description = "Region of the bucket."
  type        = string
  default     = "eu-central-1"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "A region looks like eu-central-1."
  }
}

variable "kms_key_arn" {
  description = "KMS key that encrypts the bucket; empty: keys of S3 (AES256)."
  type        = string
  default     = ""

  validation {
    condition     = var.kms_key_arn == "" || can(regex("^arn:aws[a-z-]*:kms:", var.kms_key_arn))
    error_message = "Give the ARN of a key, arn:aws:kms:…, or nothing."
  }
}

variable "noncurrent_days" {
  description = "Days after which overwritten and deleted versions go."
  type        = number
  default     = 30

  validation {
    condition     = var.noncurrent_days >= 7
    error_message = "Keep at least 7 days: versions are what a mistaken deletion is undone from."
  }
}

variable "checkpoint_days" {
  description = "Days after which checkpoints of trainings go that nobody resumed."
  type        = number
  default     = 7

  validation {
    condition     = var.checkpoint_days >= 1
    error_message = "A training that is retried must find its checkpoint: at least 1 day."
  }
}

variable "offline" {
  description = "Whether to skip what asks AWS who we are; for a plan only."
  type        = bool
  default     = false
}

variable "tags" {
  description = "Further tags of everything that is made."
  type        = map(string)
  default     = {}
}
