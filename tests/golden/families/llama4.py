"""Llama 4: transposed stacks of experts, gate and up in one; every second layer dense; a vision part that is left out."""
from families import REMOVED, attention, base, case, ends, mlp, new_style, norms

ROPE = {"factor": 16.0, "high_freq_factor": 1.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"}


def text(**settings):
    return base("Llama4ForCausalLM", "llama4_text", intermediate_size=24, intermediate_size_mlp=48, num_local_experts=3, num_experts_per_tok=1,
                interleave_moe_layer_step=2, head_dim=8, num_hidden_layers=4, use_qk_norm=True, attention_chunk_size=8192, rope_theta=500000.0,
                attn_temperature_tuning=True, rope_scaling=ROPE, **settings)


def tensors(c, prefix="model.", head="lm_head.weight"):
    h, f, e = c["hidden_size"], c["intermediate_size"], c["num_local_experts"]
    out = [(head if n == "lm_head.weight" else n, s) for n, s in ends(c, prefix)]
    for i in range(c["num_hidden_layers"]):
        p = f"{prefix}layers.{i}.feed_forward."
        out += norms(c, i, prefix) + attention(c, i, prefix)
        if (i + 1) % c["interleave_moe_layer_step"]:
            out += mlp(p, h, c["intermediate_size_mlp"])
        else:
            out += [(p + "experts.down_proj", (e, f, h)), (p + "experts.gate_up_proj", (e, h, 2 * f)), (p + "router.weight", (e, h))]
            out += mlp(p + "shared_expert.", h, f)
    return out


INNER = text(architectures=REMOVED)
WHOLE = {"architectures": ["Llama4ForConditionalGeneration"], "model_type": "llama4", "torch_dtype": "bfloat16", "text_config": INNER,
         "vision_config": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}, "tie_word_embeddings": False}
VISION = [("vision_model.model.layers.0.self_attn.q_proj.weight", (16, 16)), ("vision_model.class_embedding", (16,)),
          ("multi_modal_projector.linear_1.weight", (32, 16))]
# the text part alone, as transformers 5 writes it; all layers with experts; full attention only
TEXT = new_style(text(tie_word_embeddings=False) | {"interleave_moe_layer_step": 1, "num_hidden_layers": 2, "layer_types": ["full_attention"] * 2})
CASES = {"llama4": case(WHOLE, tensors(INNER, "language_model.model.", "language_model.lm_head.weight") + VISION),
         "llama4_text": case(TEXT, tensors(TEXT))}
