"""AWS's KMS, STS and a machine's metadata service as far as a helper sees them: a server on a loopback port that answers as it
is told. It encrypts nothing: a key is kept backwards."""

import base64
import email.utils
import http.server
import json
import socket
import struct
import threading
import time
import urllib.parse

ARN = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
STS = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>ASIAWEB</AccessKeyId><SecretAccessKey>web</SecretAccessKey><SessionToken>web&amp;token</SessionToken>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
STS_REFUSES = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>ExpiredTokenException</Code><Message>Token expired: current date/time must be before it</Message></Error></ErrorResponse>"""


class FakeAws:
    """`refuse` is (status, name, message) for what KMS answers with, or "silent"; `refuse_describing` is for DescribeKey alone. Decrypt
    takes `slow` seconds. So many requests to come are ended without an answer: `broken`. `seen` has each request."""

    def __init__(self):
        self.refuse = self.refuse_describing = None
        self.slow = self.broken = 0
        self.clock = 0
        self.material = "a" * 64
        self.seen = []
        self.sts = (200, STS)
        self.role = "role-of-machine"
        self._ended = threading.Event()
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def date_time_string(self, timestamp=None):
                return email.utils.formatdate(time.time() + fake.clock, usegmt=True)

            def answer(self, status, text, **headers):
                body = text.encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                fake.seen.append((dict(self.headers), body))
                if fake.broken:
                    fake.broken -= 1
                    self.close_connection = True
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                if "x-amz-target" in self.headers:
                    fake.kms(self, self.headers["x-amz-target"], json.loads(body))
                else:
                    self.answer(*fake.sts)

            def do_PUT(self):
                fake.seen.append((dict(self.headers), self.path))
                self.answer(200, "metadata-token")

            def do_GET(self):
                fake.seen.append((dict(self.headers), self.path))
                if self.headers.get("x-aws-ec2-metadata-token") != "metadata-token":
                    return self.answer(401, "")
                if self.path.endswith("/security-credentials/"):
                    return self.answer(200 if fake.role else 404, fake.role or "")
                keys = {"Code": "Success", "AccessKeyId": "ASIAROLE", "SecretAccessKey": "role", "Token": "role-token"}
                return self.answer(200, json.dumps(keys))

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def kms(self, handler, target, call):
        refuse = (self.refuse_describing if target.endswith(".DescribeKey") else None) or self.refuse
        if refuse == "silent":
            self._ended.wait(30)
            return None
        if refuse:
            status, name, message = refuse
            return handler.answer(status, json.dumps({"__type": name, "message": message}), retry_after="3")
        if target.endswith(".DescribeKey"):
            return handler.answer(200, json.dumps({"KeyMetadata": {"KeyId": ARN, "CurrentKeyMaterialId": self.material}}))
        if target.endswith(".Encrypt"):
            kept = [call["Plaintext"][::-1], call["EncryptionContext"], self.material]
            blob = base64.b64encode(json.dumps(kept).encode()).decode()
            return handler.answer(200, json.dumps({"CiphertextBlob": blob, "KeyId": ARN}))
        self._ended.wait(self.slow)
        try:
            plain, context, material = json.loads(base64.b64decode(call["CiphertextBlob"]))
        except ValueError:
            context = None
        if context != call["EncryptionContext"]:
            return handler.answer(400, json.dumps({"__type": "InvalidCiphertextException", "message": None}))
        return handler.answer(200, json.dumps({"Plaintext": plain[::-1], "KeyId": ARN, "KeyMaterialId": material}))

    def access_keys(self):
        """Those that the requests to KMS were signed for, with their sessions' tokens."""
        kms = [headers for headers, _ in self.seen if "x-amz-target" in headers]
        keys = [(headers["authorization"].split("Credential=")[1].split("/")[0], headers.get("x-amz-security-token")) for headers in kms]
        return list(dict.fromkeys(keys))

    def form(self):
        """What STS was asked."""
        (body,) = [body for headers, body in self.seen if headers.get("content-type", "").endswith("urlencoded")]
        return {name: value for name, (value,) in urllib.parse.parse_qs(body).items()}

    def close(self):
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
