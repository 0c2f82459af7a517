"""boto3 as a pod would use it: no configuration, the default chain, one STS call.

Usage: boto3_client.py STS-ENDPOINT. Prints one JSON line; exit 3 when the chain finds no credentials.
All clients in this directory keep the same contract, described in aws_cli.sh.
"""

import json
import sys

import boto3

session = boto3.Session(region_name="us-east-1")
try:
    credentials = session.get_credentials()
except Exception as error:  # what goes wrong in the chain is the answer the tests want to see
    print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
    sys.exit(3)
if credentials is None:
    print(json.dumps({"error": "Unable to locate credentials"}))
    sys.exit(3)

# botocore has no public name for the expiry; credentials that cannot expire have none at all.
expiry = getattr(credentials, "_expiry_time", None)
identity = session.client("sts", endpoint_url=sys.argv[1]).get_caller_identity()
frozen = credentials.get_frozen_credentials()
print(
    json.dumps(
        {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expiration": expiry and expiry.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "caller_arn": identity["Arn"],
            # `iam-role` is botocore's name for the instance metadata service.
            "method": credentials.method,
        }
    )
)
