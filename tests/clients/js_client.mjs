// The AWS SDK for JavaScript v3 as a pod would use it: no configuration, the default chain, one STS call.
//
// Usage: js_client.mjs STS-ENDPOINT. Prints one JSON line; exit 3 when the chain finds no credentials.
// All clients in this directory keep the same contract, described in aws_cli.sh.

import { createRequire } from "node:module";

// The SDK is installed in the test cache, not beside this file, and `import` does not look at NODE_PATH.
const require = createRequire(`${process.env.KIAM_TEST_NODE_MODULES}/`);
const { STSClient, GetCallerIdentityCommand } = require("@aws-sdk/client-sts");

const sts = new STSClient({ region: "us-east-1", endpoint: process.argv[2] });

let credentials;
try {
  credentials = await sts.config.credentials();
} catch (error) {
  console.log(JSON.stringify({ error: `${error.name}: ${error.message}` }));
  process.exit(3);
}

const identity = await sts.send(new GetCallerIdentityCommand({}));
console.log(
  JSON.stringify({
    access_key_id: credentials.accessKeyId,
    secret_access_key: credentials.secretAccessKey,
    token: credentials.sessionToken,
    expiration: credentials.expiration?.toISOString().replace(".000Z", "Z"),
    caller_arn: identity.Arn,
  }),
);
