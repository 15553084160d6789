//! Diffusion models by the names of their tensors: what the runtimes that read them as GGUF call their architecture.
//!
//! Names and marks are those by which ComfyUI-GGUF tells them apart (its tools/convert.py). Of Flux, SD 3 and
//! AuraFlow it reads only the publishers' own names, not those of diffusers; marks of the latter are left out here.

use std::collections::HashSet;

/// `general.architecture`, and names that are all there in such a model.
const KNOWN: &[(&str, &[&str])] = &[
    ("flux", &["double_blocks.0.img_attn.proj.weight"]),
    ("sd3", &["joint_blocks.0.x_block.attn.qkv.weight"]),
    ("aura", &["double_layers.3.modX.1.weight"]),
    ("hidream", &["caption_projection.0.linear.weight", "double_stream_blocks.0.block.ff_i.shared_experts.w3.weight"]),
    ("cosmos", &["blocks.0.mlp.layer1.weight", "blocks.0.adaln_modulation_cross_attn.1.weight"]),
    (
        "ltxv",
        &[
            "adaln_single.emb.timestep_embedder.linear_2.weight",
            "transformer_blocks.27.scale_shift_table",
            "caption_projection.linear_2.weight",
        ],
    ),
    (
        "hyvid",
        &["double_blocks.0.img_attn_proj.weight", "txt_in.individual_token_refiner.blocks.1.self_attn_qkv.weight"],
    ),
    ("wan", &["blocks.0.self_attn.norm_q.weight", "text_embedding.2.weight", "head.modulation"]),
    ("sdxl", &["down_blocks.0.downsamplers.0.conv.weight", "add_embedding.linear_1.weight"]),
    (
        "sdxl",
        &[
            "input_blocks.3.0.op.weight",
            "input_blocks.6.0.op.weight",
            "output_blocks.2.2.conv.weight",
            "output_blocks.5.2.conv.weight",
        ],
    ),
    ("sdxl", &["label_emb.0.0.weight"]),
    ("sd1", &["down_blocks.0.downsamplers.0.conv.weight"]),
    (
        "sd1",
        &[
            "input_blocks.3.0.op.weight",
            "input_blocks.6.0.op.weight",
            "input_blocks.9.0.op.weight",
            "output_blocks.2.1.conv.weight",
            "output_blocks.5.2.conv.weight",
            "output_blocks.8.2.conv.weight",
        ],
    ),
    ("lumina2", &["cap_embedder.1.weight", "context_refiner.0.attention.qkv.weight"]),
];

/// What stands before all names of the diffusion model in a file that holds text encoders and VAE too.
const PREFIX: &str = "model.diffusion_model.";

/// The architecture of the diffusion model that has tensors of these names.
pub(super) fn find<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'static str> {
    let names: HashSet<&str> = names.map(|name| name.strip_prefix(PREFIX).unwrap_or(name)).collect();
    KNOWN.iter().find(|(_, marks)| marks.iter().all(|mark| names.contains(mark))).map(|(name, _)| *name)
}
