"""The helper of AWS KMS against a double of AWS: whose credentials it takes, where it goes, and how it tells what is refused.
LocalStack's KMS and rekeyfs' own are asked by tests of mounts."""

import base64
import json
import socket
import time
import unittest

from fake_aws import ARN, STS_REFUSES, FakeAws
from test_helpers import SECRET, VAULT, HelperTest


class AwsKms(HelperTest):
    name = "aws-kms"
    params = {"key": ARN}

    def setUp(self):
        super().setUp()
        self.aws = FakeAws()
        self.addCleanup(self.aws.close)
        self.allowed = {"endpoint": [self.aws.url]}
        self.environment = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}

    def unwrap(self, **more):
        return self.ask("unwrap", self.params, self.allowed, **{"blob": self.blob(), **more})

    def blob(self):
        kept = [SECRET[::-1], VAULT, self.aws.material]
        return base64.b64encode(json.dumps(kept).encode()).decode()

    def profile(self, text, name="credentials"):
        path = self.dir / name
        path.write_text(text)
        self.environment = {}
        self.allowed["file"] = [*self.allowed.get("file", []), str(path)]

    def test_an_alias_becomes_the_arn_and_the_context_is_kmss(self):
        wrapped = self.ask("wrap", {"key": "alias/vault"}, {**self.allowed, "region": ["eu-central-1"]}, secret=SECRET)
        self.assertEqual((wrapped["params"], wrapped["version"]), ({"key": ARN}, "a" * 64))
        calls = [json.loads(body) for _, body in self.aws.seen]
        self.assertEqual([call["KeyId"] for call in calls], ["alias/vault", ARN])
        self.assertTrue(all(call["EncryptionContext"] == VAULT for call in calls))
        self.assertEqual(self.ask("unwrap", wrapped["params"], self.allowed, blob=wrapped["blob"], version=wrapped["version"]), {"v": 1, "secret": SECRET})

    def test_a_rotated_key_has_the_slot_wrapped_anew(self):
        old = self.blob()
        self.assertEqual(self.unwrap(), {"v": 1, "secret": SECRET})
        self.aws.material = "b" * 64
        self.assertSeesRotation(old)

    def assertSeesRotation(self, blob):
        """DescribeKey has a second: on a busy machine it answers in time one of several times."""

        def seen():
            answer = self.unwrap(blob=blob)
            self.assertEqual(answer, {"v": 1, "secret": SECRET, **({"rewrap": True} if "rewrap" in answer else {})})
            return "rewrap" in answer

        self.assertTrue(any(seen() for _ in range(8)))

    def test_a_key_is_given_at_once_though_nobody_says_whether_it_was_rotated(self):
        old = self.blob()
        self.aws.material = "b" * 64
        for refuse, least in (("silent", 0.5), ((400, "AccessDeniedException", "not authorized to perform: kms:DescribeKey"), 0)):
            with self.subTest(refuse):
                self.aws.refuse_describing = refuse

                def at_once(least=least):
                    began = time.monotonic()
                    self.assertEqual(self.unwrap(blob=old), {"v": 1, "secret": SECRET})
                    took = time.monotonic() - began
                    self.assertGreater(took, least)
                    return took < 3

                # On a busy machine one of several times.
                self.assertTrue(any(at_once() for _ in range(8)))
        # Decrypting has the time that it had.
        self.aws.refuse_describing, self.aws.slow = None, 2
        self.assertSeesRotation(old)

    def test_each_refusal_has_its_kind_and_kmss_words(self):
        for refuse, kind, words in [
            ((400, "DisabledException", f"{ARN} is disabled."), "disabled", "is disabled"),
            ((400, "KMSInvalidStateException", f"{ARN} is pending deletion."), "disabled", "pending deletion"),
            ((400, "AccessDeniedException", "User is not authorized to perform: kms:Decrypt"), "denied", "not authorized"),
            ((400, "IncorrectKeyException", "The key ID in the request does not identify"), "damaged", "IncorrectKey"),
            ((400, "ExpiredTokenException", "The security token included in the request is expired"), "denied", "expired"),
            ((400, "NotFoundException", "Key does not exist"), "not-found", "does not exist"),
            ((400, "ThrottlingException", "Rate exceeded"), "busy", "Rate exceeded"),
            ((503, "", ""), "busy", "status 503"),
            ((200, "x", "y"), "damaged", "another key"),
        ]:  # fmt: skip
            with self.subTest(refuse):
                self.aws.refuse = refuse
                refused = self.unwrap()
                self.assertRefused(kind, refused, words)
                self.assertEqual(refused["error"].get("retry_after_ms"), 3000 if kind == "busy" else None)

    def test_a_clock_that_is_off_is_said_to_be(self):
        self.aws.clock, self.aws.refuse = 7200, (400, "InvalidSignatureException", "Signature expired: 20150830T123600Z is now earlier than …")
        self.assertRefused("denied", self.unwrap(), "this host's clock is -7")

    def test_a_server_that_is_not_there_or_says_nothing_is_offline(self):
        self.aws.refuse = "silent"

        def in_time():
            began = time.monotonic()
            self.assertRefused("offline", self.unwrap(), "doesn't answer in time")
            return time.monotonic() - began < 9.5

        # Before rekeyfs ends it; on a busy machine one of several times.
        self.assertTrue(any(in_time() for _ in range(4)))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.allowed = {"endpoint": [f"http://127.0.0.1:{free.getsockname()[1]}"]}
        self.assertRefused("offline", self.unwrap(), "127.0.0.1")

    def test_a_connection_that_is_reset_is_made_once_more(self):
        blob = self.blob()
        self.aws.broken = 1
        self.assertEqual(self.unwrap(blob=blob), {"v": 1, "secret": SECRET})
        self.aws.broken = 2
        self.assertRefused("offline", self.unwrap(blob=blob), "127.0.0.1")

    def test_a_proxy_gets_nothing_that_has_no_tls(self):
        with socket.create_server(("127.0.0.1", 0)) as proxy:
            proxy.settimeout(0.1)
            at = f"http://127.0.0.1:{proxy.getsockname()[1]}"
            self.environment |= {"ALL_PROXY": at, "HTTPS_PROXY": at, "HTTP_PROXY": at}
            self.assertEqual(self.unwrap(), {"v": 1, "secret": SECRET})
            self.assertRaises(TimeoutError, proxy.accept)

    def test_nothing_goes_where_the_list_does_not_lead(self):
        self.assertRefused("not-allowed", self.ask("unwrap", self.params, {**self.allowed, "region": ["us-east-1"]}, blob=self.blob()), "region=eu-central-1")
        for params in ({"key": "alias/vault"}, {"key": ARN.replace(":key/", ":alias/")}):
            self.assertRefused("damaged", self.ask("unwrap", params, {**self.allowed, "region": ["eu-central-1"]}, blob=self.blob()), "by its ARN")
        for key in ("arn:aws:kms:evil.example.org/:1:key/1", "http://evil.example.org", "arn:aws:kms:a@b:1:key/1"):
            self.assertRefused("not-found", self.ask("unwrap", {"key": key}, self.allowed, blob=self.blob()), "by its ARN")
        self.assertRefused("not-allowed", self.ask("unwrap", self.params, {"endpoint": ["http://192.0.2.1"]}, blob=self.blob()), "no TLS")
        self.assertEqual(self.aws.seen, [])

    # -- credentials --

    def test_credentials_of_variables_are_used_with_their_session(self):
        self.environment["AWS_SESSION_TOKEN"] = "token"
        self.unwrap()
        self.assertEqual(self.aws.access_keys(), [("AKIDEXAMPLE", "token")])
        del self.environment["AWS_SECRET_ACCESS_KEY"]
        self.assertRefused("denied", self.unwrap(), "without AWS_SECRET_ACCESS_KEY")

    def test_credentials_of_a_profile_are_used(self):
        self.profile("[default]\naws_access_key_id = AKIDFILE\naws_secret_access_key = a#b\n[two]\naws_access_key_id=AKIDTWO\naws_secret_access_key=x\n")
        self.unwrap()
        self.environment["AWS_PROFILE"] = "two"
        self.unwrap()
        self.assertEqual(self.aws.access_keys(), [("AKIDFILE", None), ("AKIDTWO", None)])
        self.environment["AWS_PROFILE"] = "three"
        self.assertRefused("not-found", self.unwrap(), "three")

    def test_a_program_that_prints_credentials_runs_if_the_list_has_it(self):
        program = self.dir / "credentials-of-mine"
        program.write_text('#!/bin/sh\necho "{\\"Version\\":1,\\"AccessKeyId\\":\\"$1\\",\\"SecretAccessKey\\":\\"x\\",\\"SessionToken\\":\\"t\\"}"; touch "$0.ran"\n')
        program.chmod(0o755)
        self.profile(f"[default]\ncredential_process = {program} 'AKID PROCESS'\n")
        self.assertRefused("not-allowed", self.unwrap(), f"plugin={program}")
        self.assertFalse((self.dir / "credentials-of-mine.ran").exists())
        self.allowed["plugin"] = [str(program)]
        self.unwrap()
        self.assertEqual(self.aws.access_keys(), [("AKID PROCESS", "t")])
        program.write_text("#!/bin/sh\necho it is locked >&2; exit 1\n")
        self.assertRefused("denied", self.unwrap(), "it is locked")

    def test_a_token_of_an_identity_is_changed_into_credentials_by_sts(self):
        (self.dir / "token").write_text("a.b/c+d\n")
        role = "arn:aws:iam::111122223333:role/vaults"
        self.environment = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(self.dir / "token"), "AWS_ROLE_ARN": role, "AWS_ENDPOINT_URL_STS": self.aws.url}
        self.assertEqual(self.unwrap(), {"v": 1, "secret": SECRET})
        self.assertEqual(self.aws.access_keys(), [("ASIAWEB", "web&token")])
        form = self.aws.form()
        self.assertEqual((form["Action"], form["RoleArn"], form["WebIdentityToken"]), ("AssumeRoleWithWebIdentity", role, "a.b/c+d"))
        self.aws.sts = (400, STS_REFUSES)
        self.assertRefused("denied", self.unwrap(), "Token expired")
        (self.dir / "token").unlink()
        self.assertRefused("denied", self.unwrap(), "the token")

    def test_the_role_of_the_machine_is_the_last_that_is_tried(self):
        self.environment = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": self.aws.url}
        self.assertEqual(self.unwrap(), {"v": 1, "secret": SECRET})
        self.assertEqual(self.aws.access_keys(), [("ASIAROLE", "role-token")])
        self.aws.role = None
        self.assertRefused("denied", self.unwrap(), "there are no credentials")
        self.environment["AWS_EC2_METADATA_DISABLED"] = "true"
        self.assertRefused("denied", self.unwrap(), "isn't asked")
        self.environment = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://192.0.2.1"}
        self.assertRefused("not-allowed", self.unwrap(), "192.0.2.1")

    def test_it_keeps_to_the_protocol(self):
        self.profile("[default]\naws_access_key_id = AKIDFILE\naws_secret_access_key = x\n")
        self.assertKeepsToTheProtocol(self.params, self.allowed)


if __name__ == "__main__":
    unittest.main()
