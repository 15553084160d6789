"""Command R, R+ and R7B."""
from families import REMOVED, attention, base, case, ends, mlp, new_style, norms


def cohere(architecture, kind, **settings):
    return base(architecture, kind, **{"rms_norm_eps": REMOVED, "tie_word_embeddings": REMOVED, "layer_norm_eps": 1e-5, "logit_scale": 0.8, "attention_bias": False, **settings})


R = cohere("CohereForCausalLM", "cohere", torch_dtype="float16", model_max_length=131072, max_position_embeddings=8192, num_key_value_heads=REMOVED, rope_theta=8000000.0)
R_PLUS = new_style(cohere("CohereForCausalLM", "cohere", use_qk_norm=True, logit_scale=REMOVED, layer_norm_eps=REMOVED))
R_7B = cohere("Cohere2ForCausalLM", "cohere2", head_dim=8, rotary_pct=1.0, sliding_window=4000, sliding_window_pattern=4, rope_scaling=None)
R_7B_NEW = new_style(cohere("Cohere2ForCausalLM", "cohere2", rotary_pct=0.5, layer_types=["sliding_attention", "full_attention"]))


def tensors(c, norm=False):
    out = ends(c, head=False)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        out += norms(c, i, names=("input_layernorm",)) + attention(c, i) + mlp(p + "mlp.", c["hidden_size"], c["intermediate_size"])
        out += [(p + "self_attn.q_norm.weight", (4, 8)), (p + "self_attn.k_norm.weight", (2, 8))] * norm
    return out


CASES = {"command_r": case(R, tensors(R), outtype="f16"), "command_r_plus_new": case(R_PLUS, tensors(R_PLUS, norm=True)),
         "command_r7b": case(R_7B, tensors(R_7B)), "command_r7b_new": case(R_7B_NEW, tensors(R_7B_NEW))}
