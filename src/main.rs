//! The `rekeyfs` command: hands the process's arguments to [`rekeyfs::cli`].

fn main() -> std::process::ExitCode {
    rekeyfs::cli::main()
}
