"""OLMo 2 and 3."""
from families import REMOVED, attention, base, case, ends, mlp, new_style, norms

YARN = {"attention_factor": 1.2079441541679836, "beta_fast": 32.0, "beta_slow": 1.0, "factor": 8.0, "original_max_position_embeddings": 8192, "rope_type": "yarn"}
OLMO_2 = base("Olmo2ForCausalLM", "olmo2", attention_bias=False, rope_scaling=None, rope_theta=400000)
OLMO_3 = base("Olmo3ForCausalLM", "olmo3", attention_bias=False, rope_scaling=YARN, rope_theta=400000, sliding_window=4000, num_hidden_layers=4,
              layer_types=["sliding_attention", "full_attention", "sliding_attention", "full_attention"])
# without a list of layers every fourth attends to everything
NEW = {**{key: value for key, value in OLMO_3.items() if key not in ("torch_dtype", "rope_scaling", "rope_theta", "layer_types", "sliding_window")}, "dtype": "bfloat16",
       "rope_parameters": {"full_attention": {**YARN, "rope_theta": 400000}, "sliding_attention": {"rope_type": "default", "rope_theta": 300000}}}


def tensors(c):
    h, out = c["hidden_size"], ends(c)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        out += norms(c, i, names=("post_attention_layernorm", "post_feedforward_layernorm")) + attention(c, i) + mlp(p + "mlp.", h, c["intermediate_size"])
        out += [(p + "self_attn.q_norm.weight", (32,)), (p + "self_attn.k_norm.weight", (16,))]
    return out


CASES = {"olmo2": case(OLMO_2, tensors(OLMO_2), pre="dbrx"), "olmo3": case(OLMO_3, tensors(OLMO_3), pre="dbrx"), "olmo3_new": case(NEW, tensors(NEW), pre="dbrx")}
