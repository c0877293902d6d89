"""AWS's own clients on an endpoint of `rekeyfs kms serve`: run by test_kms_serve.py, with a Python that has the aws command
and boto3 (scripts/oracle.sh makes it). The environment has endpoint and credentials."""

import json
import os
import pathlib
import sys
import time
import unittest

import aws_encryption_sdk
import boto3
from awscli.clidriver import create_clidriver

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.append(str(TESTS / "oracle"))

from systems import aws  # noqa: E402

DOCUMENTS = TESTS / "kms"
ARN = f"arn:aws:kms:{os.environ['AWS_DEFAULT_REGION']}:{os.environ['TEST_ACCOUNT']}:"


def client(**kw):
    return boto3.client("kms", **kw)


class Documents(unittest.TestCase):
    """The commands of both of AWS's documents, as they stand there, with ids that exist."""

    driver = create_clidriver()

    def aws(self, line):
        """The output of an `aws` command, or of one piped into grep."""
        command, _, wanted = line.partition(" | grep ")
        words = command.split()
        self.assertEqual(words[0], "aws")
        done = aws(self.driver, words[1:])
        self.assertEqual(done.status, 0, f"{line}: {done}")
        return "".join(row for row in done.out.splitlines(True) if wanted in row)

    def lines(self, name):
        return [row for row in (DOCUMENTS / name).read_text().splitlines() if not row.startswith("#")]

    def test_manual_rotation(self):
        kms = client()
        old = kms.create_key()["KeyMetadata"]["KeyId"]
        ids = {"0987dcba-09fe-87dc-65ba-ab0987654321": old}
        seen = []
        for line in self.lines("manual-rotation.txt"):
            for theirs, ours in ids.items():
                line = line.replace(theirs, ours)
            printed = self.aws(line)
            if "create-key" in line:
                ids["NEW_KMS_KEY_ID"] = kms.list_keys()["Keys"][-1]["KeyId"]
                self.assertIn(f'"Arn": "{ARN}key/{ids["NEW_KMS_KEY_ID"]}"', printed)
                self.assertIn(f'"AWSAccountId": "{os.environ["TEST_ACCOUNT"]}"', printed)
            elif "grep" in line:
                seen.append([row.split("\t") for row in printed.splitlines()])
            else:
                self.assertEqual(printed, "", line)

        def row(alias, key):
            return ["ALIASES", f"{ARN}alias/{alias}", f"alias/{alias}", key]

        # The aws command of version 2 and a later one of version 1 print the dates too.
        seen = [[[row[0], row[1], row[2], row[-1]] for row in rows] for rows in seen]
        self.assertEqual(seen, [
            [row("application-current", old)],
            [row("application-20180606", old), row("application-current", old)],
            [row("application-20180606", old), row("application-current", ids["NEW_KMS_KEY_ID"])],
        ])  # fmt: skip

    def test_automatic_rotation(self):
        kms = client()
        key, other = (kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(2))
        kms.create_alias(AliasName="alias/TestCMK", TargetKeyId=key)
        printed = []
        for line in self.lines("automatic-rotation.txt"):
            line = line.replace("1234abcd-12ab-34cd-56ef-1234567890ab", key)
            printed.append(self.aws(line.replace("0987dcba-09fe-87dc-65ba-ab0987654321", other)))
        self.assertIn('"KeyRotationEnabled": true', printed[1])
        self.assertIn('"KeyRotationEnabled": false', printed[3])
        self.assertIn(f'"TargetKeyId": "{key}"', printed[4])
        self.assertNotIn(f'"TargetKeyId": "{key}"', printed[6])
        self.assertIn(f'"TargetKeyId": "{other}"', printed[6])


class Boto3(unittest.TestCase):
    """boto3's paginators, models and exceptions."""

    def test_paginators_meet_each_item_once(self):
        kms = client()
        made = {kms.create_key(Tags=[{"TagKey": "n", "TagValue": str(n)}])["KeyMetadata"]["KeyId"] for n in range(5)}
        for key in made:
            kms.create_alias(AliasName=f"alias/pages-{key}", TargetKeyId=key)
        listed = [item["KeyId"] for page in kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2})
                  for item in page["Keys"]]  # fmt: skip
        self.assertEqual(len(listed), len(set(listed)))
        self.assertLessEqual(made, set(listed))
        pages = list(kms.get_paginator("list_aliases").paginate(PaginationConfig={"PageSize": 3}))
        self.assertGreater(len(pages), 1)
        names = [item["AliasName"] for page in pages for item in page["Aliases"]]
        self.assertEqual(len([name for name in names if name.startswith("alias/pages-")]), 5)
        key = min(made)
        kms.rotate_key_on_demand(KeyId=key)
        rotations = kms.get_paginator("list_key_rotations").paginate(KeyId=key).build_full_result()["Rotations"]
        self.assertEqual([rotation["RotationType"] for rotation in rotations], ["ON_DEMAND"])
        self.assertEqual(kms.get_paginator("list_resource_tags").paginate(KeyId=key).build_full_result()["Tags"][0]["TagKey"], "n")
        self.assertEqual(kms.get_paginator("list_key_policies").paginate(KeyId=key).build_full_result()["PolicyNames"], ["default"])

    def test_a_key_from_its_making_to_its_deletion(self):
        kms = client()
        made = kms.create_key(Description="töst \u2028 \"x\"")["KeyMetadata"]
        key, arn = made["KeyId"], made["Arn"]
        self.assertEqual(arn, f"{ARN}key/{key}")
        self.assertEqual(made["Description"], "töst \u2028 \"x\"")
        # A time, of the last minute.
        self.assertLess(abs(made["CreationDate"].timestamp() - time.time()), 60)
        # By its ARN and by those of its alias, as clients that took them from answers do.
        kms.create_alias(AliasName="alias/whole", TargetKeyId=arn)
        alias = next(item for item in kms.list_aliases(KeyId=arn)["Aliases"])
        self.assertEqual(alias["AliasArn"], f"{ARN}alias/whole")
        for name in (key, arn, "alias/whole", alias["AliasArn"]):
            self.assertEqual(kms.describe_key(KeyId=name)["KeyMetadata"]["Arn"], arn)
        kms.enable_key_rotation(KeyId=arn, RotationPeriodInDays=90)
        self.assertEqual(kms.get_key_rotation_status(KeyId=arn)["RotationPeriodInDays"], 90)
        kms.tag_resource(KeyId=arn, Tags=[{"TagKey": "a", "TagValue": "b"}])
        kms.tag_resource(KeyId=arn, Tags=[{"TagKey": "a", "TagValue": "b"}])
        self.assertEqual(kms.list_resource_tags(KeyId=arn)["Tags"], [{"TagKey": "a", "TagValue": "b"}])
        kms.untag_resource(KeyId=arn, TagKeys=["a"])
        policy = kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"]
        kms.put_key_policy(KeyId=key, PolicyName="default", Policy=policy)
        self.assertEqual(kms.get_key_policy(KeyId=key)["Policy"], policy)
        kms.update_key_description(KeyId=arn, Description="other")
        kms.disable_key(KeyId=arn)
        kms.disable_key(KeyId=arn)
        self.assertEqual(kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"], "Disabled")
        kms.enable_key(KeyId=arn)
        kms.delete_alias(AliasName="alias/whole")
        scheduled = kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)
        self.assertEqual((scheduled["KeyId"], scheduled["KeyState"]), (arn, "PendingDeletion"))
        with self.assertRaises(kms.exceptions.KMSInvalidStateException):
            kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)
        self.assertEqual(kms.cancel_key_deletion(KeyId=arn)["KeyId"], arn)

    def test_the_calls_of_terraforms_aws_kms_key_find_what_they_stored(self):
        # What its aws provider asks when it makes a key, looks at it again, changes it and destroys it. A field that is missing or
        # another than was stored has it make the key again.
        kms, names = client(), []
        policy = json.dumps({"Version": "2012-10-17", "Id": "key-default-1", "Statement": [{
            "Sid": "Enable IAM User Permissions", "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{os.environ['TEST_ACCOUNT']}:root"},
            "Action": "kms:*", "Resource": "*"}]})  # fmt: skip
        tags = [{"TagKey": "Name", "TagValue": "b"}, {"TagKey": "env", "TagValue": "a"}]
        made = kms.create_key(Description="d", KeyUsage="ENCRYPT_DECRYPT", KeySpec="SYMMETRIC_DEFAULT", MultiRegion=False,
                              BypassPolicyLockoutSafetyCheck=False, Policy=policy, Tags=tags)["KeyMetadata"]  # fmt: skip
        key = made["KeyId"]
        kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=180)
        for _ in range(2):
            found = kms.describe_key(KeyId=key)["KeyMetadata"]
            self.assertEqual({name: found[name] for name in ("Arn", "CustomerMasterKeySpec", "KeySpec", "KeyUsage", "MultiRegion", "Enabled")},
                             {"Arn": made["Arn"], "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT", "KeySpec": "SYMMETRIC_DEFAULT",
                              "KeyUsage": "ENCRYPT_DECRYPT", "MultiRegion": False, "Enabled": True})  # fmt: skip
            self.assertEqual(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"], policy)
            rotation = kms.get_key_rotation_status(KeyId=key)
            self.assertEqual((rotation["KeyRotationEnabled"], rotation["RotationPeriodInDays"]), (True, 180))
            self.assertCountEqual(kms.list_resource_tags(KeyId=key)["Tags"], tags)
            kms.put_key_policy(KeyId=key, PolicyName="default", Policy=policy, BypassPolicyLockoutSafetyCheck=False)
        for name in ("alias/terraform", "alias/terraform-2"):
            kms.create_alias(AliasName=name, TargetKeyId=key)
            names += [alias["AliasName"] for page in kms.get_paginator("list_aliases").paginate() for alias in page["Aliases"]
                      if alias["AliasArn"] == f"{ARN}{name}" and alias["TargetKeyId"] == key]  # fmt: skip
            kms.delete_alias(AliasName=name)
        self.assertEqual(names, ["alias/terraform", "alias/terraform-2"])
        kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
        self.assertEqual(kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"], "PendingDeletion")

    def test_refusals_are_typed_exceptions(self):
        kms = client()
        key = kms.create_key()["KeyMetadata"]["KeyId"]
        kms.create_alias(AliasName="alias/taken", TargetKeyId=key)
        gone = "00000000-1111-2222-3333-444444444444"
        for name, call, arguments in [
            ("NotFoundException", kms.describe_key, {"KeyId": gone}),
            ("NotFoundException", kms.describe_key, {"KeyId": f"{ARN}key/{gone}"}),
            ("NotFoundException", kms.describe_key, {"KeyId": f"arn:aws:kms:xx-other-1:000000000000:key/{key}"}),
            ("AlreadyExistsException", kms.create_alias, {"AliasName": "alias/taken", "TargetKeyId": key}),
            ("InvalidAliasNameException", kms.create_alias, {"AliasName": "alias/aws/x", "TargetKeyId": key}),
            ("MalformedPolicyDocumentException", kms.put_key_policy, {"KeyId": key, "PolicyName": "default", "Policy": "{"}),
            ("InvalidMarkerException", kms.list_keys, {"Marker": "none"}),
            ("UnsupportedOperationException", kms.create_grant, {"KeyId": key, "GranteePrincipal": "x", "Operations": ["Decrypt"]}),
            ("UnsupportedOperationException", kms.list_grants, {"KeyId": key}),
            ("UnsupportedOperationException", kms.create_key, {"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"}),
        ]:  # fmt: skip
            with self.subTest(call=call.__name__, arguments=arguments):
                with self.assertRaises(getattr(kms.exceptions, name)) as refused:
                    call(**arguments)
                answer = refused.exception.response
                self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], 400)
                self.assertRegex(answer["ResponseMetadata"]["RequestId"], "^[0-9a-f-]{36}$")
                self.assertNotIn("arn:rekeyfs", answer["Error"]["Message"])
        with self.assertRaises(kms.exceptions.ClientError) as refused:
            kms.list_keys(Limit=1001)
        self.assertEqual(refused.exception.response["Error"]["Code"], "ValidationException")


class Data(unittest.TestCase):
    """Keys that encrypt data."""

    def setUp(self):
        self.kms = client()
        made = self.kms.create_key()["KeyMetadata"]
        self.key, self.arn = made["KeyId"], made["Arn"]

    def refused(self, name, call, **arguments):
        with self.assertRaises(getattr(self.kms.exceptions, name)):
            call(**arguments)

    def test_what_is_encrypted_decrypts_after_rotations_and_under_its_context_alone(self):
        kms, context = self.kms, {"purpose": "tëst", "a": "b"}
        blob = kms.encrypt(KeyId=self.key, Plaintext=b"\0secret\xff", EncryptionContext=context)
        self.assertEqual(blob["KeyId"], self.arn)
        kms.rotate_key_on_demand(KeyId=self.key)
        opened = kms.decrypt(CiphertextBlob=blob["CiphertextBlob"], EncryptionContext=context)
        self.assertEqual((opened["Plaintext"], opened["KeyId"]), (b"\0secret\xff", self.arn))
        for wrong in ({}, {"purpose": "tëst"}, {**context, "c": "d"}):
            self.refused("InvalidCiphertextException", kms.decrypt, CiphertextBlob=blob["CiphertextBlob"], EncryptionContext=wrong)
        changed = bytearray(blob["CiphertextBlob"])
        changed[-1] ^= 1
        self.refused("InvalidCiphertextException", kms.decrypt, CiphertextBlob=bytes(changed), EncryptionContext=context)
        other = kms.create_key()["KeyMetadata"]["Arn"]
        self.refused("IncorrectKeyException", kms.decrypt, CiphertextBlob=blob["CiphertextBlob"], EncryptionContext=context, KeyId=other)
        moved = kms.re_encrypt(CiphertextBlob=blob["CiphertextBlob"], SourceEncryptionContext=context, DestinationKeyId=other)
        self.assertEqual((moved["SourceKeyId"], moved["KeyId"]), (self.arn, other))
        kms.disable_key(KeyId=self.key)
        self.refused("DisabledException", kms.decrypt, CiphertextBlob=blob["CiphertextBlob"], EncryptionContext=context)
        self.refused("DisabledException", kms.encrypt, KeyId=self.key, Plaintext=b"x")
        self.assertEqual(kms.decrypt(CiphertextBlob=moved["CiphertextBlob"])["Plaintext"], b"\0secret\xff")

    def test_data_keys_and_random_bytes(self):
        kms = self.kms
        made = kms.generate_data_key(KeyId=self.arn, KeySpec="AES_256")
        self.assertEqual(len(made["Plaintext"]), 32)
        self.assertEqual(kms.decrypt(CiphertextBlob=made["CiphertextBlob"], KeyId=self.key)["Plaintext"], made["Plaintext"])
        hidden = kms.generate_data_key_without_plaintext(KeyId=self.key, NumberOfBytes=17)
        self.assertNotIn("Plaintext", hidden)
        self.assertEqual(len(kms.decrypt(CiphertextBlob=hidden["CiphertextBlob"])["Plaintext"]), 17)
        self.assertEqual(len(kms.generate_random(NumberOfBytes=100)["Plaintext"]), 100)
        self.refused("DryRunOperationException", kms.generate_data_key, KeyId=self.key, KeySpec="AES_256", DryRun=True)

    def test_the_encryption_sdk_gets_back_what_it_encrypted(self):
        sdk = aws_encryption_sdk.EncryptionSDKClient()
        keys = aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=[self.arn])
        plain = os.urandom(100_000)
        sealed, _ = sdk.encrypt(source=plain, key_provider=keys, encryption_context={"for": "test"})
        self.kms.rotate_key_on_demand(KeyId=self.key)
        opened, header = sdk.decrypt(source=sealed, key_provider=keys)
        self.assertEqual(opened, plain)
        self.assertEqual(header.encryption_context["for"], "test")


if __name__ == "__main__":
    unittest.main()
