"""DeepSeek V2, V2-Lite and V3: latent attention, leading dense layers, shared experts."""
from families import TOKENS, base, case, ends, mlp, new_style, norms

YARN = {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 0.707, "mscale_all_dim": 0.707, "original_max_position_embeddings": 1024, "type": "yarn"}


def config(version, **settings):
    return base(f"Deepseek{version.upper()}ForCausalLM", f"deepseek_{version}", num_key_value_heads=4, kv_lora_rank=16, q_lora_rank=24,
                qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=12, n_routed_experts=4, n_shared_experts=2, num_experts_per_tok=2,
                moe_intermediate_size=16, first_k_dense_replace=1, moe_layer_freq=1, rms_norm_eps=1e-6, attention_bias=False, rope_scaling=YARN,
                **settings)


def tensors(c, correction=False, predicting=0):
    h, heads, rank = c["hidden_size"], c["num_attention_heads"], c["kv_lora_rank"]
    nope, rope, value = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
    out = ends(c)
    for i in range(c["num_hidden_layers"] + predicting):
        p = f"model.layers.{i}."
        out += norms(c, i) + [(p + "self_attn.kv_a_layernorm.weight", (rank,)), (p + "self_attn.kv_a_proj_with_mqa.weight", (rank + rope, h)),
                              (p + "self_attn.kv_b_proj.weight", (heads * (nope + value), rank)), (p + "self_attn.o_proj.weight", (h, heads * value))]
        if c.get("q_lora_rank"):
            q = c["q_lora_rank"]
            out += [(p + "self_attn.q_a_layernorm.weight", (q,)), (p + "self_attn.q_a_proj.weight", (q, h)),
                    (p + "self_attn.q_b_proj.weight", (heads * (nope + rope), q))]
        else:
            out.append((p + "self_attn.q_proj.weight", (heads * (nope + rope), h)))
        if i < c["first_k_dense_replace"]:
            out += mlp(p + "mlp.", h, c["intermediate_size"])
            continue
        out.append((p + "mlp.gate.weight", (c["n_routed_experts"], h)))
        if correction:
            out.append((p + "mlp.gate.e_score_correction_bias", (c["n_routed_experts"],), "F32"))
        out += mlp(p + "mlp.shared_experts.", h, c["n_shared_experts"] * c["moe_intermediate_size"])
        for e in range(c["n_routed_experts"]):
            out += mlp(f"{p}mlp.experts.{e}.", h, c["moe_intermediate_size"])
    for i in range(predicting):
        p = f"model.layers.{c['num_hidden_layers'] + i}."
        out += [(p + "embed_tokens.weight", (TOKENS, h)), (p + "eh_proj.weight", (h, 2 * h)), (p + "enorm.weight", (h,)), (p + "hnorm.weight", (h,)),
                (p + "shared_head.head.weight", (TOKENS, h)), (p + "shared_head.norm.weight", (h,))]
    return out


def fp8(tensors, block):
    """Projections in 8 bits with one scale for each block."""
    out = []
    for name, shape, *rest in tensors:
        if name.endswith("_proj.weight") or name.endswith("_proj_with_mqa.weight"):
            scales = tuple(-(-n // b) for n, b in zip(shape, block))
            out += [(name, shape, "F8_E4M3"), (name + "_scale_inv", scales, "F32")]
        else:
            out.append((name, shape, *rest))
    return out


V2 = config("v2", topk_method="group_limited_greedy", n_group=2, topk_group=1, norm_topk_prob=False, routed_scaling_factor=16.0, scoring_func="softmax")
LITE = new_style(config("v2", topk_method="greedy", n_group=1, topk_group=1, norm_topk_prob=False, routed_scaling_factor=1.0, scoring_func="softmax")
                 | {"q_lora_rank": None, "num_hidden_layers": 2})
V3 = config("v3", topk_method="noaux_tc", n_group=2, topk_group=1, norm_topk_prob=True, routed_scaling_factor=2.5, scoring_func="sigmoid",
            num_nextn_predict_layers=1)
FP8 = {**V3, "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [16, 16]}}
CASES = {"deepseek_v2": case(V2, tensors(V2)), "deepseek_v2_lite": case(LITE, tensors(LITE)),
         "deepseek_v3": case(V3, tensors(V3, correction=True, predicting=1)),
         "deepseek_v3_fp8": case(FP8, fp8(tensors(FP8, correction=True), (16, 16)))}
