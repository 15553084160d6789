"""Phi-3 with its short and its long context, Phi-4-mini."""
from families import REMOVED, TOKENS, base, case, ends, norms, sentencepiece, tokenizer_config

# llama.cpp looks for the last of these tokens where the model is named phi3
FILES, PIECES = sentencepiece(("<unk>", "<s>", "</s>", "<|endoftext|>"), add_bos_token=False, add_eos_token=False, bos_token="<s>", eos_token="</s>",
                              pad_token="</s>", tokenizer_class="LlamaTokenizer",
                              added_tokens_decoder={"10": {"content": "<|end|>", "special": True, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}})


def tensors(c, head=True):
    h, f, d = c["hidden_size"], c["intermediate_size"], c["hidden_size"] // c["num_attention_heads"]
    out = ends(c, head=head)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        out += norms(c, i) + [(p + "self_attn.qkv_proj.weight", ((c["num_attention_heads"] + 2 * c["num_key_value_heads"]) * d, h)), (p + "self_attn.o_proj.weight", (h, h)),
                              (p + "mlp.gate_up_proj.weight", (2 * f, h)), (p + "mlp.down_proj.weight", (h, f))]
    return out


def longrope(count, name="type", kind="longrope"):
    return {"long_factor": [round(1 + 1.37 * i, 2) for i in range(count)], "short_factor": [1 + 0.05 * i for i in range(count)], name: kind}


PHI_3 = base("Phi3ForCausalLM", "phi3", vocab_size=PIECES + 2, original_max_position_embeddings=4096, rope_scaling=None, sliding_window=2047, bos_token_id=1, eos_token_id=2,
             pad_token_id=2, num_key_value_heads=4)
LONG = {**PHI_3, "max_position_embeddings": 131072, "sliding_window": 262144, "rope_scaling": longrope(4, kind="su")}
NEW = {key: value for key, value in LONG.items() if key not in ("torch_dtype", "rope_scaling", "rope_theta")}
NEW |= {"dtype": "bfloat16", "rope_parameters": {**longrope(4, "rope_type"), "original_max_position_embeddings": 4096, "partial_rotary_factor": 1.0, "rope_theta": 10000.0}}
MINI = base("Phi3ForCausalLM", "phi3", original_max_position_embeddings=4096, max_position_embeddings=131072, partial_rotary_factor=0.75, hidden_size=64,
            rope_scaling=longrope(6), sliding_window=None, tie_word_embeddings=True, num_key_value_heads=2)
DEFAULTS = base("Phi3ForCausalLM", "phi3", max_position_embeddings=REMOVED, num_key_value_heads=REMOVED, rms_norm_eps=REMOVED, rope_theta=REMOVED)
CLASS = tokenizer_config(tokenizer_class="GPT2Tokenizer", unk_token="<|end_of_text|>")
CASES = {"phi3": case(PHI_3, tensors(PHI_3), files=FILES), "phi3_long": case(LONG, tensors(LONG), files=FILES), "phi3_long_new": case(NEW, tensors(NEW), files=FILES),
         "phi4_mini": case(MINI, tensors(MINI, head=False), files=CLASS, pre="dbrx"),
         "phi4_defaults": case(DEFAULTS, tensors({**DEFAULTS, "num_key_value_heads": 4}), files=CLASS, pre="dbrx")}
