//! The end of a helper: without what libraries have registered for it (atexit(3), destructors, C_Finalize), and without waiting for their
//! threads.
#![allow(unsafe_code)]

/// Ends the process now. What it has written is written: nothing here is buffered.
pub(crate) fn leave(well: bool) -> ! {
    // SAFETY: it has no conditions, and runs nothing of this process.
    unsafe { libc::_exit(if well { libc::EXIT_SUCCESS } else { libc::EXIT_FAILURE }) }
}
