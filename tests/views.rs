//! Whole runs over models whose tensors are views of the stored weights: slices, transposes, reordered rows, stacks.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use weightmill::model::{Map, Model, ModelTensor, Piece, TensorData};
use weightmill::options::{Output, Request, TypeOptions};
use weightmill::pipeline::{Control, Run, Settings};
use weightmill::plan;
use weightmill::target::Target;
use weightmill::view::{Axis, View};
use weightmill::weights::{Encoded, Storage, Weight, Weights};
use weightmill_formats::{Importance, Metadata, Source, TensorInfo};
use weightmill_kernels::{Dtype, Level, dequantize, quantize};

/// Rows and columns of every stored weight: more than a tile, and whole blocks of every type used.
const ROWS: u64 = 96;
const COLUMNS: u64 = 160;

/// Matrices in memory, one per type.
struct Memory {
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    bytes: Vec<u8>,
}

impl Memory {
    fn new(types: &[Dtype]) -> Self {
        let mut memory = Memory { metadata: Metadata::new(), tensors: Vec::new(), bytes: Vec::new() };
        memory.metadata.set("general.architecture", "llama");
        for (index, &dtype) in types.iter().enumerate() {
            let values: Vec<f32> = (0..ROWS * COLUMNS)
                .map(|n| ((n * 7919 + index as u64 * 104_729) % 4093) as f32 / 256.0 - 8.0)
                .collect();
            let length = dtype.byte_size(ROWS * COLUMNS).unwrap();
            let offset = memory.bytes.len();
            memory.bytes.resize(offset + length as usize, 0);
            quantize(
                Level::by_name("scalar").unwrap(),
                dtype,
                &values,
                COLUMNS as usize,
                None,
                &mut memory.bytes[offset..],
            );
            memory.tensors.push(TensorInfo {
                name: format!("stored.{index}"),
                shape: vec![ROWS, COLUMNS],
                dtype,
                file: 0,
                offset: offset as u64,
                bytes: length,
            });
        }
        memory
    }

    /// All values of a weight, row by row.
    fn values(&self, weight: usize) -> Vec<f32> {
        let mut values = vec![0.0; (ROWS * COLUMNS) as usize];
        dequantize(
            Level::by_name("scalar").unwrap(),
            self.tensors[weight].dtype,
            self.view(&self.tensors[weight]),
            &mut values,
        );
        values
    }
}

impl Source for Memory {
    fn format(&self) -> &'static str {
        "gguf"
    }

    fn files(&self) -> Vec<&Path> {
        vec![Path::new("memory.gguf")]
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    fn view(&self, tensor: &TensorInfo) -> &[u8] {
        &self.bytes[tensor.offset as usize..][..tensor.bytes as usize]
    }

    fn prefetch(&self, _: &TensorInfo, _: Range<u64>) {}

    fn release(&self, tensor: &TensorInfo, range: Range<u64>) {
        assert!(range.start <= range.end && range.end <= tensor.bytes, "{range:?} of {}", tensor.name);
    }

    fn check_unchanged(&self) -> Result<(), weightmill_formats::Error> {
        Ok(())
    }
}

/// One tensor of this shape, made of these pieces: weight, view, arithmetic.
fn tensor(name: &str, shape: &[u64], pieces: Vec<(usize, View, Map)>) -> ModelTensor {
    let pieces = pieces.into_iter().map(|(weight, view, map)| Piece { weight, view, map }).collect();
    ModelTensor { name: name.to_owned(), shape: shape.to_vec(), dtype: Dtype::F32, data: TensorData::Pieces(pieces) }
}

/// What the definition of a view says, element by element.
fn expected(memory: &Memory, tensor: &ModelTensor) -> Vec<f32> {
    let mut all = Vec::new();
    for Piece { weight, view, map } in tensor.data.pieces() {
        let stored = memory.values(*weight);
        let lengths: Vec<u64> = view.rows.iter().map(|axis| axis.length).collect();
        for row in 0..lengths.iter().product::<u64>() {
            let mut rest = row;
            let mut start = view.base;
            for axis in view.rows.iter().rev() {
                start += rest % axis.length * axis.stride;
                rest /= axis.length;
            }
            let row = (0..view.columns.length).map(|c| stored[(start + c * view.columns.stride) as usize]);
            // What is stored as f16 is computed in f16, as the reference does.
            let of_f16 = memory.tensors[*weight].dtype == Dtype::F16;
            let rounded = |value: f32| if of_f16 { half::f16::from_f32(value).to_f32() } else { value };
            all.extend(row.map(|value| match map {
                Map::Same => value,
                Map::PlusOne => rounded(value + 1.0),
                Map::MinusOne => rounded(value - 1.0),
                Map::LogOfMinus => rounded((-f64::from(value)).ln() as f32),
                Map::MinusExp => rounded(-f64::from(value).exp() as f32),
            }));
        }
    }
    match tensor.data {
        TensorData::Woven(ref pieces, run) => woven(&all, pieces.len(), tensor.shape[1] as usize, run as usize),
        _ => all,
    }
}

/// Matrices one after the other, whose rows together make up those of `columns` elements, `run` of each in turn.
fn woven(all: &[f32], pieces: usize, columns: usize, run: usize) -> Vec<f32> {
    let (size, strip) = (all.len() / pieces, columns / pieces);
    let element = |index: usize| {
        let (row, column) = (index / columns, index % columns);
        let (turn, within) = (column / run, column % run);
        all[turn % pieces * size + row * strip + turn / pieces * run + within]
    };
    (0..all.len()).map(element).collect()
}

#[test]
fn every_kind_of_view_is_gathered_as_defined() {
    const HALF: u64 = ROWS / 2;
    let types = [Dtype::F32, Dtype::BF16, Dtype::F16, Dtype::Q8_0];
    let whole = || View::whole(&[ROWS, COLUMNS]);
    let every_other = |first: u64| View {
        base: first * COLUMNS,
        rows: vec![Axis::new(HALF, 2 * COLUMNS)],
        columns: Axis::new(COLUMNS, 1),
    };
    // heads of 8 rows, 6 of which become columns
    let per_head = View {
        base: 2 * COLUMNS,
        rows: vec![Axis::new(ROWS / 8, 8 * COLUMNS), Axis::new(COLUMNS, 1)],
        columns: Axis::new(6, COLUMNS),
    };
    let narrow = View { base: 32, rows: vec![Axis::new(ROWS, COLUMNS)], columns: Axis::new(64, 1) };
    for (weight, dtype) in types.into_iter().enumerate() {
        let one = |view: View| vec![(weight, view, Map::Same)];
        let stack = (0..types.len()).map(|weight| (weight, whole(), Map::Same)).collect();
        let tensors = vec![
            tensor("whole", &[ROWS, COLUMNS], one(whole())),
            tensor("slice", &[10, COLUMNS], one(View::slice(17, 10, COLUMNS))),
            tensor("interleaved", &[ROWS, COLUMNS], one(View::interleaved_halves(&[ROWS, COLUMNS], 4))),
            tensor("transposed", &[COLUMNS, ROWS], one(View::transposed(ROWS, COLUMNS))),
            tensor("per_head", &[ROWS / 8, COLUMNS, 6], one(per_head.clone())),
            tensor("narrow", &[ROWS, 64], one(narrow.clone())),
            tensor("even", &[HALF, COLUMNS], one(every_other(0))),
            tensor("odd", &[HALF, COLUMNS], one(every_other(1))),
            tensor("plus_one", &[ROWS, COLUMNS], vec![(weight, whole(), Map::PlusOne)]),
            tensor("minus_exp", &[4, COLUMNS], vec![(weight, View::slice(0, 4, COLUMNS), Map::MinusExp)]),
            tensor("stack", &[types.len() as u64, ROWS, COLUMNS], stack),
            tensor(
                "concatenated",
                &[ROWS + 3, COLUMNS],
                vec![(weight, View::slice(5, 3, COLUMNS), Map::Same), (0, whole(), Map::PlusOne)],
            ),
        ];
        let beside = |name: &str, run: u64, views: [View; 3]| ModelTensor {
            data: TensorData::Woven(
                views.map(|view| Piece { weight, view, map: Map::Same }).into_iter().collect::<Vec<Piece>>(),
                run,
            ),
            ..tensor(name, &[COLUMNS, 3 * 32], Vec::new())
        };
        // columns of the weight as rows, and rows of it
        let columns_from = |first: u64| View { base: first * COLUMNS, ..View::transposed(32, COLUMNS) };
        let tensors = [
            tensors,
            vec![
                beside("side_by_side", 32, [0, 32, 64].map(columns_from)),
                beside("one_by_one", 1, [64, 0, 32].map(columns_from)),
                beside("by_eights", 8, [7, 8, 40].map(columns_from)),
                ModelTensor {
                    shape: vec![ROWS, 3 * 64],
                    ..beside("rows", 64, [narrow.clone(), narrow.clone(), narrow.clone()])
                },
            ],
        ]
        .concat();
        for max_memory in [2 << 20, 1 << 30] {
            let memory = Memory::new(&types);
            let wanted: Vec<Vec<f32>> = tensors.iter().map(|tensor| expected(&memory, tensor)).collect();
            let written = run(memory, &tensors, max_memory);
            for ((tensor, wanted), written) in tensors.iter().zip(wanted).zip(written) {
                assert_eq!(wanted.len(), written.len(), "{dtype} {}", tensor.name);
                let same = wanted.iter().zip(&written).all(|(wanted, written)| wanted.to_bits() == written.to_bits());
                assert!(same, "{dtype} {}, {max_memory}", tensor.name);
            }
        }
    }
}

/// Codes of four bits that are stored as blocks of Q4_0, as a scheme would hand them out.
#[derive(Debug)]
struct Codes;

impl Encoded for Codes {
    fn name(&self) -> String {
        "codes".to_owned()
    }

    fn parts(&self) -> Vec<usize> {
        vec![0]
    }

    fn decode(&self, source: &dyn Source, level: Level, rows: Range<usize>, columns: Range<usize>, dst: &mut [f32]) {
        assert_eq!(columns, 0..COLUMNS as usize);
        dequantize(level, Dtype::Q4_0, &source.view(&source.tensors()[0])[blocks(&rows)], dst);
    }

    fn lossless(&self) -> Option<Dtype> {
        Some(Dtype::Q4_0)
    }

    fn repack(&self, source: &dyn Source, rows: Range<usize>, dst: &mut [u8]) {
        dst.copy_from_slice(&source.view(&source.tensors()[0])[blocks(&rows)]);
    }
}

/// Bytes of rows in Q4_0.
fn blocks(rows: &Range<usize>) -> Range<usize> {
    let row = COLUMNS as usize / 32 * 18;
    rows.start * row..rows.end * row
}

#[test]
fn codes_that_a_type_holds_exactly_are_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let shape = [ROWS, COLUMNS];
    let memory = Memory::new(&[Dtype::Q4_0]);
    let stored = memory.bytes.clone();
    let values = memory.values(0);
    let metadata = memory.metadata.clone();
    let codes = Weight {
        name: "codes".to_owned(),
        shape: shape.to_vec(),
        dtype: Dtype::BF16,
        storage: Storage::Encoded(Box::new(Codes)),
        factors: None,
    };
    let weights = Weights::new(Box::new(memory), vec![codes]);
    let interleaved = View::interleaved_halves(&shape, 4);
    let row_of = |row: u64| (interleaved.row_start(row) / COLUMNS) as usize;
    let tensor = ModelTensor {
        dtype: Dtype::BF16,
        ..tensor("blk.0.attn_q.weight", &shape, vec![(0, interleaved.clone(), Map::Same)])
    };
    let model = Model {
        architecture: "llama".to_owned(),
        own_names: false,
        metadata,
        tensors: vec![tensor],
        notes: Vec::new(),
    };
    let types = ["Q4_0", "Q8_0"];
    let outputs = types.map(|name| Output { target: Target::find(name).unwrap(), path: dir.path().join(name) });
    let facts = plan::Input {
        path: Path::new("memory.gguf"),
        weights: &weights,
        model: &model,
        published: None,
        importance: None,
    };
    let request = Request {
        outputs: outputs.to_vec(),
        types: TypeOptions { pure: true, ..TypeOptions::default() },
        ..Request::default()
    };
    let plan = plan::plan(&facts, &request).unwrap();
    assert_eq!(plan.outputs.iter().map(|output| output.tensors[0].lossless).collect::<Vec<_>>(), [true, false]);
    let settings = Settings { threads: NonZeroUsize::MIN, max_memory: 1 << 20, level: Level::detect(), force: false };
    let importance = Importance::default();
    Run::new(&plan, &facts, &importance, settings)
        .unwrap()
        .execute(Control { cancel: &AtomicBool::new(false), progress: &|_| {} })
        .unwrap();
    let written = types.map(|name| weightmill_formats::open(&dir.path().join(name)).unwrap());
    let bytes = |index: usize| written[index].view(&written[index].tensors()[0]);
    let rows = (0..ROWS).map(row_of);
    let want: Vec<u8> = rows.clone().flat_map(|row| stored[blocks(&(row..row + 1))].to_vec()).collect();
    assert!(bytes(0) == want, "the codes differ");
    // Any other type goes through BF16, as a decoded source does.
    let columns = COLUMNS as usize;
    let rounded: Vec<f32> = rows
        .flat_map(|row| values[row * columns..(row + 1) * columns].to_vec())
        .map(|value| half::bf16::from_f32(value).to_f32())
        .collect();
    let mut want = vec![0; bytes(1).len()];
    quantize(Level::by_name("scalar").unwrap(), Dtype::Q8_0, &rounded, columns, None, &mut want);
    assert!(bytes(1) == want, "other weights");
}

/// Writes the tensors as F32 and reads them back.
fn run(memory: Memory, tensors: &[ModelTensor], max_memory: u64) -> Vec<Vec<f32>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.gguf");
    let model = Model {
        architecture: "llama".to_owned(),
        own_names: false,
        metadata: memory.metadata.clone(),
        tensors: tensors.to_vec(),
        notes: Vec::new(),
    };
    let weights = Weights::plain(Box::new(memory));
    let outputs = vec![Output { target: Target::find("F32").unwrap(), path: path.clone() }];
    let facts = plan::Input {
        path: Path::new("memory.gguf"),
        weights: &weights,
        model: &model,
        published: None,
        importance: None,
    };
    let plan = plan::plan(&facts, &Request { outputs, ..Request::default() }).unwrap();
    let settings =
        Settings { threads: NonZeroUsize::new(2).unwrap(), max_memory, level: Level::detect(), force: false };
    let importance = Importance::default();
    let run = Run::new(&plan, &facts, &importance, settings).unwrap();
    run.execute(Control { cancel: &AtomicBool::new(false), progress: &|_| {} }).unwrap();
    let written = weightmill_formats::open(&path).unwrap();
    let values = |tensor: &ModelTensor| {
        let info = written.tensors().iter().find(|info| info.name == tensor.name).unwrap();
        assert_eq!((&info.shape, info.dtype), (&tensor.shape, Dtype::F32));
        let view = written.view(info);
        view.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    };
    tensors.iter().map(values).collect()
}
