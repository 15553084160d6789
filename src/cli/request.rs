//! Resolves arguments: reads the files that options name, and makes the request of the library.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use weightmill::arch::{ArchMap, Choices};
use weightmill::options::{
    self, Fallback, ImportanceFilter, Output, Request, SchemeOptions, Search, Split, TypeOptions,
};
use weightmill::target::Target;

use super::UsageError;
use super::args::{FallbackArg, QuantizeArgs, SearchArg};

/// The types that were asked for, at least one, none twice.
pub(super) fn targets(args: &QuantizeArgs) -> Result<&[Target]> {
    let targets = args.types.0.as_slice();
    if targets.is_empty() {
        let names: Vec<&str> = Target::all().map(Target::name).collect();
        let text =
            format!("no type given: say which, for example with --q4k or -t Q4_K_M\ntypes: {}", names.join(", "));
        return Err(UsageError(text).into());
    }
    for (index, target) in targets.iter().enumerate() {
        if targets[..index].iter().any(|earlier| earlier.name() == target.name()) {
            return Err(UsageError(format!("type {} is asked for twice", target.name())).into());
        }
    }
    Ok(targets)
}

/// What the user decides about the input.
pub(super) fn choices(args: &QuantizeArgs) -> Result<Choices> {
    if args.pre.is_some() && targets(args)?.iter().all(|target| target.is_folder()) {
        let text = "--pre has no effect: a checkpoint folder is written with the tokenizer of its input".to_owned();
        return Err(UsageError(text).into());
    }
    let arch_map = args.arch_map.as_deref().map(ArchMap::open).transpose()?;
    let folders_only = targets(args)?.iter().all(|target| target.is_folder());
    Ok(Choices { pre: args.pre, tensors_only: args.tensors_only, arch_map, folders_only })
}

/// What the options ask for, with one output for every path.
pub(super) fn request(args: &QuantizeArgs, paths: Vec<PathBuf>) -> Result<Request> {
    let mut tensors = args.tensor_type.clone();
    if let Some(path) = &args.tensor_type_file {
        let text = read(path)?;
        tensors.extend(options::parse_tensor_type_file(&text).with_context(|| path.display().to_string())?);
    }
    let outputs = targets(args)?.iter().zip(paths).map(|(&target, path)| Output { target, path }).collect();
    Ok(Request {
        outputs,
        types: TypeOptions {
            pure: args.pure,
            leave_output_tensor: args.leave_output_tensor,
            output_tensor: args.output_tensor_type,
            token_embedding: args.token_embedding_type,
            tensors,
            allow_requantize: args.allow_requantize,
            fallback: match args.fallback {
                FallbackArg::Allow => Fallback::Allow,
                FallbackArg::Error => Fallback::Error,
            },
        },
        schemes: SchemeOptions {
            group: args.group_size,
            asymmetric: args.asymmetric,
            search: args.search.map(|search| match search {
                SearchArg::Mse => Search::Mse,
                SearchArg::MseSigned => Search::MseSigned,
                SearchArg::Absmax => Search::AbsMax,
            }),
        },
        overrides: args.override_kv.clone(),
        prune_layers: args.prune_layers.clone().map(|layers| layers.0).unwrap_or_default(),
        importance: ImportanceFilter { include: args.include_weights.clone(), exclude: args.exclude_weights.clone() },
        strict_importance: args.strict_imatrix,
        assume_importance: args.dry_run,
        split: match (args.keep_split, args.shard_size) {
            (true, _) => Split::AsInput,
            (false, Some(bytes)) => Split::Bytes(bytes),
            (false, None) => Split::Never,
        },
    })
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
