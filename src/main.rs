//! The program `downhill`. All of it is in the library.

fn main() -> std::process::ExitCode {
    downhill::cli::main()
}
