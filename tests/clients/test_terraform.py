"""Terraform's aws provider on an endpoint of `rekeyfs kms serve`: keys and aliases, from their making to their end."""

import json
import pathlib
import shutil
import subprocess

from harness import MountedTest
from test_kms_serve import ACCOUNT, REGION, Endpoint

# Where a provider lies that was installed by hand: Terraform's own places, and one of some images.
MIRRORS = ("~/.terraform.d/plugins", "/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins", "/opt/tf-plugins")
PROVIDER = "registry.terraform.io/hashicorp/aws"
NO_CHANGE, CHANGES = 0, 2

MAIN = """
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}
variable "description" {}
variable "target" {}
provider "aws" {
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  default_tags { tags = { team = "a b" } }
  endpoints { kms = "%s" }
}
resource "aws_kms_key" "key" {
  for_each                = toset(["old", "new"])
  description             = "${var.description} ${each.key}"
  enable_key_rotation     = true
  rotation_period_in_days = 180
  deletion_window_in_days = 7
  tags                    = { Name = each.key }
  policy = jsonencode({ Version = "2012-10-17", Statement = [{ Sid = "Enable IAM User Permissions", Effect = "Allow",
    Principal = { AWS = "arn:aws:iam::%s:root" }, Action = "kms:*", Resource = "*" }] })
}
resource "aws_kms_alias" "application" {
  name          = "alias/application"
  target_key_id = aws_kms_key.key[var.target].key_id
}
resource "aws_kms_ciphertext" "secret" {
  key_id    = "alias/default"
  plaintext = "a secret"
  context   = { app = "x" }
}
data "aws_kms_key" "by_alias" {
  key_id     = aws_kms_alias.application.arn
  depends_on = [aws_kms_alias.application]
}
output "found" { value = data.aws_kms_key.by_alias.id }
output "secret" { value = aws_kms_ciphertext.secret.ciphertext_blob }
"""


class Terraform(MountedTest):
    def setUp(self):
        super().setUp()
        places = (pathlib.Path(place).expanduser() for place in MIRRORS)
        mirror = next((place for place in places if (place / PROVIDER).is_dir()), None)
        if not (mirror and shutil.which("terraform")):
            self.skipTest("terraform, or its aws provider, isn't installed here")
        self.endpoint = Endpoint(self, self.vault)
        self.place = self.dir / "terraform"
        self.place.mkdir()
        (self.place / "main.tf").write_text(MAIN % (self.endpoint.url, ACCOUNT))
        (self.place / "rc").write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n')
        self.terraform("init")

    def terraform(self, *command, description="keys of", target="old", statuses=(0,)):
        environment = {
            **self.endpoint.environment(self.place), "TF_CLI_CONFIG_FILE": str(self.place / "rc"), "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1",
            "TF_VAR_description": description, "TF_VAR_target": target, "AWS_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip
        done = subprocess.run(["terraform", *command, "-no-color"], cwd=self.place, env=environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=300)  # fmt: skip
        self.assertIn(done.returncode, statuses, done.stdout + done.stderr + self.endpoint.log.read_text())
        return done

    def plans(self, **kw):
        """Whether a plan has changes."""
        return self.terraform("plan", "-detailed-exitcode", statuses=(NO_CHANGE, CHANGES), **kw).returncode

    def test_what_terraform_makes_it_finds_again_changes_and_destroys(self):
        self.terraform("apply", "-auto-approve")
        keys = {tags["Name"]: key for key in (item["KeyId"] for item in self.kms("list-keys")["Keys"])
                if (tags := {tag["TagKey"]: tag["TagValue"] for tag in self.kms("list-resource-tags", "--key-id", key)["Tags"]})}  # fmt: skip
        self.assertEqual(set(keys), {"old", "new"})
        described = self.kms("describe-key", "--key-id", "alias/application")["KeyMetadata"]
        self.assertEqual((described["KeyId"], described["Description"]), (keys["old"], "keys of old"))
        rotation = self.kms("get-key-rotation-status", "--key-id", keys["new"])
        self.assertEqual((rotation["KeyRotationEnabled"], rotation["RotationPeriodInDays"]), (True, 180))
        # What it wrote is what it reads: nothing is made again.
        self.assertEqual(self.plans(), NO_CHANGE)
        found = json.loads(self.terraform("output", "-json").stdout)
        self.assertEqual(found["found"]["value"], keys["old"])
        opened = self.endpoint.ok("Decrypt", {"CiphertextBlob": found["secret"]["value"], "EncryptionContext": {"app": "x"}})
        self.assertEqual(opened["Plaintext"], "YSBzZWNyZXQ=")
        # Manual rotation: the alias is pointed at the other key, and both keys stay the same ones.
        changed = {"description": "other words,", "target": "new"}
        self.assertEqual(self.plans(**changed), CHANGES)
        self.terraform("apply", "-auto-approve", **changed)
        self.assertEqual(self.kms("describe-key", "--key-id", "alias/application")["KeyMetadata"]["KeyId"], keys["new"])
        self.assertEqual(self.kms("describe-key", "--key-id", keys["old"])["KeyMetadata"]["Description"], "other words, old")
        self.assertEqual(self.plans(**changed), NO_CHANGE)
        self.terraform("destroy", "-auto-approve", **changed)
        self.assertEqual({self.kms("describe-key", "--key-id", key)["KeyMetadata"]["KeyState"] for key in keys.values()}, {"PendingDeletion"})
        self.assertNotIn("alias/application", [alias["AliasName"] for alias in self.kms("list-aliases")["Aliases"]])
