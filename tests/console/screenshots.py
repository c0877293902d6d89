"""The pictures of docs: made of a vault with pleasant names, when they are asked for."""

import os
import pathlib
import subprocess

from browser import BrowserTest, Ground, expect

WIDTH = 1280
SMALL = 120_000
KEYS = {
    "payroll": ("Salaries and contracts", 45, 12),
    "letters": ("What goes out on paper", 20, 0),
    "photos": ("The archive of pictures", 64, 33),
    "research": ("Drafts and measurements", 30, 6),
}


class Camera(BrowserTest):
    """A test that looks, and claims nothing."""

    def runTest(self):
        pass

    def on(self):
        # This process has mounts of its own.
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/srv"], check=True)
        base = pathlib.Path("/srv/office")
        base.mkdir()
        ground = Ground(base=base)
        for alias, (description, files, moved) in KEYS.items():
            key = ground.key(alias, "--description", description, "--tags", "TagKey=team,TagValue=office")
            ground.kms("enable-key-rotation", "--key-id", key, "--rotation-period-in-days", "180")
            if alias == "payroll":
                ground.kms("create-alias", "--alias-name", "alias/payroll-2026", "--target-key-id", key)
            directory = ground.mnt / alias
            directory.mkdir()
            os.setxattr(directory, "user.rekeyfs.alias", f"alias/{alias}".encode())
            for at in range(files):
                (directory / str(at)).write_text("x")
            if moved:
                ground.kms("rotate-key-on-demand", "--key-id", key)
                for at in range(moved):
                    (directory / f"new-{at}").write_text("x")
        ground.vault.ok("status", ground.mnt, "--count")
        return ground

    def take(self, path, directory, name, height, whole=False):
        self.page.set_viewport_size({"width": WIDTH, "height": height})
        self.visit(path)
        expect(self.page.get_by_role("heading", level=1)).to_be_visible()
        picture = directory / name
        self.page.screenshot(path=picture, full_page=whole)
        subprocess.run(["pngquant", "--force", "--output", picture, "64", picture], check=True)
        size = picture.stat().st_size
        assert size < SMALL, f"{picture} has {size} bytes"
        print(f"{picture}: {size} bytes")


def make(directory):
    """The three pictures."""
    camera = Camera()
    camera.setUp()
    try:
        key = camera.ground.kms("describe-key", "--key-id", "alias/payroll")["KeyMetadata"]["KeyId"]
        camera.take("keys", directory, "console-keys.png", 920)
        camera.take(f"keys/{key}", directory, "console-key.png", 800, whole=True)
        camera.take("activity", directory, "console-activity.png", 800)
        camera.tearDown()
    finally:
        camera.doCleanups()
