"""AWS's SDK for Rust on an endpoint of `rekeyfs kms serve`: what its program (rust/src/main.rs) checks."""

import os
import pathlib
import subprocess

from harness import MountedTest
from test_kms_serve import Endpoint


class Rust(MountedTest):
    def test_a_program_of_the_sdk_for_rust_does_its_work(self):
        program = pathlib.Path(os.environ["REKEYFS_SDK_RUST"])
        endpoint = Endpoint(self, self.vault)
        environment = {**endpoint.environment(self.dir), "AWS_EC2_METADATA_DISABLED": "true"}
        done = subprocess.run([program], env=environment, capture_output=True, text=True, timeout=120)
        self.assertEqual((done.returncode, done.stdout), (0, "done\n"), done.stderr + endpoint.log.read_text())
        # It was this vault that answered.
        self.assertIn("alias/sdk-rust", [alias["AliasName"] for alias in self.kms("list-aliases")["Aliases"]])
