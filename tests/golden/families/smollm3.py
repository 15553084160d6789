"""SmolLM3."""
from families import REMOVED, attention, base, case, ends, mlp, new_style, norms

PLAIN = base("SmolLM3ForCausalLM", "smollm3", no_rope_layers=[1, 1], no_rope_layer_interval=4, rope_scaling=None, use_sliding_window=False, sliding_window=None,
             tie_word_embeddings=REMOVED)
DEFAULTS = base("SmolLM3ForCausalLM", "smollm3", torch_dtype=REMOVED, dtype="bfloat16", rope_theta=REMOVED, max_position_embeddings=REMOVED, num_key_value_heads=REMOVED,
                rms_norm_eps=REMOVED, attention_bias=True)


def tensors(c, bias="", head=False):
    out = ends(c, head=head)
    for i in range(c["num_hidden_layers"]):
        out += norms(c, i) + attention(c, i, bias=bias) + mlp(f"model.layers.{i}.mlp.", c["hidden_size"], c["intermediate_size"])
    return out


CASES = {"smollm3": case(PLAIN, tensors(PLAIN)), "smollm3_defaults": case(DEFAULTS, tensors({**DEFAULTS, "num_key_value_heads": 4}, bias="qkvo", head=True))}
