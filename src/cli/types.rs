//! `-t` and the flags of all types, made from the table of recipes.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use weightmill::recipe::{RECIPES, Recipe};

const HEADING: &str = "Types";

/// The types that were asked for, in the order of the command line.
#[derive(Clone, Debug)]
pub(super) struct Types(pub Vec<&'static Recipe>);

impl Args for Types {
    fn augment_args(command: Command) -> Command {
        let list = Arg::new("type")
            .short('t')
            .long("type")
            .value_name("T[,T...]")
            .help("Type or types to write, by llama-quantize's names, as in Q4_K_M,Q8_0; below, flags for single types")
            .value_delimiter(',')
            .action(ArgAction::Append)
            .value_parser(Recipe::find)
            .help_heading(HEADING);
        command.arg(list).args(RECIPES.iter().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// One recipe's flag: one of its spellings is shown, the others work too.
fn flag(recipe: &'static Recipe) -> Arg {
    let shown = recipe.names().map(short).min_by_key(String::len).expect("a recipe has a name");
    let others: Vec<String> = recipe.flags().into_iter().filter(|spelling| *spelling != shown).collect();
    Arg::new(recipe.name)
        .long(shown)
        .aliases(others)
        .help(format!("{}: {}", recipe.name, recipe.description))
        .action(ArgAction::SetTrue)
        .help_heading(HEADING)
}

impl FromArgMatches for Types {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let listed = matches.get_many::<&'static Recipe>("type").into_iter().flatten().copied();
        let mut placed: Vec<(usize, &'static Recipe)> =
            matches.indices_of("type").into_iter().flatten().zip(listed).collect();
        for recipe in RECIPES {
            if matches.value_source(recipe.name) == Some(ValueSource::CommandLine) {
                placed.extend(matches.indices_of(recipe.name).into_iter().flatten().map(|index| (index, recipe)));
            }
        }
        placed.sort_by_key(|(index, _)| *index);
        Ok(Types(placed.into_iter().map(|(_, recipe)| recipe).collect()))
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
