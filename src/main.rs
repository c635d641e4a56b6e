//! The program: everything is in the library, see `handfast::cli`.

fn main() -> std::process::ExitCode {
    handfast::cli::main()
}
