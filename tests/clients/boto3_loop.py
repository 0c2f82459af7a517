"""boto3 as a long-lived pod would use it: one client, and an STS call again and again until it is killed.

Usage: boto3_loop.py STS-ENDPOINT. Ends with a traceback at the first call that fails. botocore's log, where it tells of
credentials whose life it extends on its own, goes to standard error.
"""

import logging
import select
import sys

import boto3

logging.basicConfig(level=logging.INFO, stream=sys.stderr)
sts = boto3.Session(region_name="us-east-1").client("sts", endpoint_url=sys.argv[1])
while True:
    sts.get_caller_identity()
    # A pause that libfaketime, under which the tests run this, understands; it does not understand time.sleep.
    select.select([], [], [], 0.1)
