// The AWS SDK for JavaScript v3 as a long-lived pod would use it: one client, and an STS call again and again until it
// is killed.
//
// Usage: js_loop.mjs STS-ENDPOINT. Ends with a stack trace at the first call that fails.

import { createRequire } from "node:module";
import { setTimeout } from "node:timers/promises";

// The SDK is installed in the test cache, not beside this file, and `import` does not look at NODE_PATH.
const require = createRequire(`${process.env.KIAM_TEST_NODE_MODULES}/`);
const { STSClient, GetCallerIdentityCommand } = require("@aws-sdk/client-sts");

const sts = new STSClient({ region: "us-east-1", endpoint: process.argv[2] });
for (;;) {
  await sts.send(new GetCallerIdentityCommand({}));
  await setTimeout(100);
}
