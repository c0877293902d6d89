#!/usr/bin/env bash
# AWS's clients that take long, on `rekeyfs kms serve`: a program of the SDK for Rust, which it builds, and Terraform with its aws
# provider, where both are installed. (The aws command, boto3 and the encryption SDK are among the mounted tests.) Ends with
# 'N passed, M failed'. Arguments: names of tests.
. "$(dirname "$0")/lib.sh"

export REKEYFS=${REKEYFS:-$TARGET/release/rekeyfs}
install_missing python3:python3 fusermount3:fuse3
need_binary "$REKEYFS"
need_build_tools
PLACE=$TARGET/clients
began=$SECONDS
CARGO_TARGET_DIR=$PLACE cargo build --quiet --locked --manifest-path "$ROOT/tests/clients/rust/Cargo.toml" || exit 1
echo "the SDK for Rust was built in $((SECONDS - began)) s; $(du -sh "$PLACE" | cut -f 1) in $PLACE"
export REKEYFS_SDK_RUST=$PLACE/debug/rekeyfs-sdk-rust
as_root env PATH="$PATH" REKEYFS="$REKEYFS" REKEYFS_SDK_RUST="$REKEYFS_SDK_RUST" PYTHONDONTWRITEBYTECODE=1 \
    unshare --mount --propagation private python3 "$ROOT/tests/clients/run.py" "$@"
