//! The `downhill` program: everything lives in the library.

fn main() -> std::process::ExitCode {
    downhill::cli::main()
}
