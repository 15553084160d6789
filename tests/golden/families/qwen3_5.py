"""Qwen 3.5: the projections of linear attention apart, experts stacked, the text part of a larger model."""
from families import REMOVED, TOKENS, base, case, ends, mlp, norms

TEXT = base("Qwen3_5ForCausalLM", "qwen3_5_text", vocab_size=TOKENS + 3, rms_norm_eps=1e-6, rope_theta=REMOVED, torch_dtype=REMOVED, dtype="bfloat16", head_dim=16,
            num_hidden_layers=4, full_attention_interval=4, linear_conv_kernel_dim=4, linear_key_head_dim=8, linear_value_head_dim=8,
            linear_num_key_heads=2, linear_num_value_heads=6, mtp_num_hidden_layers=1, attention_bias=False, attn_output_gate=True,
            layer_types=["linear_attention"] * 3 + ["full_attention"],
            rope_parameters={"mrope_interleaved": True, "mrope_section": [1, 1, 0], "rope_type": "default", "rope_theta": 10000000,
                             "partial_rotary_factor": 0.25})
EXPERTS = {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 24}


def linear(c, p):
    h, heads = c["hidden_size"], c["linear_num_value_heads"]
    keys, values = c["linear_num_key_heads"] * c["linear_key_head_dim"], heads * c["linear_value_head_dim"]
    return [(p + "in_proj_qkv.weight", (2 * keys + values, h)), (p + "in_proj_z.weight", (values, h)), (p + "in_proj_b.weight", (heads, h)),
            (p + "in_proj_a.weight", (heads, h)), (p + "conv1d.weight", (2 * keys + values, 1, c["linear_conv_kernel_dim"])),
            (p + "dt_bias", (heads,)), (p + "A_log", (heads,), "F32"), (p + "norm.weight", (c["linear_value_head_dim"],), "F32"),
            (p + "out_proj.weight", (h, values))]


def full(c, p):
    h, d = c["hidden_size"], c["head_dim"]
    q, kv = c["num_attention_heads"] * d, c["num_key_value_heads"] * d
    return [(p + "q_proj.weight", (2 * q, h)), (p + "k_proj.weight", (kv, h)), (p + "v_proj.weight", (kv, h)), (p + "o_proj.weight", (h, q)),
            (p + "q_norm.weight", (d,)), (p + "k_norm.weight", (d,))]


def feed_forward(c, p, stacked=True):
    h = c["hidden_size"]
    if "num_experts" not in c:
        return mlp(p, h, c["intermediate_size"])
    e, f = c["num_experts"], c["moe_intermediate_size"]
    out = [(p + "gate.weight", (e, h)), *mlp(p + "shared_expert.", h, c["shared_expert_intermediate_size"]), (p + "shared_expert_gate.weight", (1, h))]
    if stacked:
        return out + [(p + "experts.gate_up_proj", (e, 2 * f, h)), (p + "experts.down_proj", (e, h, f))]
    return out + [x for i in range(e) for x in mlp(f"{p}experts.{i}.", h, f)]


def tensors(c, prefix="model.", predicting=True, stacked=True):
    h, out = c["hidden_size"], ends(c, prefix)
    for i in range(c["num_hidden_layers"]):
        p = f"{prefix}layers.{i}."
        out += norms(c, i, prefix) + feed_forward(c, p + "mlp.")
        out += full(c, p + "self_attn.") if c["layer_types"][i] == "full_attention" else linear(c, p + "linear_attn.")
    if predicting:
        out += norms(c, 0, "mtp.") + full(c, "mtp.layers.0.self_attn.") + feed_forward(c, "mtp.layers.0.mlp.", stacked)
        out += [("mtp.fc.weight", (h, 2 * h)), ("mtp.norm.weight", (h,)), ("mtp.pre_fc_norm_embedding.weight", (h,)), ("mtp.pre_fc_norm_hidden.weight", (h,))]
    return out


def whole(architecture, kind, text):
    text = {k: v for k, v in text.items() if k != "architectures"}
    return {"architectures": [architecture], "model_type": kind, "tie_word_embeddings": False, "text_config": text,
            "vision_config": {"depth": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16, "model_type": kind}}


VISION = [("model.visual.blocks.0.attn.proj.weight", (16, 16)), ("model.visual.merger.norm.weight", (16,))]
MOE = {k: v for k, v in TEXT.items() if k != "intermediate_size"} | EXPERTS | {"model_type": "qwen3_5_moe_text"}
# as many heads of keys as of values, and no sections: those that stand in for them need 32 rows
EVEN = TEXT | {"linear_num_value_heads": 2, "head_dim": 32, "rope_parameters": {"rope_type": "default", "rope_theta": 10000000, "partial_rotary_factor": 0.5}}
# the text part alone, with neither a list of layers nor a number of those that predict, which have another name
MOE_TEXT = {k: v for k, v in MOE.items() if k not in ("mtp_num_hidden_layers", "layer_types")} | {"architectures": ["Qwen3_5MoeForCausalLM"], "num_hidden_layers": 2,
                                                                                              "full_attention_interval": 2}
CASES = {"qwen3_5": case(whole("Qwen3_5ForConditionalGeneration", "qwen3_5", TEXT), tensors(TEXT, "model.language_model.") + VISION),
         "qwen3_5_text": case(EVEN, tensors(EVEN)),
         "qwen3_5_moe": case(whole("Qwen3_5MoeForConditionalGeneration", "qwen3_5_moe", MOE), tensors(MOE, "model.language_model.", stacked=False) + VISION),
         "qwen3_5_moe_text": case(MOE_TEXT, [("model." * name.startswith("mtp.") + name, *rest) for name, *rest in
                                             tensors({**MOE_TEXT, "layer_types": ["linear_attention", "full_attention"]})])}
