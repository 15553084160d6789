//! A forward pass that holds one matrix of a model at a time.
//!
//! The activations of all tokens go through the model layer by layer: embeddings, then every layer over all sequences,
//! then the head. Of the weights only some rows are decoded at once, straight from the source, so a model may be larger than the
//! memory; activations that are go to a temporary file. The graph of a family is read off the tensors and metadata of
//! its GGUF form, so checkpoints of every scheme and GGUF files of every type run alike; what those do not tell is a
//! row of [`family::FAMILIES`].
//!
//! Results are those of llama.cpp's CPU back end up to the order of sums: activations are rounded as it rounds them
//! ([`Activations::Rounded`]).

mod activation;
mod attention;
mod error;
pub mod family;
mod feed_forward;
mod latent;
mod linear;
mod matrix;
mod norm;
mod product;
mod rope;
mod rounding;
mod settings;
mod stream;
mod tensors;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rayon::prelude::*;
use weightmill_kernels::Level;

use crate::model::Model;
use crate::weights::Weights;
use norm::normalize;
use tensors::Tensors;

pub use activation::Activation;
pub use error::Error;
pub use linear::{Observer, Part};
pub use matrix::Matrix;
pub use norm::Norm;
pub use product::{MatMul, MatrixMultiply, Rows, RowsMut, Threads};
pub use rope::{Pairs, Rope};
pub use rounding::Activations;
pub use settings::Settings;
pub use stream::Stream;

/// Weights that are decoded at once, if the memory allows.
const SLAB: usize = 8 << 20;

/// Tokens that go through a layer together, if the memory allows: each decoded weight then serves so many. With experts
/// every one should get its share.
const BATCH: usize = 4096;
const BATCH_WITH_EXPERTS: usize = 32_768;

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tokens of a sequence: all have the same number.
    pub sequence: usize,
    /// Most bytes of activations and decoded weights.
    pub max_memory: u64,
    /// Where activations go that take more.
    pub folder: PathBuf,
    /// CPU level of the kernels.
    pub level: Level,
    /// How exactly activations are multiplied.
    pub activations: Activations,
}

/// A model that is ready to be run.
pub struct Machine<'a> {
    settings: Settings,
    tensors: Tensors<'a>,
    product: Box<dyn MatMul>,
    activations: Activations,
    /// Tokens of a sequence.
    sequence: usize,
    /// Weights that are decoded at once.
    slab: usize,
    options: Options,
    cancel: &'a AtomicBool,
}

/// Names of a layer's tensors.
struct LayerNames(usize);

impl LayerNames {
    fn of(&self, name: &str) -> String {
        format!("blk.{}.{name}", self.0)
    }
}

impl<'a> Machine<'a> {
    /// Prepares `model`, whose values lie in `weights`. Setting `cancel` ends whatever runs.
    ///
    /// # Errors
    /// If the architecture cannot be run, or if a key is missing or makes no sense.
    pub fn new(
        model: &'a Model,
        weights: &'a Weights,
        options: Options,
        cancel: &'a AtomicBool,
    ) -> Result<Self, Error> {
        let settings = Settings::of(model)?;
        let tensors = Tensors::new(model, weights, options.level);
        let eighth = usize::try_from(options.max_memory / 8 / size_of::<f32>() as u64).unwrap_or(usize::MAX);
        Ok(Self {
            settings,
            tensors,
            product: Box::new(MatrixMultiply),
            activations: options.activations,
            sequence: options.sequence,
            slab: SLAB.min(eighth).max(1),
            options,
            cancel,
        })
    }

    /// The hyper-parameters.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Tokens of the vocabulary: rows of the embedding.
    pub fn vocabulary(&self) -> usize {
        self.tensors.shape("token_embd.weight").map_or(0, |shape| shape[0] as usize)
    }

    /// Fails with [`Error::Cancelled`] if that was asked for.
    pub(crate) fn check_cancelled(&self) -> Result<(), Error> {
        if self.cancel.load(Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// The input of the first layer, for sequences one after the other.
    ///
    /// # Errors
    /// If the embedding is missing or cannot be read.
    pub fn embed(&self, tokens: &[u32]) -> Result<Stream, Error> {
        let Settings { width, embedding_scale, .. } = self.settings;
        let reader = self.tensors.reader("token_embd.weight")?;
        if reader.columns() != width {
            let found = self.tensors.shape("token_embd.weight").unwrap_or_default().to_vec();
            let expected = vec![reader.rows() as u64, width as u64];
            return Err(Error::Shape { tensor: "token_embd.weight".to_owned(), found, expected });
        }
        let positions = self.positions()?;
        let mut stream = Stream::new(tokens.len(), width, self.options.max_memory / 4, &self.options.folder)?;
        for (number, tokens) in tokens.chunks(self.sequence).enumerate() {
            self.check_cancelled()?;
            let mut rows = Matrix::zeros(tokens.len(), width);
            let results: Vec<Result<(), Error>> = (rows.data.par_chunks_exact_mut(width).zip(tokens))
                .map(|(row, token)| {
                    let token = (*token as usize).min(reader.rows() - 1);
                    Ok(reader.read(token..token + 1, row)?)
                })
                .collect();
            results.into_iter().collect::<Result<(), Error>>()?;
            rows.scale(embedding_scale);
            if !positions.data.is_empty() {
                rows.add(&positions);
            }
            stream.write(number * self.sequence, &rows)?;
        }
        Ok(stream)
    }

    /// Embedded positions, of models that rotate nothing.
    fn positions(&self) -> Result<Matrix, Error> {
        if self.settings.family.pairs.is_some() {
            return Ok(Matrix::default());
        }
        let tensor = "position_embd.weight";
        let reader = self.tensors.reader(tensor)?;
        if reader.rows() < self.sequence || reader.columns() != self.settings.width {
            let found = self.tensors.shape(tensor).unwrap_or_default().to_vec();
            let expected = vec![self.sequence as u64, self.settings.width as u64];
            return Err(Error::Shape { tensor: tensor.to_owned(), found, expected });
        }
        let mut positions = Matrix::zeros(self.sequence, self.settings.width);
        reader.read(0..self.sequence, &mut positions.data)?;
        Ok(positions)
    }

    /// Brings all sequences through layer `layer`.
    ///
    /// # Errors
    /// If tensors are missing, have other shapes or cannot be read, or if the results are not finite.
    pub fn layer(&self, layer: usize, stream: &mut Stream, observer: &mut dyn Observer) -> Result<(), Error> {
        self.each_batch(layer, stream, observer, true)
    }

    /// Shows an observer what layer `layer` computes, and leaves the stream before the layer.
    ///
    /// # Errors
    /// As [`Machine::layer`].
    pub fn observe(&self, layer: usize, stream: &mut Stream, observer: &mut dyn Observer) -> Result<(), Error> {
        self.each_batch(layer, stream, observer, false)
    }

    fn each_batch(
        &self,
        layer: usize,
        stream: &mut Stream,
        observer: &mut dyn Observer,
        keep: bool,
    ) -> Result<(), Error> {
        let batch = self.batch(layer, stream)?;
        let mut first = 0;
        while first < stream.tokens() {
            let tokens = first..stream.tokens().min(first + batch);
            let mut states = stream.read(tokens)?;
            self.block(layer, &mut states, observer)?;
            if let Some(at) = states.data.par_iter().with_min_len(1 << 16).position_first(|value| !value.is_finite()) {
                return Err(Error::NonFinite { layer, token: first + at / states.columns });
            }
            if keep {
                stream.write(first, &states)?;
            }
            first += batch;
        }
        Ok(())
    }

    /// Tokens of so many whole sequences that they fit the memory.
    fn batch(&self, layer: usize, stream: &Stream) -> Result<usize, Error> {
        let settings = &self.settings;
        let (heads, groups) = (settings.heads[layer], settings.kv_heads[layer]);
        let (key, value, groups) = match settings.latent {
            Some(latent) => (latent.rank + settings.rope.dimensions, latent.rank.max(latent.value), groups),
            None => (settings.key, settings.value, groups),
        };
        let names = LayerNames(layer);
        let inner = ["ffn_up", "ffn_up_shexp", "ffn_up_exps", "ffn_gate_up_exps"].into_iter().filter_map(|name| {
            let shape = self.tensors.shape(&names.of(&format!("{name}.weight")))?;
            Some(shape[shape.len().saturating_sub(2)] as usize)
        });
        // every matrix that lives at the same time, and copies that are rounded
        let attention = 3 * heads * key + 3 * groups * (key + value) + 3 * heads * value;
        let numbers = 8 * settings.width + attention.max(3 * inner.max().unwrap_or(0));
        let scores = attention::QUERY_ROWS * self.sequence * rayon::current_num_threads();
        let needed = ((numbers * self.sequence + scores + self.slab) * size_of::<f32>()) as u64;
        let resident = (stream.tokens() * settings.width * size_of::<f32>()) as u64 - stream.spilled_bytes();
        let limit = self.options.max_memory;
        let left = limit.saturating_sub(resident);
        if needed > left {
            return Err(Error::Memory { limit, needed: needed + resident, tokens: self.sequence });
        }
        let fitting = 1 + (left - needed) / (numbers * self.sequence * size_of::<f32>()) as u64;
        let wanted = if settings.experts.is_some() { BATCH_WITH_EXPERTS } else { BATCH };
        let sequences = (wanted / self.sequence).max(1).min(usize::try_from(fitting).unwrap_or(usize::MAX));
        Ok(sequences * self.sequence)
    }

    /// One layer over some sequences.
    fn block(&self, layer: usize, states: &mut Matrix, observer: &mut dyn Observer) -> Result<(), Error> {
        let names = LayerNames(layer);
        let has = |name: &str| self.tensors.has(&names.of(&format!("{name}.weight")));
        let residual = self.settings.residual_scale;
        let input = self.normalized(&names.of("attn_norm"), states)?;
        let mut attended = match self.settings.latent {
            Some(latent) => self.latent_attention(layer, latent, &input, observer)?,
            None => self.attention(layer, &input, observer)?,
        };
        // the norm after attention is applied to its result where the network has one of its own, or where there is none
        // before attention either; elsewhere it is the network's
        let after = has("post_attention_norm");
        let before_network = has("ffn_norm");
        let of_result = after && (before_network || !has("attn_norm"));
        if of_result {
            attended = self.normalized(&names.of("post_attention_norm"), &attended)?;
        }
        attended.scale(residual);
        let input = if before_network || after {
            states.add(&attended);
            let norm = match (before_network, of_result) {
                (true, _) => "ffn_norm",
                (false, false) => "post_attention_norm",
                // OLMo 2 has norms of results only
                (false, true) => "",
            };
            self.normalized(&names.of(norm), states)?
        } else {
            // both branches start from the same input
            states.add(&attended);
            input
        };
        let mut output = self.feed_forward(layer, &input, observer)?;
        if has("post_ffw_norm") {
            output = self.normalized(&names.of("post_ffw_norm"), &output)?;
        }
        output.scale(residual);
        states.add(&output);
        Ok(())
    }

    /// Rows after the norm of this name; as they are where there is none.
    fn normalized(&self, name: &str, rows: &Matrix) -> Result<Matrix, Error> {
        let mut rows = rows.clone();
        let weights = self.tensors.vector(&format!("{name}.weight"), &[rows.columns])?;
        if !weights.is_empty() {
            let bias = self.tensors.vector(&format!("{name}.bias"), &[rows.columns])?;
            let columns = rows.columns;
            normalize(self.settings.family.norm, self.settings.epsilon, &weights, &bias, columns, &mut rows.data);
        }
        Ok(rows)
    }

    /// The logits after the last layer, of these rows.
    ///
    /// # Errors
    /// If a tensor of the head is missing, has another shape or cannot be read.
    pub fn logits(&self, states: &Matrix, observer: &mut dyn Observer) -> Result<Matrix, Error> {
        let (name, states) = self.head(states)?;
        let mut logits = self.linear(name, &states, observer)?;
        logits.scale(self.settings.logit_scale);
        let cap = self.settings.logit_cap;
        if cap != 0.0 {
            logits.data.par_iter_mut().for_each(|logit| *logit = cap * (*logit / cap).tanh());
        }
        Ok(logits)
    }

    /// Shows an observer what the head would multiply, of these rows after the last layer.
    ///
    /// # Errors
    /// As [`Machine::logits`].
    pub fn head_input(&self, states: &Matrix, observer: &mut dyn Observer) -> Result<(), Error> {
        let (name, states) = self.head(states)?;
        observer.input(&format!("{name}.weight"), Part::Whole, states.part(0, states.columns));
        Ok(())
    }

    /// The tensor of the head, and the rows that it multiplies.
    fn head(&self, states: &Matrix) -> Result<(&'static str, Matrix), Error> {
        if !self.tensors.has("output_norm.weight") {
            return Err(Error::MissingTensor { tensor: "output_norm.weight".to_owned() });
        }
        let name = if self.tensors.has("output.weight") { "output" } else { "token_embd" };
        Ok((name, self.normalized("output_norm", states)?))
    }
}
