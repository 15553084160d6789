//! `quantize imatrix`: importance matrices as one, in either form, with figures and what they lack.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use indicatif::HumanBytes;
use serde_json::{Value as Json, json};
use weightmill::arch::Choices;
use weightmill::coverage::{Coverage, Matrices};
use weightmill::input::Input;
use weightmill_formats::imatrix::{self, DEFAULT_CHUNK_SIZE, Form, Merger, Statistics};
use weightmill_formats::{Imatrix, output};

use super::args::{ImatrixArgs, pickles};
use super::message::{printable, say};

/// Names that a line lists.
const LISTED: usize = 8;

pub(super) fn run(args: &ImatrixArgs) -> Result<()> {
    if let Some(path) = &args.output {
        output::check_target(path, args.force)?;
    }
    let mut warnings = Vec::new();
    let matrix = merged(args, &mut warnings)?;
    let input = args.model.as_deref().map(|path| Input::open(path, pickles(args.allow_pickle), &Choices::default()));
    let input = input.transpose()?;
    let coverage = Coverage::of(&matrix, input.as_ref().map(|input| &input.model));
    let findings = findings(&coverage);

    let refused = coverage.is_wrong() || args.strict && !coverage.is_complete();
    let written = match &args.output {
        Some(path) if !refused => Some((path, write(&matrix, path, args.force, &mut warnings)?)),
        _ => None,
    };
    warnings.iter().for_each(|warning| say(format_args!("warning: {warning}")));
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        let document = json!({
            "files": args.files.iter().map(|file| file.to_string_lossy()).collect::<Vec<_>>(),
            "output": written.map(|(path, bytes)| json!({"path": path.to_string_lossy(), "bytes": bytes})),
            "datasets": matrix.datasets,
            "chunks": matrix.chunks,
            "chunk_size": matrix.chunk_size,
            "tensors": matrix.entries.keys().map(|name| figures(name, &matrix)).collect::<Vec<_>>(),
            "coverage": coverage,
            "warnings": warnings,
        });
        serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        match written {
            Some((path, bytes)) => say(format_args!("{}: {}, {}", path.display(), summary(&matrix), HumanBytes(bytes))),
            None => print(&mut out, &matrix)?,
        }
        for finding in &findings {
            writeln!(out, "{}", printable(finding))?;
        }
    }
    out.flush()?;
    match args.output.as_deref().filter(|_| refused) {
        Some(path) => bail!("{} was not written: {}", path.display(), findings.join("; ")),
        None if refused => bail!("the importance matrix has {} kinds of defects", findings.len()),
        None => Ok(()),
    }
}

/// All files added up.
fn merged(args: &ImatrixArgs, warnings: &mut Vec<String>) -> Result<Imatrix> {
    let mut merger = Merger::new(args.chunk_size);
    let mut in_chunks = 0;
    for path in &args.files {
        let mut matrix = imatrix::open(path)?;
        in_chunks += usize::from(matrix.chunk_size.is_none());
        let others = std::mem::take(&mut matrix.others);
        if !others.is_empty() {
            let names = listed(&others);
            warnings.push(format!("{}: tensors of another kind are left out: {names}", path.display()));
        }
        merger.add(matrix).with_context(|| path.display().to_string())?;
    }
    if args.chunk_size.is_some() && in_chunks == 0 {
        warnings.push("--chunk-size has no effect: the files say how long their chunks are".to_owned());
    }
    let matrix = merger.finish().expect("clap requires a file");
    let mut texts = matrix.datasets.clone();
    texts.sort();
    texts.dedup();
    if texts.len() < matrix.datasets.len() {
        warnings.push("a text counts more than once: it was measured for several of the files".to_owned());
    }
    Ok(matrix)
}

/// Writes the matrix, says what the form cannot hold, and returns the file's length.
fn write(matrix: &Imatrix, path: &Path, force: bool, warnings: &mut Vec<String>) -> Result<u64> {
    let form = Form::of(path);
    match (form, matrix.chunk_size) {
        (Form::Gguf, None) => warnings.push(format!(
            "chunks are taken to have {DEFAULT_CHUNK_SIZE} tokens, which a .dat file does not say (--chunk-size)"
        )),
        (Form::Gguf, Some(_)) => {}
        (Form::Dat, _) => {
            if matrix.datasets.len() > 1 {
                warnings.push("the older form names one text only, the last".to_owned());
            }
            if matrix.entries.values().any(|entry| entry.counts.iter().any(|count| *count != entry.counts[0])) {
                warnings.push("the older form has one count per tensor: those of single experts are lost".to_owned());
            }
            let unseen = |entry: &imatrix::Entry| entry.counts.iter().all(|&count| count == 0);
            let unseen = matrix.entries.iter().filter(|(_, entry)| unseen(entry));
            let unseen: Vec<String> = unseen.map(|(name, _)| name.clone()).collect();
            if !unseen.is_empty() {
                warnings.push(format!("the older form has no place for what saw nothing: {}", listed(&unseen)));
            }
        }
    }
    matrix.write(path, form, force)?;
    Ok(path.metadata()?.len())
}

fn summary(matrix: &Imatrix) -> String {
    let size = match matrix.chunk_size {
        Some(tokens) => format!(" of {tokens} tokens"),
        None => String::new(),
    };
    let texts = if matrix.datasets.is_empty() { "unknown".to_owned() } else { matrix.datasets.join(", ") };
    format!("{} tensors, {} chunks{size}, texts: {texts}", matrix.entries.len(), matrix.chunks)
}

fn print(out: &mut impl Write, matrix: &Imatrix) -> io::Result<()> {
    writeln!(out, "{}\n", printable(&summary(matrix)))?;
    let names: Vec<String> = matrix.entries.keys().map(|name| name.escape_debug().to_string()).collect();
    let width = names.iter().map(String::len).max().unwrap_or(0).max(6);
    writeln!(
        out,
        "{:width$}  {:>7} {:>8} {:>9} {:>11} {:>11} {:>11} {:>11} {:>11} {:>7} {:>8} {:>8} {:>9}",
        "tensor",
        "values",
        "matrices",
        "count",
        "sum",
        "min",
        "max",
        "mean",
        "deviation",
        "zeros",
        "entropy",
        "|z| > 1",
        "like prev"
    )?;
    for (name, (entry_name, entry)) in names.iter().zip(&matrix.entries) {
        let s = Statistics::of(entry);
        let count =
            if s.counts.0 == s.counts.1 { s.counts.0.to_string() } else { format!("{}-{}", s.counts.0, s.counts.1) };
        writeln!(
            out,
            "{name:width$}  {:>7} {:>8} {count:>9} {:>11.4e} {:>11.4e} {:>11.4e} {:>11.4e} {:>11.4e} {:>6.2}% {:>8.4} {:>7.2}% {:>9}",
            s.values,
            s.matrices,
            s.sum,
            s.min,
            s.max,
            s.mean,
            s.deviation,
            s.zeros * 100.0,
            s.entropy,
            s.outliers * 100.0,
            similarity_to_previous(entry_name, matrix).map_or_else(String::new, |cosine| format!("{cosine:.4}"))
        )?;
    }
    Ok(())
}

/// How alike a tensor's columns matter as those of the same tensor one block before.
fn similarity_to_previous(name: &str, matrix: &Imatrix) -> Option<f64> {
    let (number, part) = name.strip_prefix("blk.")?.split_once('.')?;
    let previous = format!("blk.{}.{part}", number.parse::<u32>().ok()?.checked_sub(1)?);
    imatrix::similarity(matrix.entries.get(name)?, matrix.entries.get(&previous)?)
}

fn figures(name: &str, matrix: &Imatrix) -> Json {
    let s = Statistics::of(&matrix.entries[name]);
    json!({
        "name": name,
        "values": s.values,
        "matrices": s.matrices,
        "unseen": s.unseen,
        "counts": [s.counts.0, s.counts.1],
        "sum": s.sum,
        "min": s.min,
        "max": s.max,
        "mean": s.mean,
        "deviation": s.deviation,
        "zeros": s.zeros,
        "entropy": s.entropy,
        "outliers": s.outliers,
        "similarity": similarity_to_previous(name, matrix),
        "non_finite": s.non_finite,
        "negative": s.negative,
    })
}

/// What is wrong or missing, a line for each kind.
fn findings(coverage: &Coverage) -> Vec<String> {
    let mut findings = Vec::new();
    let mut add = |what: &str, names: &[String]| {
        if !names.is_empty() {
            findings.push(format!("{what}: {}", listed(names)));
        }
    };
    let matrices = |list: &[Matrices]| -> Vec<String> { list.iter().map(numbered).collect() };
    add("values that are negative or not finite", &matrices(&coverage.bad));
    add("no token came to", &matrices(&coverage.unseen));
    add("zero throughout", &matrices(&coverage.zero));
    if let Some(model) = &coverage.model {
        add("no tensor of the model has the name", &model.unknown);
        let sizes = model
            .sizes
            .iter()
            .map(|size| format!("{} ({} values, the model's tensor has {})", size.tensor, size.values, size.expected));
        add("another size than the model's tensor", &sizes.collect::<Vec<_>>());
        add("without importance", &model.without);
    }
    findings
}

/// `NAME`, or of a stack `NAME (experts 1, 5 of 8)`.
fn numbered(matrices: &Matrices) -> String {
    let Matrices { tensor, matrices, of } = matrices;
    if *of == 1 {
        return tensor.clone();
    }
    let numbers: Vec<String> = matrices.iter().map(usize::to_string).collect();
    format!("{tensor} (experts {} of {of})", listed(&numbers))
}

fn listed(names: &[String]) -> String {
    let shown = names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
