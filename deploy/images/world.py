"""What the programs of the images find around them when `check` runs them: names, a Kubernetes with one pod, an STS.

All of it is in one network namespace, on its loopback, at the addresses and ports that it has in a cluster.
"""

import fcntl
import http.server
import json
import socket
import ssl
import struct
import threading
import time

STS = "sts.eu-west-1.amazonaws.com"
KUBERNETES = "kubernetes.default.svc"
# What DNS knows. It is at the resolver's own default address, so that no /etc/resolv.conf is needed.
NAMES = [STS, KUBERNETES]
POD = "127.0.0.9"
ROLE = "reader"
ACCESS_KEY = "ASIAIMAGES0000000000"

ANNOTATIONS = {"iam.amazonaws.com/role": ROLE}
PODS = [
    {
        "metadata": {"name": "reader", "namespace": "team", "uid": "1", "annotations": ANNOTATIONS},
        "spec": {"nodeName": "node", "containers": []},
        "status": {"phase": "Running", "podIP": POD, "podIPs": [{"ip": POD}]},
    }
]
NAMESPACES = [{"metadata": {"name": "team", "uid": "2", "annotations": {"iam.amazonaws.com/permitted": ".*"}}}]

CREDENTIALS = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/reader/kiam</Arn><AssumedRoleId>AROA:kiam</AssumedRoleId>
</AssumedRoleUser><Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>not-secret</SecretAccessKey>
<SessionToken>token</SessionToken><Expiration>{end}</Expiration></Credentials></AssumeRoleResult>
<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></AssumeRoleResponse>"""


def start(certificate: str, key: str) -> None:
    """Answers from now on, in threads that end with the program. Needs a network namespace of its own."""
    loopback_up()
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", 53))
    threading.Thread(target=answer_names, args=[names], daemon=True).start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 443), Web)
    web.socket = context.wrap_socket(web.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=web.serve_forever, daemon=True).start()


def loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        set_flags, up = 0x8914, 1
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sH14x", b"lo", up))


def answer_names(names: socket.socket) -> None:
    """DNS: 127.0.0.1 for the names that it knows, and no other address."""
    while True:
        query, sender = names.recvfrom(512)
        end = query.index(b"\0", 12) + 5
        name, kind = labels(query[12:end]), struct.unpack("!H", query[end - 4 : end - 2])[0]
        known = name in NAMES
        found = known and kind == 1
        header = query[:2] + struct.pack("!HHHHH", 0x8180 if known else 0x8183, 1, int(found), 0, 0)
        answer = b"\xc0\x0c" + struct.pack("!HHIH4B", 1, 1, 60, 4, 127, 0, 0, 1)
        names.sendto(header + query[12:end] + (answer if found else b""), sender)


def labels(question: bytes) -> str:
    found, rest = [], question
    while rest[0]:
        found.append(rest[1 : 1 + rest[0]].decode())
        rest = rest[1 + rest[0] :]
    return ".".join(found).lower()


class Web(http.server.BaseHTTPRequestHandler):
    """Kubernetes, where nothing ever changes, and STS, which gives every role."""

    def do_GET(self) -> None:
        lists = {"/api/v1/pods": ("PodList", PODS), "/api/v1/namespaces": ("NamespaceList", NAMESPACES)}
        path, _, query = self.path.partition("?")
        if path not in lists:
            return self.send_error(404)
        if "watch=" in query:
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            threading.Event().wait()
        kind, items = lists[path]
        listed = {"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items}
        self.say("application/json", json.dumps(listed))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Host"] != STS:
            return self.send_error(404)
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        self.say("text/xml", CREDENTIALS.format(key=ACCESS_KEY, end=end))

    def say(self, kind: str, body: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_) -> None:
        """What goes wrong is in the programs' logs."""
