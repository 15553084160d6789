//! `--method`: what is chosen on a text.

use anyhow::Result;
use clap::ValueEnum;
use weightmill::rounding::Choice;
use weightmill::rounding::scales;
use weightmill::target::Target;

use super::UsageError;
use super::args::QuantizeArgs;

/// The scheme whose inputs are rounded.
const ROUNDS_INPUTS: &str = "w8a8";

/// One of `--method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Method {
    /// Levels.
    Gptq,
    /// Scales that are folded into the model.
    Awq,
    /// The same, for activations of 8 bits.
    #[value(name = "smoothquant")]
    SmoothQuant,
}

/// All of `--method`: scales come first, then levels on the model that has them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Methods {
    /// How scales are chosen, if any are.
    pub scales: Option<scales::Method>,
    /// Levels are chosen.
    levels: bool,
}

impl Methods {
    /// Those that are asked for.
    ///
    /// # Errors
    /// If they make no sense with each other or with the types.
    pub fn of(args: &QuantizeArgs, targets: &[Target]) -> Result<Self> {
        let wrong = |text: String| Err(UsageError(text).into());
        let has = |method| args.method.contains(&method);
        let scales = match (has(Method::Awq), has(Method::SmoothQuant)) {
            (true, true) => return wrong("--method awq and smoothquant both scale inputs: choose one".to_owned()),
            (true, false) => Some(scales::Method::Awq),
            (false, true) => Some(scales::Method::SmoothQuant),
            (false, false) => None,
        };
        if scales == Some(scales::Method::SmoothQuant)
            && let Some(other) = targets.iter().find(|target| target.name() != ROUNDS_INPUTS)
        {
            return wrong(format!(
                "--method smoothquant is for {ROUNDS_INPUTS}, whose inputs are rounded to 8 bits; {} is better off with awq",
                other.name()
            ));
        }
        if args.sequential && !has(Method::Gptq) {
            return wrong("--sequential is for --method gptq".to_owned());
        }
        Ok(Self { scales, levels: has(Method::Gptq) })
    }

    /// What is chosen with moments once scales are folded in.
    pub fn choice(self) -> Option<Choice> {
        match self.scales {
            _ if self.levels => Some(Choice::Levels),
            Some(scales::Method::Awq) => Some(Choice::Scales),
            Some(scales::Method::SmoothQuant) | None => None,
        }
    }

    /// True if importance is measured while levels are chosen. Scales are chosen with it, so it has to be there before them.
    pub fn measures_importance(self) -> bool {
        self.levels && self.scales.is_none()
    }
}
