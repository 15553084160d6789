//! Which tensors are never quantized, whatever the recipe says.

use weightmill_formats::gguf::trimmed;
use weightmill_kernels::Dtype;

use super::Facts;
use super::choose::Candidate;
use crate::options::TypeOptions;

/// Parts of the names of tensors that keep their type: small, or harmed too much by quantization.
// tensor_allows_quantization
const KEPT: &[&str] = &[
    "_norm.weight",
    // Choice of experts.
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    // Gemma 3n.
    "altup",
    "laurel",
    "per_layer_model_proj",
    // Convolutions of Mamba, Kimi and LFM2.
    "ssm_conv1d",
    "shortconv.conv.weight",
    // MiniMax.
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    // RWKV.
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    // T5.
    "attn_rel_b.weight",
    // Vision and audio.
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
];

/// The same, of one architecture only, which llama.cpp has since v0.5.0: no golden covers it.
const KEPT_IN_GLM5: &[&str] = &[
    "hc_",
    "indexer.attn_q_b",
    "indexer.attn_k",
    "indexer.proj",
    "indexer_compressor_gate",
    "indexer_compressor_ape",
    "ssm_f_a.weight",
    "ssm_f_b.weight",
    "ssm_g_a.weight",
    "ssm_g_b.weight",
    "ssm_beta.weight",
    "attn_kv_a_mqa.weight",
    "attn_k_b.weight",
    "attn_v_b.weight",
];

/// Position embeddings and token types of BERT.
const KEPT_WHOLE_NAMES: &[&str] = &["position_embd.weight", "token_types.weight"];

/// GLM 5 tensors that get Q8_0 at least.
const SENSITIVE_IN_GLM5: &[&str] = &["attn_q_a", "attn_q_b", "nextn.eh_proj"];

pub(crate) fn can_be_quantized(tensor: Candidate<'_>, facts: &Facts, options: &TypeOptions) -> bool {
    let Candidate { name, shape, .. } = tensor;
    let contains_any = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    // ggml does not count outer dimensions of 1.
    trimmed(shape).len() >= 2
        && is_weight(name)
        && !(options.leave_output_tensor && name == "output.weight")
        && !KEPT_WHOLE_NAMES.contains(&name)
        && !contains_any(KEPT)
        && !(facts.architecture == "glm5-next" && contains_any(KEPT_IN_GLM5))
}

/// Which tensors of a source that is no language model are 2-D weights, which alone are quantized: matrices of floats whose
/// names end in `weight`, or all matrices where none has such a name. Name, row-major shape and type of every tensor.
pub(crate) fn own_matrices<'a>(tensors: impl Iterator<Item = (&'a str, &'a [u64], Dtype)> + Clone) -> Vec<bool> {
    let is_matrix = |shape: &[u64], dtype| {
        let floats = matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16);
        floats && matches!(shape, [rows, columns] if *rows > 1 && *columns > 1)
    };
    let is_named = |name: &str| name.ends_with("weight");
    let mut all = tensors.clone();
    let any_named = all.any(|(name, shape, dtype)| is_matrix(shape, dtype) && is_named(name));
    tensors.map(|(name, shape, dtype)| is_matrix(shape, dtype) && (is_named(name) || !any_named)).collect()
}

pub(super) fn is_sensitive_in_glm5(name: &str) -> bool {
    SENSITIVE_IN_GLM5.iter().any(|part| name.contains(part))
}

/// llama.cpp's test for "ends with weight", which every name of five bytes passes as well.
fn is_weight(name: &str) -> bool {
    name.ends_with("weight") || name.len() == 5
}

/// Parts of the names of tensors that the converter writes as F32 whatever type it is asked for.
// prepare_tensors in conversion/base.py, tensor names of gguf-py/gguf/constants.py.
const CONVERTED_TO_F32: &[&str] = &[
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_inp_shexp.weight",
    "position_embd.weight",
    "token_types.weight",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "time_mix_first.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "altup_correct_coef.weight",
    "altup_predict_coef.weight",
    "indexer.proj.weight",
];

/// True if llama.cpp's converter writes this tensor as F32 whatever type it is asked for.
pub(crate) fn stays_f32(name: &str, shape: &[u64]) -> bool {
    shape.len() <= 1 || !name.ends_with(".weight") || CONVERTED_TO_F32.iter().any(|part| name.contains(part))
}
