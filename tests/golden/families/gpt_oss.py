"""gpt-oss: experts in MXFP4, rows of gate and up alternating; the same decoded, where they are transposed too."""
from families import attention, base, case, ends, new_style, norms

YARN = {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0, "original_max_position_embeddings": 4096, "rope_type": "yarn", "truncate": False}
MXFP4 = {"modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"], "quant_method": "mxfp4"}


def tensors(c, quantized):
    h, f, e, out = c["hidden_size"], c["intermediate_size"], c["num_local_experts"], ends(c)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        out += norms(c, i) + attention(c, i, bias="qkvo") + [(p + "self_attn.sinks", (c["num_attention_heads"],))]
        out += [(p + "mlp.router.weight", (e, h)), (p + "mlp.router.bias", (e,)), (p + "mlp.experts.down_proj_bias", (e, h)),
                (p + "mlp.experts.gate_up_proj_bias", (e, 2 * f))]
        for name, rows, columns in (("down_proj", h, f), ("gate_up_proj", 2 * f, h)):
            if quantized:
                out += [(f"{p}mlp.experts.{name}_blocks", (e, rows, columns // 32, 16), "U8"), (f"{p}mlp.experts.{name}_scales", (e, rows, columns // 32), "U8")]
            else:
                out.append((f"{p}mlp.experts.{name}", (e, columns, rows)))
    return out


CONFIG = base("GptOssForCausalLM", "gpt_oss", intermediate_size=64, head_dim=16, num_local_experts=3, num_experts_per_tok=2, sliding_window=128,
              attention_bias=True, rope_theta=150000.0, rope_scaling=YARN, initial_context_length=4096, swiglu_limit=7.0,
              layer_types=["sliding_attention", "full_attention"], max_position_embeddings=131072)
QUANTIZED = {**CONFIG, "quantization_config": MXFP4}
DECODED = new_style(CONFIG)
CASES = {"gpt_oss": case(QUANTIZED, tensors(QUANTIZED, True)), "gpt_oss_bf16": case(DECODED, tensors(DECODED, False))}
