"""Cases that pass on ext4 and cannot here: suite, case, and the limit behind it. Each is judged on every run: one
that passes is a failure of this list."""

DIFFERENCES = {
    "pjdfstest": {
        "link::link_count_max": "pathconf(_PC_LINK_MAX): the C library derives that limit from the filesystem type in "
        "statfs, and has none for FUSE; FUSE has no message for it",
    },
    "times": {
        "birth_time": "the kernel asks for it with FUSE_STATX, which fuser 0.18 doesn't pass on",
        "truncate_to_the_size_it_has": "with the writeback cache the kernel's FUSE has the times, and changes none unless "
        "truncate(2) changes the size; ftruncate does; `mount --no-writeback` has both as ext4",
        "ctimes_once_the_kernel_has_forgotten_the_files": "no system call sets a ctime: the lower file has the time at which "
        "the kernel wrote it back, at the latest when it was closed, and that is what is seen once the kernel, which keeps "
        "its own with the writeback cache, has forgotten the file; `mount --no-writeback` has them as ext4",
        "atime_with_o_noatime": "one lower descriptor serves all handles of a file; the lower filesystem keeps the atime",
    },
    "calls": {
        "attribute_names_of_255_bytes": "docs/format.md: the name is encrypted and encoded within the lower "
        "filesystem's 255 bytes, which leaves 168",
        "fallocate_collapse_range": "the kernel's FUSE passes on PUNCH_HOLE, ZERO_RANGE and KEEP_SIZE alone",
        "fallocate_insert_range": "the kernel's FUSE passes on PUNCH_HOLE, ZERO_RANGE and KEEP_SIZE alone",
        "file_flags": "an append-only or immutable lower file couldn't be re-wrapped; rekeyfs stores no flags of its own",
        "o_tmpfile": "the kernel asks with FUSE_TMPFILE, which fuser 0.18 doesn't know; programs fall back to a named file",
        "swap_files": "the kernel's FUSE has no swap_activate, and bmap only for block devices",
        "symlink_targets_of_4095_bytes": "docs/format.md: the target is encrypted and encoded within the lower "
        "filesystem's 4,095 bytes, which leaves 3,030",
    },
    "users": {
        "setgid_without_group_execute_written_by_one_outside_the_group": "ext4 drops the bit if the writer isn't in the "
        "file's group; FUSE_HANDLE_KILLPRIV_V2 drops it only with the group's execute bit, and a FUSE request doesn't have "
        "the caller's groups",
    },
}
