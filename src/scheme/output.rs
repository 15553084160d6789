//! The schemes that can be written: one row each.

use weightmill_kernels::Dtype;

use super::arithmetic::{Arithmetic, BlockRule, PowerRule, ZeroRule};
use super::configure::{self, Configure};
use super::encode::Coder;
use super::experts::Arrangement;
use super::layout::Layout;
use super::numbers::Grid;
use super::{awq, fp4, fp8, gptq, int8, mlx, packed};
use crate::options::{GroupSize, Search};

/// A way to write the weights of a checkpoint.
#[derive(Debug)]
pub struct OutputScheme {
    /// Name on the command line.
    pub name: &'static str,
    /// Another name.
    pub alias: Option<&'static str>,
    /// What it is good for, in one line of help.
    pub description: &'static str,
    /// Bits of a code.
    pub(crate) bits: usize,
    /// How many weights can share a scale, the usual number first, and what rows that do not fill such groups get instead
    /// after it.
    pub(crate) groups: &'static [GroupSize],
    /// One checkpoint may have groups of several sizes.
    pub(crate) mixes_groups: bool,
    /// Numbers of which rows and columns must be multiples.
    pub(crate) units: [usize; 2],
    /// Weights to codes.
    pub(crate) arithmetic: Arithmetic,
    /// The same with zero points, if they can be asked for.
    pub(crate) asymmetric: Option<Arithmetic>,
    /// Type of the scales; if there is none, that of the model.
    pub(crate) scale_type: Option<Dtype>,
    /// The tensors of a weight.
    pub(crate) lay_out: fn(&Wanted) -> Layout,
    /// Embeddings and the output matrix are quantized, too.
    pub(crate) embeddings: bool,
    /// Last parts of the names of modules that are kept as they are although others like them are not.
    pub(crate) kept: &'static [&'static str],
    /// Where the matrices of experts are.
    pub(crate) experts: Arrangement,
    /// The statement in config.json.
    pub(crate) configure: Configure,
}

/// A weight that is wanted in a scheme.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Rows and columns.
    pub size: [usize; 2],
    /// Bits of a code.
    pub bits: usize,
    /// Columns that share a scale; none if all of a row do.
    pub group: Option<usize>,
    /// There are zero points.
    pub zero_points: bool,
    /// Type of the scales.
    pub scale_type: Dtype,
}

/// What is decided for one weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coding {
    /// The scheme.
    pub scheme: &'static OutputScheme,
    /// The weights that share a scale.
    pub group: GroupSize,
    /// There are zero points.
    pub asymmetric: bool,
    /// Type of the model's floating-point tensors.
    pub float: Dtype,
    /// How scales are found.
    pub search: Search,
}

use GroupSize::{Columns, Row};

const PACKED: OutputScheme = OutputScheme {
    name: "w4a16",
    alias: Some("int4"),
    description: "folder for servers: compressed-tensors, integers of 4 bits in groups of 128",
    bits: 4,
    groups: &[Columns(128), Columns(64), Columns(32), Row],
    mixes_groups: true,
    units: [1, 1],
    arithmetic: Arithmetic::Symmetric { bits: 4, zeros: 0.0, rounded: true },
    asymmetric: Some(Arithmetic::ZeroPoints { bits: 4, rule: ZeroRule::Signed }),
    scale_type: None,
    lay_out: packed::lay_out,
    embeddings: false,
    kept: &[],
    experts: Arrangement::Separate,
    configure: configure::PACKED,
};

const GPTQ: OutputScheme = OutputScheme {
    name: "gptq",
    alias: Some("gptq-4bit"),
    description: "folder for servers: GPTQ's layout, integers of 4 bits in groups of 128",
    groups: &[Columns(128), Columns(64), Columns(32)],
    mixes_groups: false,
    units: [32, 32],
    arithmetic: Arithmetic::Symmetric { bits: 4, zeros: 2.0 / 15.0, rounded: false },
    asymmetric: None,
    scale_type: Some(Dtype::F16),
    lay_out: gptq::lay_out,
    configure: configure::GPTQ,
    ..PACKED
};

const MLX: OutputScheme = OutputScheme {
    name: "mlx-4bit",
    alias: Some("mlx"),
    description: "folder for MLX: integers of 4 bits in groups of 64, embeddings too",
    groups: &[Columns(64), Columns(32), Columns(128)],
    units: [1, 32],
    arithmetic: Arithmetic::Affine { bits: 4 },
    asymmetric: None,
    lay_out: mlx::lay_out,
    embeddings: true,
    experts: Arrangement::Stacked,
    // mlx-lm takes it apart when it loads a model, and would quantize the parts again
    kept: &["kv_b_proj"],
    configure: configure::MLX,
    ..PACKED
};

const fn mlx(name: &'static str, description: &'static str, bits: usize) -> OutputScheme {
    let arithmetic = Arithmetic::Affine { bits: bits as u32 };
    OutputScheme { name, alias: None, description, bits, arithmetic, ..MLX }
}

/// All schemes that can be written.
pub static OUTPUT_SCHEMES: &[OutputScheme] = &[
    PACKED,
    OutputScheme {
        name: "w8a8",
        alias: Some("int8"),
        description: "folder for servers: compressed-tensors, integers of 8 bits, activations too",
        bits: 8,
        groups: &[Row],
        arithmetic: Arithmetic::Symmetric { bits: 8, zeros: 0.0, rounded: true },
        asymmetric: None,
        lay_out: int8::lay_out,
        configure: configure::INT8,
        ..PACKED
    },
    OutputScheme {
        name: "w8a16",
        alias: Some("int8-weights"),
        description: "folder for servers: compressed-tensors, weights of 8 bits, activations of 16",
        bits: 8,
        groups: &[Row, Columns(128), Columns(64), Columns(32)],
        arithmetic: Arithmetic::Symmetric { bits: 8, zeros: 0.0, rounded: true },
        asymmetric: Some(Arithmetic::ZeroPoints { bits: 8, rule: ZeroRule::Signed }),
        ..PACKED
    },
    OutputScheme {
        name: "fp8",
        alias: None,
        description: "folder for servers: compressed-tensors, floats of 8 bits, activations too",
        bits: 8,
        groups: &[Row],
        arithmetic: Arithmetic::E4M3,
        asymmetric: None,
        lay_out: fp8::lay_out,
        configure: configure::FP8,
        ..PACKED
    },
    OutputScheme {
        name: "fp8-block",
        alias: None,
        description: "folder for servers: DeepSeek's layout, floats of 8 bits in blocks of 128 x 128",
        bits: 8,
        groups: &[Columns(128)],
        units: [128, 128],
        arithmetic: Arithmetic::E4M3Blocks(BlockRule::Inverse),
        asymmetric: None,
        scale_type: Some(Dtype::F32),
        lay_out: fp8::lay_out_deepseek,
        configure: configure::DEEPSEEK,
        ..PACKED
    },
    OutputScheme {
        name: "fp8-block-ct",
        alias: None,
        description: "folder for servers: the same in the layout of compressed-tensors, activations too",
        bits: 8,
        groups: &[Columns(128)],
        units: [128, 128],
        arithmetic: Arithmetic::E4M3Blocks(BlockRule::Stored),
        asymmetric: None,
        lay_out: fp8::lay_out_blocks,
        configure: configure::FP8_BLOCKS,
        ..PACKED
    },
    OutputScheme {
        name: "nvfp4a16",
        alias: Some("nvfp4-weights"),
        description: "folder for servers: compressed-tensors, floats of 4 bits in groups of 16",
        groups: &[Columns(16)],
        arithmetic: Arithmetic::Scaled,
        asymmetric: None,
        scale_type: Some(Dtype::F8_E4M3),
        lay_out: fp4::lay_out_nvfp4,
        configure: configure::NVFP4,
        ..PACKED
    },
    OutputScheme {
        name: "mxfp4a16",
        alias: Some("mxfp4-weights"),
        description: "folder for servers: compressed-tensors, floats of 4 bits in groups of 32",
        groups: &[Columns(32)],
        arithmetic: Arithmetic::Powers(PowerRule::Nearest),
        asymmetric: None,
        scale_type: Some(Dtype::U8),
        lay_out: fp4::lay_out_mxfp4,
        configure: configure::MXFP4,
        ..PACKED
    },
    GPTQ,
    OutputScheme {
        name: "gptq-8bit",
        alias: None,
        description: "folder for servers: GPTQ's layout, integers of 8 bits in groups of 128",
        bits: 8,
        arithmetic: Arithmetic::Symmetric { bits: 8, zeros: 2.0 / 255.0, rounded: false },
        ..GPTQ
    },
    OutputScheme {
        name: "awq",
        alias: None,
        description: "folder for servers: AWQ's layout, integers of 4 bits with zero points in groups of 128",
        units: [8, 32],
        arithmetic: Arithmetic::ZeroPoints { bits: 4, rule: ZeroRule::Half },
        lay_out: awq::lay_out,
        configure: configure::AWQ,
        ..GPTQ
    },
    mlx("mlx-2bit", "folder for MLX: integers of 2 bits", 2),
    mlx("mlx-3bit", "folder for MLX: integers of 3 bits", 3),
    MLX,
    mlx("mlx-5bit", "folder for MLX: integers of 5 bits", 5),
    mlx("mlx-6bit", "folder for MLX: integers of 6 bits", 6),
    mlx("mlx-8bit", "folder for MLX: integers of 8 bits", 8),
    OutputScheme {
        name: "mlx-mxfp4",
        alias: None,
        description: "folder for MLX: floats of 4 bits in groups of 32, embeddings too",
        groups: &[Columns(32)],
        arithmetic: Arithmetic::Powers(PowerRule::Least),
        scale_type: Some(Dtype::U8),
        lay_out: mlx::lay_out_mxfp4,
        configure: configure::MLX_MXFP4,
        ..MLX
    },
];

impl PartialEq for OutputScheme {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl OutputScheme {
    /// The size of groups, if weights that are this large can have one: the wanted size, or the next that rows fill.
    pub(crate) fn group(&self, [rows, columns]: [u64; 2], wanted: GroupSize) -> Option<GroupSize> {
        let [row_unit, column_unit] = self.units.map(|unit| unit as u64);
        if rows == 0 || columns < 32 || !rows.is_multiple_of(row_unit) || !columns.is_multiple_of(column_unit) {
            return None;
        }
        let fits = |group: &GroupSize| match group {
            Columns(length) => columns.is_multiple_of(*length as u64),
            Row => true,
        };
        if fits(&wanted) {
            return Some(wanted);
        }
        let after = self.groups.iter().skip_while(|group| **group != wanted).skip(1);
        after.copied().find(fits).filter(|_| self.mixes_groups)
    }

    /// True if a better scale can be searched. 8-bit floats are about as fine everywhere: a scale that is larger or smaller
    /// by a little gives codes that are no better.
    pub(crate) fn searches(&self) -> bool {
        !matches!(self.arithmetic, Arithmetic::E4M3 | Arithmetic::E4M3Blocks(_))
    }

    /// True if a scale can have either sign.
    pub(crate) fn searches_signs(&self, asymmetric: bool) -> bool {
        !asymmetric && matches!(self.arithmetic, Arithmetic::Symmetric { .. })
    }

    /// True if all scales of a weight, and of others beside it, have a common divisor.
    pub(crate) fn has_divisor(&self) -> bool {
        self.arithmetic == Arithmetic::Scaled
    }
}

impl Coding {
    /// The tensors of a weight of this size.
    pub(crate) fn layout(&self, size: [usize; 2]) -> Layout {
        let group = match self.group {
            Columns(length) => Some(length),
            Row => None,
        };
        let scale_type = self.scheme.scale_type.unwrap_or(self.float);
        (self.scheme.lay_out)(&Wanted { size, bits: self.scheme.bits, group, zero_points: self.asymmetric, scale_type })
    }

    /// What encodes it.
    pub(crate) fn coder(&self, size: [usize; 2]) -> Coder {
        let symmetric = self.scheme.arithmetic;
        let arithmetic = self.scheme.asymmetric.filter(|_| self.asymmetric).unwrap_or(symmetric);
        Coder { arithmetic, layout: self.layout(size), search: self.search }
    }
}

impl Wanted {
    /// Every row has its own numbers, one for each group.
    pub(super) fn grid(&self) -> Grid {
        let [rows, columns] = self.size;
        Grid::groups(rows, columns, columns / self.group.unwrap_or(columns).max(1))
    }
}
