"""Qwen3-Next: linear attention in most layers, a gate beside the queries in the others, and a layer that predicts further tokens."""
from families import TOKENS, base, case, ends, mlp, new_style, norms

CONFIG = base("Qwen3NextForCausalLM", "qwen3_next", vocab_size=TOKENS + 3, rms_norm_eps=1e-6, rope_theta=10000000.0, head_dim=16, num_hidden_layers=4, num_experts=3,
              num_experts_per_tok=2, moe_intermediate_size=16, shared_expert_intermediate_size=24, norm_topk_prob=True, decoder_sparse_step=1,
              mlp_only_layers=[], full_attention_interval=4, partial_rotary_factor=0.25, linear_conv_kernel_dim=4, linear_key_head_dim=8,
              linear_value_head_dim=8, linear_num_key_heads=2, linear_num_value_heads=4, attention_bias=False, use_sliding_window=False)


def linear(c, p):
    h, heads = c["hidden_size"], c["linear_num_value_heads"]
    keys, values = c["linear_num_key_heads"] * c["linear_key_head_dim"], heads * c["linear_value_head_dim"]
    return [(p + "in_proj_qkvz.weight", (2 * keys + 2 * values, h)), (p + "in_proj_ba.weight", (2 * heads, h)),
            (p + "conv1d.weight", (2 * keys + values, 1, c["linear_conv_kernel_dim"])), (p + "dt_bias", (heads,)), (p + "A_log", (heads,)),
            (p + "norm.weight", (c["linear_value_head_dim"],)), (p + "out_proj.weight", (h, values))]


def full(c, p):
    h, d = c["hidden_size"], c["head_dim"]
    q, kv = c["num_attention_heads"] * d, c["num_key_value_heads"] * d
    return [(p + "q_proj.weight", (2 * q, h)), (p + "k_proj.weight", (kv, h)), (p + "v_proj.weight", (kv, h)), (p + "o_proj.weight", (h, q)),
            (p + "q_norm.weight", (d,)), (p + "k_norm.weight", (d,))]


def feed_forward(c, p):
    h, out = c["hidden_size"], [(p + "gate.weight", (c["num_experts"], c["hidden_size"]))]
    for e in range(c["num_experts"]):
        out += mlp(f"{p}experts.{e}.", h, c["moe_intermediate_size"])
    return out + mlp(p + "shared_expert.", h, c["shared_expert_intermediate_size"]) + [(p + "shared_expert_gate.weight", (1, h))]


def tensors(c):
    h, out = c["hidden_size"], ends(c)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        out += norms(c, i) + feed_forward(c, p + "mlp.")
        out += full(c, p + "self_attn.") if (i + 1) % c.get("full_attention_interval", 4) == 0 else linear(c, p + "linear_attn.")
    out += norms(c, 0, "mtp.") + full(c, "mtp.layers.0.self_attn.") + feed_forward(c, "mtp.layers.0.mlp.")
    return out + [("mtp.fc.weight", (h, 2 * h)), ("mtp.norm.weight", (h,)), ("mtp.pre_fc_norm_embedding.weight", (h,)),
                  ("mtp.pre_fc_norm_hidden.weight", (h,))]


NEW = new_style({k: v for k, v in CONFIG.items() if k not in ("full_attention_interval", "partial_rotary_factor")})
NEW["rope_parameters"]["partial_rotary_factor"] = 0.5
NEW["layer_types"] = ["linear_attention", "linear_attention", "linear_attention", "full_attention"]
CASES = {"qwen3_next": case(CONFIG, tensors(CONFIG)), "qwen3_next_new": case(NEW, tensors(NEW))}
