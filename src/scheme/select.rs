//! Which weights of a checkpoint are quantized, by their names, and which of them share decisions.

/// Parts of names of lists of decoder blocks, which a number follows.
const LISTS: &[&str] = &["layers", "h", "blocks"];

/// Parts of names of what is kept as it is: routers, whose few weights decide what is computed at all; convolutions and
/// linear attention, whose states add errors up; other modalities; layers that predict further tokens; norms.
const KEPT: &[&str] = &[
    "gate",
    "router",
    "shared_expert_gate",
    "linear_attn",
    "conv1d",
    "visual",
    "vision_tower",
    "vision_model",
    "vision_encoder",
    "multi_modal_projector",
    "mm_projector",
    "audio_tower",
    "mtp",
    "eh_proj",
    "embed_tokens",
];

/// Matrices of embeddings and the one of the output.
const OUTSIDE: &[&str] = &["embed_tokens", "lm_head", "wte", "embed_out"];

/// Modules that runtimes fuse into one, by the last parts of their names.
const FUSED: &[&[&str]] =
    &[&["q_proj", "k_proj", "v_proj"], &["gate_proj", "up_proj"], &["w1", "w3"], &["q_a_proj", "kv_a_proj_with_mqa"]];

/// The module of a weight, whose name ends in `.weight`.
pub(crate) fn module(name: &str) -> Option<&str> {
    name.strip_suffix(".weight")
}

/// Whether the module lies in a decoder block.
pub(crate) fn is_in_block(module: &str) -> bool {
    block(module).is_some()
}

/// The number of the block that a module lies in.
pub(super) fn block(module: &str) -> Option<u64> {
    let mut parts = module.split('.');
    parts.find(|part| LISTS.contains(part))?;
    parts.next()?.parse().ok()
}

/// Whether a matrix of a decoder block is quantized. Blocks from number `blocks` on predict further tokens.
pub(crate) fn is_chosen(module: &str, blocks: Option<u64>) -> bool {
    let own = block(module).is_some_and(|block| blocks.is_none_or(|blocks| block < blocks));
    own && !module.split('.').any(|part| KEPT.contains(&part) || part.contains("norm"))
}

/// Whether a matrix is an embedding, or that of the output.
pub(crate) fn is_outside(module: &str) -> bool {
    module.rsplit('.').next().is_some_and(|part| OUTSIDE.contains(&part))
}

/// What modules have in common that become one when they are loaded.
pub(crate) fn fused(module: &str) -> String {
    let Some((path, last)) = module.rsplit_once('.') else { return module.to_owned() };
    match FUSED.iter().find(|set| set.contains(&last)) {
        Some(set) => format!("{path}.{}", set.join("+")),
        None => module.to_owned(),
    }
}

/// The same, where all experts of a block count as one.
pub(crate) fn stacked(module: &str) -> String {
    let fused = fused(module);
    match fused.split_once(".experts.") {
        Some((path, rest)) => {
            let last = rest.split_once('.').map_or(rest, |(_, last)| last);
            format!("{path}.experts.{last}")
        }
        None => fused,
    }
}
