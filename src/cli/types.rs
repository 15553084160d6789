//! `-t` and the flags of all types, made from the tables of what can be written.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use weightmill::target::Target;

const HEADING: &str = "Types";

/// The types that were asked for, in the order of the command line.
#[derive(Clone, Debug)]
pub(super) struct Types(pub Vec<Target>);

impl Args for Types {
    fn augment_args(command: Command) -> Command {
        let list = Arg::new("type")
            .short('t')
            .long("type")
            .value_name("T[,T...]")
            .help("Type or types to write, as in Q4_K_M,w4a16; below, flags for single types")
            .value_delimiter(',')
            .action(ArgAction::Append)
            .value_parser(Target::find)
            .help_heading(HEADING);
        command.arg(list).args(Target::all().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// One target's flag: one of its spellings is shown, the others work too.
fn flag(target: Target) -> Arg {
    let names = target.names().into_iter();
    let shown = match target {
        // the other name is what people call it
        Target::Scheme(_) => names.last().map(short),
        _ => names.map(short).min_by_key(String::len),
    };
    let shown = shown.expect("a target has a name");
    let others: Vec<String> = target.flags().into_iter().filter(|spelling| *spelling != shown).collect();
    Arg::new(target.name())
        .long(shown)
        .aliases(others)
        .help(format!("{}: {}", target.name(), target.description()))
        .action(ArgAction::SetTrue)
        .help_heading(HEADING)
}

impl FromArgMatches for Types {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let listed = matches.get_many::<Target>("type").into_iter().flatten().copied();
        let mut placed: Vec<(usize, Target)> = matches.indices_of("type").into_iter().flatten().zip(listed).collect();
        for target in Target::all() {
            if matches.value_source(target.name()) == Some(ValueSource::CommandLine) {
                placed.extend(matches.indices_of(target.name()).into_iter().flatten().map(|index| (index, target)));
            }
        }
        placed.sort_by_key(|(index, _)| *index);
        Ok(Types(placed.into_iter().map(|(_, target)| target).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A name in lower case without underscores, but where they keep two numbers apart: `q4k`, `q4_0`.
fn short(name: &str) -> String {
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let parts: Vec<String> = name.split('_').map(str::to_ascii_lowercase).collect();
    let mut short = String::new();
    for part in parts {
        if digit(short.chars().last()) && digit(part.chars().next()) {
            short.push('_');
        }
        short.push_str(&part);
    }
    short
}
