//! The plan as a table for people: what `--dry-run` prints.

use std::fmt;

use super::{OutputPlan, PlannedTensor, Weighing};

/// Prints an output tensor by tensor, then its totals and warnings.
pub struct Table<'a>(pub &'a OutputPlan);

const TITLES: [&str; 5] = ["tensor", "shape", "from", "to", "bytes"];

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Table(output) = self;
        let rows: Vec<[String; 5]> = output.tensors.iter().map(cells).collect();
        let mut widths = TITLES.map(str::len);
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        writeln!(f, "{} -> {}", output.target.name(), output.path.display())?;
        line(f, widths, TITLES, "")?;
        for (row, tensor) in rows.iter().zip(&output.tensors) {
            let note = match tensor.fallback_from {
                Some(wanted) => format!("  fallback from {wanted}"),
                None if tensor.lossless => "  lossless".to_owned(),
                None if tensor.is_fallback() => "  smaller groups".to_owned(),
                None => String::new(),
            };
            let note = match tensor.weighing {
                Some(Weighing::Partial) => note + "  importance in part",
                Some(Weighing::None) => note + "  no importance",
                Some(Weighing::Measured) | None => note,
            };
            line(f, widths, row.each_ref().map(String::as_str), &note)?;
        }
        for part in output.parts.iter().filter(|_| output.parts.len() > 1) {
            writeln!(f, "{}: {} tensors, {} bytes", part.path.display(), part.tensors.len(), part.bytes)?;
        }
        let (count, bytes, bits) = (output.tensors.len(), output.bytes(), output.bits_per_weight());
        writeln!(f, "{count} tensors, {bytes} bytes, {bits:.2} bits per weight")?;
        output.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}

fn cells(tensor: &PlannedTensor) -> [String; 5] {
    let shape: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
    let PlannedTensor { name, to, .. } = tensor;
    [
        name.escape_debug().to_string(),
        shape.join("x"),
        tensor.stored_as().to_owned(),
        to.to_string(),
        tensor.bytes().to_string(),
    ]
}

/// Names and types to the left, numbers to the right.
fn line(f: &mut fmt::Formatter<'_>, widths: [usize; 5], cells: [&str; 5], note: &str) -> fmt::Result {
    let [name, shape, from, to, bytes] = cells;
    let [w0, w1, w2, w3, w4] = widths;
    writeln!(f, "{name:w0$}  {shape:>w1$}  {from:w2$}  {to:w3$}  {bytes:>w4$}{note}")
}
