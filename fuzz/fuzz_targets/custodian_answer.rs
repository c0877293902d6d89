#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rekeyfs::fuzzing::custodian_answer(data));
