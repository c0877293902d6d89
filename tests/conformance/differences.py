"""Cases that pass on ext4 and cannot here: suite, case, and the limit behind it. Each is judged on every run: one
that passes is a failure of this list."""

DIFFERENCES = {
    "pjdfstest": {
        "link::link_count_max": "pathconf(_PC_LINK_MAX): the C library knows that limit from the kind of filesystem that "
        "statfs tells, and has none for FUSE; FUSE has no message for it",
    },
    "times": {
        "birth_time": "the kernel asks for it with FUSE_STATX, which fuser 0.18 doesn't pass on",
        "atime_with_o_noatime": "one lower descriptor serves all who have the file open; atime is the lower filesystem's to keep",
    },
    "users": {
        "setgid_without_group_execute_written_by_one_outside_the_group": "ext4 drops the bit if the writer isn't in the "
        "file's group; FUSE_HANDLE_KILLPRIV_V2 has it dropped only with the group's execute bit, and FUSE tells no one's "
        "groups",
    },
}
