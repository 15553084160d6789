//! What the tensors and metadata of a model do not tell about its graph: one row per `general.architecture`.
//!
//! Everything else is read off: which projections, biases, norms and experts there are from the tensors, sizes and
//! scales from the metadata. Facts: `src/models/*.cpp` of llama.cpp.

use super::activation::Activation;
use super::norm::Norm;
use super::rope::Pairs;

/// How one family computes.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// `general.architecture`.
    pub name: &'static str,
    /// Which numbers are rotated together; none if positions are embedded.
    pub pairs: Option<Pairs>,
    /// Kind of its norms.
    pub norm: Norm,
    /// Function of its feed-forward networks.
    pub activation: Activation,
    /// Which layers look back over a window only.
    pub window: Window,
    /// Which layers rotate nothing.
    pub unrotated: Unrotated,
    /// How embeddings are scaled before the first layer, where no key says so.
    pub embedding: Embedding,
    /// How `logit_scale` applies.
    pub logits: LogitScale,
    /// How experts are chosen and weighted.
    pub routing: Routing,
    /// Rotated queries and keys are divided by their root mean square, without weights.
    pub normalizes_rotated: bool,
}

/// Which layers attend to a window, where the metadata do not list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// None, whatever a key says.
    Never,
    /// Of so many layers all but the last, if there is a window.
    Sliding {
        /// Layers until the pattern repeats.
        period: u32,
        /// Length where no key gives it.
        default: u32,
    },
    /// As before, but the window begins at a multiple of its length.
    Chunked {
        /// Layers until the pattern repeats.
        period: u32,
        /// Its length.
        length: u32,
    },
}

/// Which layers rotate nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrotated {
    /// None.
    Never,
    /// The last of every so many.
    LastOf(u32),
    /// Those that attend to everything.
    WithoutWindow,
}

/// Factor of the embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Embedding {
    /// None.
    Plain,
    /// The root of the width.
    RootOfWidth,
}

/// What `logit_scale` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogitScale {
    /// Multiplies logits.
    Multiply,
    /// Divides them.
    Divide,
}

/// How the router's outputs become a choice and weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routing {
    /// Function, where `expert_gating_func` does not say.
    pub gating: Gating,
    /// Weights of the chosen add up to one, where `expert_weights_norm` does not say.
    pub normalized: bool,
    /// The weights multiply the input of an expert in place of its output.
    pub weighs_input: bool,
}

/// Function of the router's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gating {
    /// Softmax over all experts.
    Softmax,
    /// Each on its own.
    Sigmoid,
    /// Softmax over the chosen.
    SoftmaxOfChosen,
}

const SOFTMAX: Routing = Routing { gating: Gating::Softmax, normalized: true, weighs_input: false };

/// Llama, from which the others differ.
const LLAMA: Family = Family {
    name: "llama",
    pairs: Some(Pairs::Adjacent),
    norm: Norm::Rms,
    activation: Activation::Silu,
    window: Window::Never,
    unrotated: Unrotated::Never,
    embedding: Embedding::Plain,
    logits: LogitScale::Multiply,
    routing: SOFTMAX,
    normalizes_rotated: false,
};

/// Qwen: the same with halves rotated.
const QWEN: Family = Family { name: "qwen2", pairs: Some(Pairs::Halves), ..LLAMA };

const GEMMA: Family = Family { name: "gemma", activation: Activation::Gelu, embedding: Embedding::RootOfWidth, ..QWEN };

/// Every family that can be run.
pub const FAMILIES: &[Family] = &[
    LLAMA,
    Family { name: "mistral3", ..LLAMA },
    Family {
        name: "llama4",
        window: Window::Chunked { period: 4, length: 8192 },
        unrotated: Unrotated::LastOf(4),
        routing: Routing { gating: Gating::Sigmoid, normalized: false, weighs_input: true },
        normalizes_rotated: true,
        ..LLAMA
    },
    QWEN,
    Family { name: "qwen2moe", routing: Routing { normalized: false, ..SOFTMAX }, ..QWEN },
    Family { name: "qwen3", ..QWEN },
    Family { name: "qwen3moe", ..QWEN },
    Family { name: "deepseek2", routing: Routing { normalized: false, ..SOFTMAX }, ..LLAMA },
    Family {
        name: "gpt-oss",
        activation: Activation::ClampedSwiglu,
        window: Window::Sliding { period: 2, default: 0 },
        routing: Routing { gating: Gating::SoftmaxOfChosen, normalized: false, weighs_input: false },
        ..QWEN
    },
    GEMMA,
    Family { name: "gemma2", window: Window::Sliding { period: 2, default: 4096 }, ..GEMMA },
    Family { name: "gemma3", window: Window::Sliding { period: 6, default: 0 }, ..GEMMA },
    Family { name: "phi3", ..QWEN },
    Family { name: "olmo2", window: Window::Sliding { period: 4, default: 0 }, ..QWEN },
    Family { name: "chatglm", ..LLAMA },
    Family { name: "glm4", ..LLAMA },
    Family {
        name: "glm4moe",
        routing: Routing { gating: Gating::Sigmoid, normalized: false, weighs_input: false },
        ..QWEN
    },
    Family { name: "granite", logits: LogitScale::Divide, ..LLAMA },
    Family { name: "granitemoe", logits: LogitScale::Divide, ..LLAMA },
    Family { name: "command-r", norm: Norm::Layer, ..LLAMA },
    Family {
        name: "cohere2",
        norm: Norm::Layer,
        window: Window::Sliding { period: 4, default: 0 },
        unrotated: Unrotated::WithoutWindow,
        ..LLAMA
    },
    Family { name: "smollm3", unrotated: Unrotated::LastOf(4), ..LLAMA },
    Family { name: "starcoder", pairs: None, norm: Norm::Layer, activation: Activation::Gelu, ..LLAMA },
    Family { name: "starcoder2", norm: Norm::Layer, activation: Activation::Gelu, ..QWEN },
];

impl Family {
    /// The family of an architecture, if it can be run.
    pub fn of(architecture: &str) -> Option<&'static Family> {
        FAMILIES.iter().find(|family| family.name == architecture)
    }
}
