//! The command line: parse, resolve, run, and say how it ended.

mod args;
mod calibrate;
mod destination;
mod evaluate;
mod imatrix;
mod inspect;
mod message;
mod method;
mod progress;
mod quantize;
mod request;
mod rounding;
mod scaling;
mod signals;
mod types;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use weightmill::{forward, pipeline};

use self::args::{Cli, Command};
use self::message::say;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
/// 128 and the number of SIGINT, as shells report it.
const INTERRUPTED: u8 = 130;

/// Arguments that are wrong whatever the files hold.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

/// Runs the command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        None => quantize::run(&cli.quantize),
        Some(Command::Inspect(args)) => inspect::run(args),
        Some(Command::Imatrix(args)) => imatrix::run(args),
        Some(Command::Calibrate(args)) => calibrate::run(args),
        Some(Command::Evaluate(args)) => evaluate::run(args),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "quantize", &mut script);
            io::Write::write_all(&mut io::stdout(), &script).map_err(Into::into)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output, such as `head`, has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("error: {error:#}"));
            ExitCode::from(status(&error))
        }
    }
}

fn status(error: &anyhow::Error) -> u8 {
    if error.is::<UsageError>() {
        USAGE
    } else if is_cancelled(error) {
        INTERRUPTED
    } else {
        FAILED
    }
}

fn is_cancelled(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(pipeline::Error::Cancelled))
        || matches!(error.downcast_ref(), Some(forward::Error::Cancelled))
        || matches!(error.downcast_ref(), Some(weightmill::rounding::Error::Cancelled { .. }))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
