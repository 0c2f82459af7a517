#!/usr/bin/env bash
# The AWS CLI as a pod would use it: no configuration, the default chain, one STS call.
#
# Usage: aws_cli.sh STS-ENDPOINT. Every client in this directory keeps the same contract:
#
# - The caller empties the environment, points HOME at an empty directory and sets
#   AWS_EC2_METADATA_SERVICE_ENDPOINT, nothing else of AWS's. (Besides PATH: KIAM_TEST_AWS_CLI here,
#   KIAM_TEST_NODE_MODULES for js_client.mjs.) Note that `tests/run` exports
#   AWS_EC2_METADATA_DISABLED=true, with which no client would ask anybody.
# - It prints one JSON line: access_key_id, secret_access_key, token, expiration (UTC, whole seconds), and
#   caller_arn, what the STS at STS-ENDPOINT says these credentials are. `method` is the SDK's own word for
#   where it found them, where it has one: `iam-role` is the instance metadata service.
# - Without credentials it prints {"error": "…"} and exits 3. Any other failure exits otherwise.
#
# The CLI of PyPI (version 1; version 2 is not there) has no command that shows the credentials it uses, so
# from it come caller_arn and method only.
set -euo pipefail

aws=${KIAM_TEST_AWS_CLI:-aws}

errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
if ! arn=$("$aws" sts get-caller-identity --region us-east-1 --endpoint-url "$1" \
    --query Arn --output text 2>"$errors"); then
    cat "$errors" >&2
    grep -q 'Unable to locate credentials' "$errors" || exit 1
    printf '{"error": "Unable to locate credentials"}\n'
    exit 3
fi
method=$("$aws" configure list | awk '$1 == "access_key" { print $3 }')
printf '{"caller_arn": "%s", "method": "%s"}\n' "$arn" "$method"
